"""The shop's books: what its databases, its topic and its payment provider hold after a story, and that it adds up.

Nothing here is the shop's own answer: the harness reads rows and messages itself, at the servers.
"""

from collections import Counter
from typing import Any

from brownout.scripts import Seen, Step, answered, messages, select

__all__ = ["OPENED", "ORDERED", "balanced", "closed", "told"]

ORDERED, PAID = "POST /api/orders", "POST /api/payments"
ARRIVES_WITHIN_S = 20
NOTIFIED = """
SELECT substring(text from '[0-9a-f]{32}') AS order_id FROM notifications
WHERE event_id IS NOT NULL AND text LIKE 'We have received%'
"""  # a cancelled order is told of once more
STOCK = "SELECT sku, stock + held + sold AS pieces FROM products ORDER BY sku"

OPENED = (select("opening stock", "products", STOCK),)


def closed() -> tuple[Step, ...]:
    """Read all books, once every order that was acknowledged so far has arrived everywhere."""
    arrived = answered("id", to=ORDERED)
    return (
        messages("announced", "order.created", until=arrived, within_s=ARRIVES_WITHIN_S),
        select("notified", "notifications", NOTIFIED, until=arrived, within_s=5),
        select("orders", "orders", "SELECT id, amount FROM orders"),
        select("reserved", "products", "SELECT order_id FROM reservations WHERE state <> 'returned'"),
        select("charges", "provider", "SELECT reference, amount FROM charges WHERE status <> 'voided'"),
        select("closing stock", "products", STOCK),
    )


def balanced(seen: Seen) -> None:
    """Make sure that nothing acknowledged was lost, nothing was done twice, and the stock adds up."""
    ordered, paid = set(seen.acknowledged("id", ORDERED)), set(seen.acknowledged("order_id", PAID))
    orders = {row["id"]: row["amount"] for row in seen.rows("orders")}
    events = {(row["value"]["order_id"], row["headers"]["event-id"]) for row in seen.rows("announced")}
    notified = [row["order_id"] for row in seen.rows("notified")]
    charged = seen.rows("charges")
    charges = {row["reference"]: row["amount"] for row in charged}

    _nothing_lost("orders", ordered, orders)
    _nothing_lost("events", ordered, [order for order, _ in events])
    _nothing_lost("notifications", ordered, notified)
    _nothing_lost("charges", paid, charges)
    _nothing_lost("reservations", set(orders), [row["order_id"] for row in seen.rows("reserved")])
    _nothing_twice("events", [order for order, _ in events])
    _nothing_twice("notifications", notified)
    _nothing_twice("charges", [row["reference"] for row in charged])
    assert seen.rows("opening stock") == seen.rows("closing stock"), "the stock does not add up"
    wrong = [order for order, amount in charges.items() if orders.get(order) != amount]
    assert not wrong, f"order {wrong[0]} was charged {charges[wrong[0]]}, it costs {orders.get(wrong[0])}"


def told(seen: Seen, name: str, field: str) -> list[str]:
    """A field of every 2xx answer in one phase."""
    bodies = [one.completed.detail.get("body") for one in seen.requests(name) if one.ok and one.completed]
    return [str(body[field]) for body in bodies if isinstance(body, dict) and field in body]


def _nothing_lost(books: str, acknowledged: set[str], there: Any) -> None:
    lost = acknowledged - set(there)
    assert not lost, f"{len(lost)} of {len(acknowledged)} orders are not among the {books}, the first {min(lost)}"


def _nothing_twice(books: str, ids: list[str]) -> None:
    twice = [each for each, count in Counter(ids).items() if count > 1]
    assert not twice, f"{len(twice)} orders are among the {books} more than once, the first {min(twice)}"
