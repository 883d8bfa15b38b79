"""Kafka is cut from everybody for a minute while orders are placed."""

from books import OPENED, balanced, closed
from brownout.scripts import Story, hold, hold_all, load, outage, script, wait

EVERYBODY = ("orders -> kafka", "products -> kafka", "payments -> kafka", "notifications -> kafka")


@script(steady="buy", clause="3.3")
def kafka_cut_for_long() -> Story:
    """Kafka is cut from everybody for 60 s while orders are placed: nobody notices, and each is notified once."""
    cut = hold_all(map(outage, EVERYBODY), wait(60))
    seen = yield (*OPENED, hold(load("buying", "buy", rate=1), wait(3), cut, wait(15)), *closed())
    seen.none_failed("buying")
    balanced(seen)
