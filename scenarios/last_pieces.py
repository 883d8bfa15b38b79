"""More buyers than pieces."""

from books import told
from brownout.scripts import Story, calls, script, select

BOUGHT = """SELECT id FROM orders WHERE items @> '[{"sku": "mug-2"}]'"""
LEFT = "SELECT stock, held + sold AS gone FROM products WHERE sku = 'mug-2'"
EVERYBODY, SERVED, PIECES = 50, 10, 100


@script(steady="order", clause="2.2", services=["users", "products", "orders"])
def last_pieces() -> Story:
    """50 buyers at once want 10 of the last 100 mugs each: exactly 10 have them, the others are told."""
    seen = yield (
        calls("buying", "order-ten-mugs", count=EVERYBODY, together=True),
        select("bought", "orders", BOUGHT),
        select("left", "products", LEFT),
    )
    seen.answered("buying", statuses={201, 409})
    served = told(seen, "buying", "id")
    assert len(served) == SERVED, f"{len(served)} of {EVERYBODY} buyers have 10 of {PIECES} mugs each"
    assert {row["id"] for row in seen.rows("bought")} == set(served), "somebody has an order that nobody was told of"
    assert seen.rows("left") == [{"stock": 0, "gone": PIECES}], "the mugs do not add up"
