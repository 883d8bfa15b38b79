"""The rules of products and reservations: pure, without the network, a database or a clock."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "CATALOGUE",
    "HOLD_S",
    "ITEMS",
    "InvalidReservationError",
    "Item",
    "Offer",
    "OutOfStockError",
    "Overdue",
    "Product",
    "Reservation",
    "ReservedItem",
    "State",
    "checked_items",
    "is_sku",
    "refusal",
]

HOLD_S = 600.0
"""How long pieces are held before products asks whether there is an order."""

ITEMS = 100
QUANTITY = 10_000
SKU = re.compile(r"[A-Za-z0-9._-]{1,100}")


class InvalidReservationError(ValueError):
    """A reservation breaks a rule, or names what is not in the catalogue; the message says which."""


class OutOfStockError(Exception):
    """Fewer pieces are left than are wanted; the message says of what."""


class State(StrEnum):
    """Where the pieces of a reservation are.

    held ──> sold, returned, cancelled
    returned ──> held, sold, cancelled
    sold ──> cancelled

    Returned are pieces that orders has given back; they are taken again if the order comes after all.
    An order that was cancelled is over: its pieces are in stock too, and nothing is taken for it any more.
    """

    HELD = "held"
    SOLD = "sold"
    RETURNED = "returned"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Product:
    """A thing in the catalogue; the price of a piece is in minor units of the currency.

    Args:
        stock: pieces that can be reserved; with those held and sold the sum never changes.
    """

    sku: str
    name: str
    description: str
    price: int
    currency: str
    stock: int
    held: int = 0
    sold: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """Some pieces of one thing, wanted."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Offer:
    """What there was when an item was wanted."""

    sku: str
    price: int
    currency: str
    stock: int


@dataclass(frozen=True, slots=True)
class ReservedItem:
    """Some pieces of one thing, reserved, at the price of a piece in minor units."""

    sku: str
    quantity: int
    price: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was set aside for an order, in one currency, by sku."""

    order_id: str
    items: tuple[ReservedItem, ...]
    currency: str
    state: State


@dataclass(frozen=True, slots=True)
class Overdue:
    """A reservation whose time is up, in microseconds since 1970: one that is held on since is not the one meant."""

    order_id: str
    until_us: int


def is_sku(text: str) -> bool:
    """Return whether `text` has the form of a sku."""
    return SKU.fullmatch(text) is not None


def checked_items(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return the items by sku, the quantities of the same sku added up.

    Raises:
        InvalidReservationError: none or too many, no such form of sku, or a quantity out of bounds.
    """
    wanted: dict[str, int] = {}
    for item in items:
        if not is_sku(item.sku):
            raise InvalidReservationError("sku: 1 to 100 letters, digits, dots, dashes and underscores")
        if item.quantity < 1:
            raise InvalidReservationError(f"quantity: 1 to {QUANTITY}")
        wanted[item.sku] = wanted.get(item.sku, 0) + item.quantity
    if not 0 < len(wanted) <= ITEMS:
        raise InvalidReservationError(f"items: 1 to {ITEMS} of them")
    if max(wanted.values()) > QUANTITY:
        raise InvalidReservationError(f"quantity: 1 to {QUANTITY}")
    return tuple(Item(sku, wanted[sku]) for sku in sorted(wanted))


def refusal(items: Sequence[Item], offers: Iterable[Offer]) -> InvalidReservationError | OutOfStockError:
    """Return why checked items cannot be reserved out of what there was."""
    offered = {offer.sku: offer for offer in offers}
    if unknown := [item.sku for item in items if item.sku not in offered]:
        return InvalidReservationError(f"sku: no such product: {', '.join(unknown)}")
    if len(currencies := {offer.currency for offer in offered.values()}) > 1:
        return InvalidReservationError(f"items: in one currency, not in {', '.join(sorted(currencies))}")
    short = (item for item in items if offered[item.sku].stock < item.quantity)
    return OutOfStockError(
        "; ".join(f"{item.sku}: {item.quantity} wanted, {offered[item.sku].stock} left" for item in short)
    )


CATALOGUE = (
    Product("book-1", "A Book of Failures", "What broke, and what was learnt", 1990, "EUR", 1_000_000),
    Product("book-2", "A Book of Recoveries", "The second volume: what came back", 2490, "EUR", 100_000),
    Product("book-3", "Queues for Everyone", "Waiting lines, with exercises", 3950, "EUR", 10_000),
    Product("cable-1", "Network cable, 1 m", "Shielded, with a locking plug", 490, "EUR", 50_000),
    Product("cable-2", "Network cable, 10 m", "Shielded, with a locking plug", 1290, "EUR", 20_000),
    Product("fuse-1", "Fuse, 10 A", "Blows first, so that nothing else does", 95, "EUR", 500_000),
    Product("lamp-1", "Emergency lamp", "Lights up when the power is gone", 4900, "EUR", 5_000),
    Product("mug-1", "Mug", "For long nights on call; 0.3 l", 1290, "EUR", 10_000),
    Product("mug-2", "Mug, chipped", "As above, with a history", 290, "EUR", 100),
    Product("switch-1", "Circuit breaker, 16 A", "Opens under load, closes by hand", 1850, "EUR", 20_000),
    Product("torch-1", "Hand-cranked torch", "Needs nobody's power", 2350, "EUR", 2_000),
    Product("vase-1", "Vase", "The only one of its kind", 250_000, "EUR", 1),
)
"""What the shop starts with."""
