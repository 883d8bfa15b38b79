"""Users is slow."""

from books import OPENED, balanced, closed
from brownout.scripts import Story, hold_all, latency, load, script, wait

EDGES = ("gateway -> users", "orders -> users", "notifications -> users:grpc")


@script(steady="buy", clause="3.1")
def users_slow() -> Story:
    """Users takes 1.5 s longer for everyone: whoever buys waits, and is served."""
    slow = [latency(edge, seconds=1.5) for edge in EDGES]
    seen = yield (*OPENED, hold_all([load("buying", "buy", rate=1), *slow], wait(15)), *closed())
    seen.none_failed("buying")
    balanced(seen)
