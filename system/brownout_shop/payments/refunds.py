"""What a cancelled order does to its payment: the money goes back, if there is any.

A cancellation may come at any moment of a payment, and the first of the two to write the payment's row decides:

| it comes                                   | payment  | the provider is asked, and answers | payment ends as |
|--------------------------------------------|----------|------------------------------------|-----------------|
| before anybody paid                        | none     | nothing                            | voided          |
| between the saved payment and its charge   | pending  | voided, and declines the charge    | voided          |
| after the charge, its answer under way     | pending  | refunded                           | refunded        |
| after the charge, its answer lost          | pending  | refunded                           | refunded        |
| between the charge and the paid order      | charged  | refunded                           | refunded        |
| after all                                  | charged  | refunded                           | refunded        |
| after the provider refused                 | refused  | voided                             | voided          |
| again, or after the provider's own refund  | refunded | nothing                            | refunded        |

Who pays a voided or refunded payment gets 409. Whatever breaks on the way, the event comes again, and each step may be
done again.
"""

import logging
import uuid

from brownout_shop.events import Event, MalformedEventError
from brownout_shop.payments import calls
from brownout_shop.payments.domain import Status, before, void
from brownout_shop.payments.store import PaymentStore
from brownout_shop.resilience.client import Client

__all__ = ["give_back"]

log = logging.getLogger(__name__)


async def give_back(payments: PaymentStore, client: Client, cancelled: Event) -> None:
    """Refund the payment of a cancelled order, or see to it that there is none; the same event again changes nothing.

    Raises:
        MalformedEventError: it names no order or no user.
        CallError: the provider could not be asked; try again later.
        DatabaseUnavailableError: same.
    """
    order_id, user_id = _text(cancelled, "order_id"), _text(cancelled, "user_id")
    payment = await payments.open(void(uuid.uuid4().hex, order_id, user_id))
    if payment.status in before(Status.REFUNDED):
        charge = await calls.refund(client, payment)
        payment = await payments.move(payment, charge.status, charge.id)
    log.info("order %s is cancelled, its payment %s", order_id, payment.status)


def _text(event: Event, field: str) -> str:
    value = event.payload.get(field)
    if not isinstance(value, str):
        raise MalformedEventError(f"{field}: no text")
    return value
