"""What the provider's callbacks do: a charge whose answer was lost is known by its callback, and its order is paid.

The provider may also give money back by itself, as it does where a buyer disputes a charge: then the order is
cancelled, and its pieces come back. One that was shipped is for people to see to.

They come late, again, and in any order. A refund outranks a charge, whichever is told first, and what is known already
changes nothing.
"""

import logging
from typing import Annotated, Literal

from pydantic import BaseModel, StringConstraints

from brownout_shop.payments.calls import cancel, mark_paid
from brownout_shop.payments.domain import Status
from brownout_shop.payments.store import PaymentStore
from brownout_shop.resilience.client import Client

__all__ = ["Callback", "note"]

Printable = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,100}$")]

log = logging.getLogger(__name__)


class Callback(BaseModel):
    """What the provider tells, as far as it matters here: what became of the charge `id` under a payment's key."""

    key: Printable
    id: Printable
    status: Literal[Status.CHARGED, Status.REFUNDED]


async def note(payments: PaymentStore, client: Client, callback: Callback) -> None:
    """Note what a callback tells. What no repetition could mend is logged, and left at that.

    Raises:
        CallError: orders could not be told; it is to come again.
        DatabaseUnavailableError: same.
    """
    payment = await payments.get(callback.key)
    if payment is None:
        log.error("charge %s is %s for a payment that is none of ours", callback.id, callback.status)
        return
    payment = await payments.move(payment, callback.status, callback.id)
    if payment.status is Status.CHARGED:
        await mark_paid(client, payment)
    elif payment.status is Status.REFUNDED and not await cancel(client, payment):
        log.error("order %s was shipped, and the provider has given its money back", payment.order_id)
