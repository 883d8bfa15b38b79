"""The products routes: catalogue, search, stock, reservations (clause 2.2)."""

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field, StrictInt

from brownout_shop.body import Body, Router
from brownout_shop.database import Database
from brownout_shop.events import Consumer
from brownout_shop.events.publisher import Publisher
from brownout_shop.problems import Problem, documented
from brownout_shop.products.domain import (
    ITEMS,
    InvalidReservationError,
    Item,
    OutOfStockError,
    Reservation,
    State,
    checked_items,
    is_sku,
)
from brownout_shop.products.expiry import Expiry
from brownout_shop.products.sales import cancel, sell
from brownout_shop.products.store import METADATA, ProductStore, ReservationOverError
from brownout_shop.resilience.client import Client
from brownout_shop.service import Service
from brownout_shop.settings import Settings

__all__ = ["build", "routes"]

ORDER_ID = r"^[0-9a-f]{32}$"
OrderId = Annotated[str, Path(pattern=ORDER_ID)]
UntilUs = Annotated[int | None, Query(ge=0, le=2**63 - 1, description="only what is held until then, and not on")]


class NewItem(Body):
    """What is wanted of one thing."""

    sku: str
    quantity: StrictInt


class NewReservation(Body):
    """What is wanted for an order."""

    order_id: str = Field(pattern=ORDER_ID)
    items: list[NewItem] = Field(max_length=ITEMS)


class Page(BaseModel):
    """What is searched for, and which part of what is found is wanted."""

    query: str = Field("", max_length=100, pattern=r"^[^\x00]*$")  # which Postgres takes for no text
    page: int = Field(1, ge=1, le=10_000)
    size: int = Field(20, ge=1, le=100)


def build(settings: Settings, _client: Client) -> Service:
    """Return the products service."""
    database = Database(settings.database_url.get_secret_value(), METADATA)
    products = ProductStore(database)
    group = f"{settings.cell}.products"
    sold, back = partial(sell, products), partial(cancel, products)
    created = Consumer(settings.kafka, settings.topic("order.created"), group, sold)
    # In a group of its own: one topic need not wait while the other's consumers come and go.
    cancelled = Consumer(settings.kafka, settings.topic("order.cancelled"), f"{group}.cancelled", back)
    expiry = Expiry(products, Publisher(settings.kafka), settings.topic("reservation.overdue"))
    return Service(routes(products), database=database, companions=(expiry, created, cancelled))


def routes(products: ProductStore) -> APIRouter:
    """Return the routes over a store of products."""
    router = Router()

    @router.get("/products")
    async def search_products(wanted: Annotated[Page, Query()]) -> dict[str, Any]:
        offset = (wanted.page - 1) * wanted.size
        found = await products.search(wanted.query, offset=offset, limit=wanted.size + 1)
        page = [asdict(product) for product in found[: wanted.size]]
        return {"products": page, "page": wanted.page, "size": wanted.size, "more": len(found) > wanted.size}

    @router.get("/products/{sku}", responses=documented(404))
    async def get_product(sku: str) -> dict[str, Any]:
        product = await products.get(sku) if is_sku(sku) else None
        if product is None:
            raise Problem(404, "not-found", "no such product")
        return asdict(product)

    @router.post("/reservations", status_code=201, responses=documented(409))
    async def reserve(new: NewReservation) -> dict[str, Any]:
        made = asdict(await _reserved(products, new))
        del made["state"]  # which moves on: the same order again has the same answer
        return made

    @router.get("/reservations/{order_id}", responses=documented(404))
    async def get_reservation(order_id: OrderId) -> dict[str, Any]:
        reservation = await products.reservation(order_id)
        if reservation is None:
            raise Problem(404, "not-found", "no such reservation")
        return asdict(reservation)

    @router.delete("/reservations/{order_id}", status_code=204, responses=documented(409))
    async def give_back(order_id: OrderId, until_us: UntilUs = None) -> None:
        if await products.give_back(order_id, until_us) is State.SOLD:
            raise Problem(409, "already-sold", "what was sold is not given back")

    return router


async def _reserved(products: ProductStore, new: NewReservation) -> Reservation:
    try:
        items = checked_items(Item(item.sku, item.quantity) for item in new.items)
        return await products.reserve(new.order_id, items)
    except InvalidReservationError as error:
        raise Problem(422, "invalid", str(error)) from error
    except OutOfStockError as error:
        raise Problem(409, "out-of-stock", str(error)) from error
    except ReservationOverError as error:
        raise Problem(409, "reservation-over", "the order was cancelled") from error
