"""Who may move an order, and where to."""

from brownout.scripts import Story, calls, script


@script(steady="order", clause="2.3", services=["users", "products", "orders"])
def whose_move() -> Story:
    """Admins have an order shipped and delivered, in this sequence; nobody else does, nor cancels another's."""
    seen = yield (
        calls("delivering", "get-an-order-delivered", count=3),
        calls("shipping", "ship-ones-own-order", count=3),
        calls("stealing", "cancel-anothers-order", count=3),
        calls("hurrying", "deliver-before-shipping", count=3),
    )
    seen.none_failed("delivering")
    seen.answered("shipping", statuses={403})
    seen.answered("stealing", statuses={404})
    seen.answered("hurrying", statuses={409})
