"""Consul is stopped and started again while orders are placed."""

from books import OPENED, balanced, closed
from brownout.scripts import Story, hold, load, restarted, script, wait


@script(steady="buy", clause="4.1", private=["consul"])
def consul_restarted() -> Story:
    """Consul is gone for 10 s and knows nobody when it is back, while orders are placed: nobody notices."""
    gone = hold(restarted("consul"), wait(10))
    seen = yield (*OPENED, hold(load("buying", "buy", rate=1), wait(3), gone, wait(20)), *closed())
    seen.none_failed("buying")
    balanced(seen)
