"""Notifications starts while Kafka is not there."""

from books import OPENED, balanced, closed
from brownout.scripts import Story, hold, killed, load, outage, script, wait


@script(steady="buy", clause="3.3")
def kafka_missing_at_the_start() -> Story:
    """Notifications is started while it cannot reach Kafka: once it can, every order is notified once."""
    missing = hold(outage("notifications -> kafka"), hold(killed("notifications"), wait(1)), wait(4))
    seen = yield (*OPENED, hold(load("buying", "buy", rate=1), wait(2), missing, wait(3)), *closed())
    seen.none_failed("buying")
    balanced(seen)
