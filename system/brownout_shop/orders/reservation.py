"""What orders asks of products: to hold the pieces of an order, and to take them back; and what products asks."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError

from brownout_shop.events import Event, MalformedEventError
from brownout_shop.orders.domain import Item, Wanted
from brownout_shop.orders.store import OrderStore
from brownout_shop.problems import Problem
from brownout_shop.resilience.client import CalleeFailedError, Client

__all__ = ["Overdue", "Reservation", "answer_overdue", "give_back", "reserve"]

JSON = {"Content-Type": "application/json"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Pieces that are held, at the catalogue's prices."""

    items: tuple[Item, ...]
    currency: str


@dataclass(frozen=True, slots=True)
class Overdue:
    """What products asks about: a reservation that is held until a time that is up, in microseconds since 1970."""

    order_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    until_us: int


_reservation, _overdue = TypeAdapter(Reservation), TypeAdapter(Overdue)


async def reserve(client: Client, order_id: str, wanted: Sequence[Wanted]) -> Reservation:
    """Have an order's pieces held, by one call: if that fails, what it may have held is given back when its time is up.

    Raises:
        CallError: 409 ``out-of-stock``, 422 if there is no such thing, or whatever else the call came to.
    """
    body = json.dumps({"order_id": order_id, "items": [asdict(item) for item in wanted]}).encode()
    answer = await client.call("products", "POST", "/reservations", body=body, headers=JSON)
    try:
        return _reservation.validate_json(answer.body)
    except ValidationError as error:
        raise CalleeFailedError("products", "its answer is no reservation") from error


async def answer_overdue(orders: OrderStore, client: Client, overdue: Event) -> None:
    """Give pieces back that are held for too long, if there is no order: products does not know, and asks.

    There will be none either, as none is saved so late. Whatever fails here, products asks again.

    Raises:
        MalformedEventError: it names no order, or not until when its pieces are held.
        DatabaseUnavailableError: whether there is an order is unknown.
    """
    try:
        asked = _overdue.validate_python(overdue.payload)
    except ValidationError as error:
        raise MalformedEventError(str(error)) from error
    if await orders.get(asked.order_id) is None:
        await give_back(client, asked.order_id, f"?until_us={asked.until_us}")


async def give_back(client: Client, order_id: str, only: str = "") -> None:
    """Give an order's pieces back as well as it goes: otherwise they come back when their time is up."""
    try:
        await client.call("products", "DELETE", f"/reservations/{order_id}{only}")
    except Problem as problem:
        log.warning("the pieces of order %s are held until their time is up: %s", order_id, problem)
