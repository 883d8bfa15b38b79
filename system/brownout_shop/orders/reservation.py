"""What orders asks of products: to hold the pieces of an order, and to take them back."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from brownout_shop.orders.domain import Item, Wanted
from brownout_shop.problems import Problem
from brownout_shop.resilience.client import CalleeFailedError, Client

__all__ = ["Reservation", "give_back", "reserve"]

JSON = {"Content-Type": "application/json"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Pieces that are held, at the catalogue's prices."""

    items: tuple[Item, ...]
    currency: str


_reservation = TypeAdapter(Reservation)


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


async def give_back(client: Client, order_id: str) -> None:
    """Give an order's pieces back as well as it goes: otherwise they come back when their time is up."""
    try:
        await client.call("products", "DELETE", f"/reservations/{order_id}")
    except Problem as problem:
        log.warning("the pieces of order %s are held until their time is up: %s", order_id, problem)
