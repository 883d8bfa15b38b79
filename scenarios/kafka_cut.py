"""Kafka is cut while orders are placed."""

from books import OPENED, balanced, closed
from brownout.scripts import Story, hold, load, outage, script, wait


@script(steady="buy", clause="3.3")
def kafka_cut() -> Story:
    """Kafka is cut for 20 s while orders are placed: nobody notices, and every order is announced once."""
    cut = hold(outage("orders -> kafka"), wait(20))
    seen = yield (*OPENED, hold(load("buying", "buy", rate=1), wait(3), cut, wait(5)), *closed())
    seen.none_failed("buying")
    balanced(seen)
