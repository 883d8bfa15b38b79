"""What a created order does to its reservation."""

import logging

from brownout_shop.events import Event, MalformedEventError
from brownout_shop.products.domain import State
from brownout_shop.products.store import ProductStore

__all__ = ["sell"]

log = logging.getLogger(__name__)


async def sell(products: ProductStore, created: Event) -> None:
    """Turn the reservation of a created order into a sale; the same event again changes nothing.

    What no further try could mend is logged, and left at that.

    Raises:
        MalformedEventError: it names no order.
        DatabaseUnavailableError: try again later.
    """
    order_id = created.payload.get("order_id")
    if not isinstance(order_id, str):
        raise MalformedEventError("order_id: no text")
    state = await products.sell(order_id)
    if state is None:
        log.warning("order %s has no reservation", order_id)
    elif state is not State.SOLD:
        log.error("order %s: its reservation was given back, and too few pieces are left to take it again", order_id)
