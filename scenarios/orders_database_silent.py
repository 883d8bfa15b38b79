"""The database of orders is a black hole."""

from books import OPENED, balanced, closed
from brownout.scripts import Story, black_hole, calls, hold, load, script, wait

BREAKER_OPEN_S = 60


@script(steady="buy", clause="6.5")
def orders_database_silent() -> Story:
    """The orders' database is silent for 10 s: everybody is answered in time, and no order is half there."""
    silent = hold(load("buying", "buy", rate=1), wait(3), hold(black_hole("orders -> postgres"), wait(10)), wait(2))
    seen = yield (*OPENED, silent, wait(BREAKER_OPEN_S + 5), calls("again", "buy", count=3), *closed())
    seen.answered("buying", statuses={200, 201, 502, 503, 504}, within_s=11)
    seen.none_failed("again")
    balanced(seen)
