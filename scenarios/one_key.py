"""One Idempotency-Key, many requests."""

from collections import Counter

from books import ORDERED, told
from brownout.scripts import Seen, Story, answered, calls, messages, script, select

RESERVED = "SELECT order_id, state FROM reservations"
SERVICES = ("gateway", "users", "products", "orders")


@script(steady="order", clause="2.3", services=SERVICES, instances={"orders": 2})
def one_key() -> Story:
    """20 requests at once under one key, at two instances, and 4 later: one order, and no other under that key."""
    seen = yield (
        calls("asking", "order-under-one-key", count=20, together=True),
        calls("again", "order-under-one-key", count=4),
        calls("reusing", "reuse-a-key", count=3),
        messages("announced", "order.created", until=answered("id", to=ORDERED), within_s=20),
        select("orders", "orders", "SELECT id FROM orders"),
        select("reserved", "products", RESERVED),
    )
    seen.none_failed("asking")
    seen.none_failed("again")
    _is_one_order(seen)


def _is_one_order(seen: Seen) -> None:
    """Make sure that one key was one order, told of and reserved for once, and none for another request under it."""
    assert len({*told(seen, "asking", "id"), *told(seen, "again", "id")}) == 1, "one key has become several orders"
    statuses = [one.status for one in seen.requests("reusing")]
    assert statuses == [201, 422] * 3, f"another order under the same key was answered {statuses}"
    orders = [row["id"] for row in seen.rows("orders")]
    events = {(row["value"]["order_id"], row["headers"]["event-id"]) for row in seen.rows("announced")}
    assert Counter(order for order, _ in events) == Counter(orders), "there is not one event for each order"
    assert {row["order_id"] for row in seen.rows("reserved")} == set(orders), "the reservations are not the orders'"
