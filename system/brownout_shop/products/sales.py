"""What a created order does to its reservation, and a cancelled one."""

import logging

from brownout_shop.events import Event, MalformedEventError
from brownout_shop.products.domain import State
from brownout_shop.products.store import ProductStore

__all__ = ["cancel", "sell"]

log = logging.getLogger(__name__)


async def sell(products: ProductStore, created: Event) -> None:
    """Turn the reservation of a created order into a sale; the same event again, or after its end, changes nothing.

    What no further try could mend is logged, and left at that.

    Raises:
        MalformedEventError: it names no order.
        DatabaseUnavailableError: try again later.
    """
    order_id = _order_id(created)
    state = await products.sell(order_id)
    if state is None:
        log.warning("order %s has no reservation", order_id)
    elif state is State.RETURNED:
        log.error("order %s: its reservation was given back, and too few pieces are left to take it again", order_id)


async def cancel(products: ProductStore, cancelled: Event) -> None:
    """Put the pieces of a cancelled order back into stock; the same event again changes nothing.

    That the order was created may be told later, as the two come by topics of their own: then nothing is sold.

    Raises:
        MalformedEventError: it names no order.
        DatabaseUnavailableError: try again later.
    """
    order_id = _order_id(cancelled)
    if await products.cancel(order_id) is None:
        log.warning("order %s was cancelled, and has no reservation", order_id)


def _order_id(event: Event) -> str:
    order_id = event.payload.get("order_id")
    if not isinstance(order_id, str):
        raise MalformedEventError("order_id: no text")
    return order_id
