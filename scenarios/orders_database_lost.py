"""The database of orders refuses connections."""

from books import OPENED, balanced, closed
from brownout.scripts import Story, calls, hold, load, outage, script, select, wait

HELD = "SELECT order_id FROM reservations WHERE state = 'held'"


@script(steady="buy", clause="2.3")
def orders_database_lost() -> Story:
    """The orders' database is gone for 3 s: whoever orders is told so, and the pieces are given back at once."""
    lost = hold(load("ordering", "order", rate=2), wait(2), hold(outage("orders -> postgres"), wait(3)), wait(13))
    seen = yield (*OPENED, lost, calls("again", "buy", count=3), *closed(), select("held", "products", HELD))
    seen.answered("ordering", statuses={201, 503})
    assert not all(one.ok for one in seen.requests("ordering")), "the outage was not felt"
    seen.none_failed("again")
    balanced(seen)
    assert not seen.rows("held"), "pieces are held for orders that there are not"
