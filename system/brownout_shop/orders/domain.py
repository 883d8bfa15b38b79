"""The rules of orders: pure, without the network, a database or a clock."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "ITEMS",
    "InvalidOrderError",
    "Item",
    "Order",
    "Status",
    "Wanted",
    "before",
    "check",
    "consists_of",
    "keyed_id",
    "new_order",
]

CURRENCY = re.compile(r"[A-Z]{3}")
SKU_LENGTH = 100
ITEMS = 100
QUANTITY = 10_000
PRICE = 10**12
"""Together they keep an amount below 2^63, which is what a database column holds."""


class InvalidOrderError(ValueError):
    """An order breaks a rule, which the message names."""


class Status(StrEnum):
    """Where an order stands.

    pending ──> paid ──> shipped ──> delivered
       └─────────┴──> cancelled
    """

    PENDING = "pending"
    PAID = "paid"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


_BEFORE = {
    Status.PENDING: frozenset[Status](),
    Status.PAID: frozenset({Status.PENDING}),
    Status.SHIPPED: frozenset({Status.PAID}),
    Status.DELIVERED: frozenset({Status.SHIPPED}),
    Status.CANCELLED: frozenset({Status.PENDING, Status.PAID}),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Some pieces of one thing, as a buyer names them: without a price."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Item:
    """Some pieces of one thing; the price of a piece is in minor units of the order's currency."""

    sku: str
    quantity: int
    price: int


@dataclass(frozen=True, slots=True)
class Order:
    """An order; the amount is in minor units of its currency."""

    id: str
    user_id: str
    items: tuple[Item, ...]
    currency: str
    amount: int
    status: Status


def before(status: Status) -> frozenset[Status]:
    """Return the statuses from which an order may come to `status`."""
    return _BEFORE[status]


def keyed_id(user_id: str, key: str) -> str:
    """Return the id of the order that a user's idempotency key stands for, the same one wherever it is asked for.

    So the tables of orders and of reservations, in which an id is there once, see to it that a key is one order.
    """
    return hashlib.blake2b(f"{user_id}\n{key}".encode(), digest_size=16).hexdigest()


def check(wanted: Sequence[Wanted]) -> None:
    """Return if it can be ordered, as far as orders knows.

    Raises:
        InvalidOrderError: no items or too many, or one out of bounds.
    """
    if not 0 < len(wanted) <= ITEMS:
        raise InvalidOrderError(f"items: 1 to {ITEMS} of them")
    for item in wanted:
        if not 0 < len(item.sku) <= SKU_LENGTH:
            raise InvalidOrderError(f"sku: 1 to {SKU_LENGTH} characters")
        if not 0 < item.quantity <= QUANTITY:
            raise InvalidOrderError(f"quantity: 1 to {QUANTITY}")


def consists_of(order: Order, wanted: Iterable[Wanted]) -> bool:
    """Return whether an order is of just what is wanted, in whatever sequence and portions that is named."""
    return _quantities(order.items) == _quantities(wanted)


def new_order(order_id: str, user_id: str, items: Sequence[Item], currency: str) -> Order:
    """Return a pending order with its amount.

    Raises:
        InvalidOrderError: a price is out of bounds, or there is no such form of currency.
    """
    if not CURRENCY.fullmatch(currency):
        raise InvalidOrderError("currency: three capital letters")
    if not all(0 <= item.price <= PRICE for item in items):
        raise InvalidOrderError(f"price: 0 to {PRICE} minor units")
    amount = sum(item.quantity * item.price for item in items)
    return Order(order_id, user_id, tuple(items), currency, amount, Status.PENDING)


def _quantities(items: Iterable[Wanted | Item]) -> Counter[str]:
    quantities = Counter[str]()
    for item in items:
        quantities[item.sku] += item.quantity
    return quantities
