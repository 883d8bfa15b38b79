"""Users is lost."""

from books import OPENED, balanced, closed
from brownout.scripts import Story, calls, hold, hold_all, killed, load, script, wait

BREAKER_OPEN_S = 60


@script(steady="list-orders", clause="6.1")
def users_lost() -> Story:
    """Users is gone for 10 s: buyers are turned away but never as strangers, and orders can still be read."""
    people = [load("buying", "buy", rate=1), load("reading", "list-orders", rate=2)]
    lost = hold_all(people, wait(3), hold(killed("users"), wait(10)), wait(2))
    seen = yield (*OPENED, lost, wait(BREAKER_OPEN_S), calls("again", "buy", count=3), *closed())
    seen.answered("buying", statuses={200, 201, 502, 503})
    seen.none_failed("reading")
    seen.none_failed("again")
    balanced(seen)
