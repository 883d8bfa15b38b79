"""Orders are cancelled while products does not hear of it."""

from collections import Counter

from books import OPENED, balanced, closed
from brownout.scripts import Seen, Story, answered, hold, load, messages, outage, script, select, wait

CANCELLED = "POST /api/orders/"
BACK = "SELECT order_id FROM reservations WHERE state = 'cancelled'"
LEFT = "SELECT held, sold FROM products WHERE sku = 'book-1'"
STANDING = "SELECT count(*) AS books FROM orders WHERE status <> 'cancelled'"


@script(steady="buy", clause="2.3")
def minds_changed() -> Story:
    """Orders are cancelled while products is cut off from Kafka for 8 s: their pieces come back, and once."""
    cut = hold(outage("products -> kafka"), wait(8))
    arrived = answered("id", to=CANCELLED)
    buying = hold(load("buying", "change-ones-mind", rate=2), wait(3), cut, wait(3))
    withdrawn = messages("withdrawn", "order.cancelled", until=arrived, within_s=20)
    back = select("back", "products", BACK, until=arrived, within_s=20)
    left, standing = select("left", "products", LEFT), select("standing", "orders", STANDING)
    seen = yield (*OPENED, buying, *closed(), withdrawn, back, left, standing)
    seen.none_failed("buying")
    balanced(seen)
    _all_is_back(seen)


def _all_is_back(seen: Seen) -> None:
    """Make sure that each cancelled order was told of once, and that its pieces, and no others, came back."""
    cancelled = set(seen.acknowledged("id", CANCELLED))
    events = {(row["value"]["order_id"], row["headers"]["event-id"]) for row in seen.rows("withdrawn")}
    assert Counter(order for order, _ in events) == Counter(cancelled), "not one event for each order"
    assert {row["order_id"] for row in seen.rows("back")} == cancelled, "the pieces are not those of the cancelled"
    (left,), (standing,) = seen.rows("left"), seen.rows("standing")
    assert (left["held"], left["sold"]) == (0, standing["books"]), "what is sold is not what is ordered"
