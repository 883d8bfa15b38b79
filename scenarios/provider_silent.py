"""The payment provider hangs."""

from books import OPENED, balanced, closed
from brownout.scripts import Story, black_hole, calls, hold, load, script, wait

BREAKER_OPEN_S = 60


@script(steady="buy", clause="2.4")
def provider_silent() -> Story:
    """The payment provider hangs for 15 s: who pays again is charged once, and ordering goes on."""
    silent = hold(black_hole("payments -> provider"), wait(15))
    hanging = hold(load("buying", "buy-insistently", rate=1), wait(3), silent, wait(2))
    seen = yield (*OPENED, hanging, wait(BREAKER_OPEN_S), calls("again", "buy", count=3), *closed())
    seen.none_failed("buying", "POST /api/orders")
    seen.answered("buying", "POST /api/payments", statuses={201, 502, 503, 504}, within_s=11)
    seen.none_failed("again")
    balanced(seen)
