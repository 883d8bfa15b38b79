"""Products is lost in the middle of an order."""

from books import OPENED, balanced, closed
from brownout.scripts import Story, calls, hold, killed, load, script, wait

BREAKER_OPEN_S = 60


@script(steady="buy", clause="2.3")
def products_lost() -> Story:
    """Products is killed in the middle of orders, for 10 s: an order is either there with its pieces, or not."""
    lost = hold(load("buying", "buy", rate=2), wait(3), hold(killed("products"), wait(10)), wait(2))
    seen = yield (*OPENED, lost, wait(BREAKER_OPEN_S), calls("again", "buy", count=3), *closed())
    seen.answered("buying", statuses={200, 201, 502, 503})
    seen.none_failed("again")
    balanced(seen)
