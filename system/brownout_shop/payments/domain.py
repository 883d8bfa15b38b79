"""The rules of payments: pure, without the network, a database or a clock."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Payment", "Standing", "Status", "before", "is_final", "standing", "void"]


class Status(StrEnum):
    """Where a payment stands.

    pending ──┬──> charged ──> refunded
       └──> refused ──> voided

    Pending and refused ones may become any of those to their right. Of two requests at once one may be refused and
    the other charged: the charge is a fact, and outranks a refusal. Refunded and voided are final: the one was charged
    before, the other never was and never will be.
    """

    PENDING = "pending"
    CHARGED = "charged"
    REFUSED = "refused"
    REFUNDED = "refunded"
    VOIDED = "voided"


_UNCHARGED = frozenset({Status.PENDING, Status.REFUSED})
_BEFORE = {
    Status.PENDING: frozenset[Status](),
    Status.CHARGED: _UNCHARGED,
    Status.REFUSED: frozenset({Status.PENDING}),
    Status.REFUNDED: _UNCHARGED | {Status.CHARGED},
    Status.VOIDED: _UNCHARGED,
}


class Standing(StrEnum):
    """What an order's status means for its payment."""

    DUE = "due"
    PAID = "paid"
    CLOSED = "closed"


_STANDING = {"pending": Standing.DUE, "paid": Standing.PAID, "shipped": Standing.PAID, "delivered": Standing.PAID}
_NOT_NOW = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True)
class Payment:
    """The one payment of an order; the amount is in minor units of its currency.

    Its id is the idempotency key at the provider; `charge_id` is the provider's own, empty until it is known.
    """

    id: str
    order_id: str
    user_id: str
    amount: int
    currency: str
    status: Status = Status.PENDING
    charge_id: str = ""


def void(payment_id: str, order_id: str, user_id: str) -> Payment:
    """Return what stands in the place of the payment of an order that was cancelled before anybody paid."""
    return Payment(payment_id, order_id, user_id, 0, "", Status.VOIDED)


def before(status: Status) -> frozenset[Status]:
    """Return the statuses from which a payment may come to `status`."""
    return _BEFORE[status]


def standing(order_status: str) -> Standing:
    """Return what an order's status means for its payment; one that is neither due nor paid is closed to it."""
    return _STANDING.get(order_status, Standing.CLOSED)


def is_final(refusal: int) -> bool:
    """Return whether a provider's 4xx is its last word on a charge.

    408, 409, 425 and 429 are not: they ask to come again (RFC 9110, 8470 and 6585).
    """
    return refusal not in _NOT_NOW
