"""The database of orders is a black hole, and whoever orders asks again."""

from books import told
from brownout.scripts import Story, black_hole, calls, hold, load, script, select, wait

MINE = "SELECT id, user_id FROM orders"


@script(steady="order", clause="2.3", services=["users", "products", "orders"])
def orders_insisted_on() -> Story:
    """The orders' database is silent for 7 s: who asks again under the same key has one order in the end."""
    silent = hold(black_hole("orders -> postgres"), wait(7))
    seen = yield (
        hold(load("insisting", "order-insistently", rate=1), wait(3), silent, wait(12)),
        calls("again", "order", count=3),
        select("orders", "orders", MINE),
    )
    seen.answered("insisting", statuses={201, 503, 504}, within_s=11)
    seen.none_failed("again")
    assert not all(one.ok for one in seen.requests("insisting")), "the silence was not felt"
    served, whose = told(seen, "insisting", "id"), set(told(seen, "insisting", "user_id"))
    there = [row["id"] for row in seen.rows("orders") if row["user_id"] in whose]
    assert sorted(there) == sorted(served), f"{len(served)} orders were acknowledged, {len(there)} are there"
