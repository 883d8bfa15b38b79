"""Postgres crashes and is started again while orders are placed."""

from books import OPENED, balanced, closed
from brownout.scripts import Story, calls, hold, load, restarted, script, wait

BREAKER_OPEN_S = 60


@script(steady="buy", clause="2", private=["postgres"])
def postgres_restarted() -> Story:
    """All databases crash and are back after 5 s, while orders are placed: what was acknowledged is there, once."""
    gone = hold(load("buying", "buy", rate=2), wait(3), hold(restarted("postgres"), wait(5)), wait(2))
    seen = yield (*OPENED, gone, wait(BREAKER_OPEN_S + 5), calls("again", "buy", count=3), *closed())
    seen.answered("buying", statuses={200, 201, 502, 503, 504}, within_s=11)
    assert not all(one.ok for one in seen.requests("buying")), "the crash was not felt"
    seen.none_failed("again")
    balanced(seen)
