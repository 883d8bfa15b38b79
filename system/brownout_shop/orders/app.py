"""The orders routes: CreateOrder, GetOrder, ListOrders, UpdateOrderStatus, CancelOrder (clause 2.3)."""

import uuid
from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header
from opentelemetry import trace
from pydantic import BaseModel, Field

from brownout_shop.body import Router
from brownout_shop.database import Database, NotExecutedError
from brownout_shop.events import Relay
from brownout_shop.orders.domain import ITEMS, InvalidOrderError, Order, Status, Wanted, before, check, new_order
from brownout_shop.orders.reservation import Reservation, give_back, reserve
from brownout_shop.orders.store import METADATA, OUTBOX, OrderStore
from brownout_shop.problems import Problem, documented
from brownout_shop.resilience.client import CalleeFailedError, CalleeRefusedError, Client
from brownout_shop.service import Service
from brownout_shop.settings import Settings

__all__ = ["build"]

tracer = trace.get_tracer("order-service")


class NewOrder(BaseModel):
    """What is ordered; prices and currency are the catalogue's, whatever the buyer names besides."""

    items: Annotated[list[Wanted], Field(max_length=ITEMS)]


class NewStatus(BaseModel):
    """Where an order shall stand."""

    status: Status


def build(settings: Settings, client: Client) -> Service:
    """Return the orders service."""
    database = Database(settings.database_url.get_secret_value(), METADATA)
    relay = Relay(OUTBOX, database, settings.kafka)
    orders = OrderStore(database, topic=settings.topic("order.created"), told=relay.wake)
    return Service(routes(orders, client), needs=("users", "products"), database=database, companions=(relay,))


async def _user_of(x_user_id: Annotated[str, Header()] = "") -> str:
    if not x_user_id:
        raise Problem(401, "unauthorized", "X-User-Id: whose order it is")
    return x_user_id


UserId = Annotated[str, Depends(_user_of)]


def routes(orders: OrderStore, client: Client) -> APIRouter:
    """Return the routes over a store of orders; only creating one calls other services, each once."""
    router = Router()

    @router.post("/orders", status_code=201, responses=documented(401, 409, 429))
    async def create_order(new: NewOrder, user_id: UserId) -> dict[str, Any]:
        with tracer.start_as_current_span("CreateOrder"):
            _check(new.items)
            with tracer.start_as_current_span("ValidateUser"):
                await _validate_user(client, user_id)
            order_id = uuid.uuid4().hex
            with tracer.start_as_current_span("ReserveStock"):
                reservation = await reserve(client, order_id, new.items)
            return asdict(await _saved(orders, client, _priced(order_id, user_id, reservation)))

    @router.get("/orders", responses=documented(401))
    async def list_orders(user_id: UserId) -> list[dict[str, Any]]:
        return [asdict(order) for order in await orders.of_user(user_id)]

    @router.get("/orders/{order_id}", responses=documented(401, 404))
    async def get_order(order_id: str, user_id: UserId) -> dict[str, Any]:
        return asdict(await _found(orders, order_id, user_id))

    @router.patch("/orders/{order_id}", responses=documented(401, 404, 409))
    async def update_order_status(order_id: str, new: NewStatus, user_id: UserId) -> dict[str, Any]:
        return asdict(await _moved(orders, order_id, user_id, new.status))

    @router.post("/orders/{order_id}/cancel", responses=documented(401, 404, 409))
    async def cancel_order(order_id: str, user_id: UserId) -> dict[str, Any]:
        return asdict(await _moved(orders, order_id, user_id, Status.CANCELLED))

    return router


def _check(wanted: list[Wanted]) -> None:
    try:
        check(wanted)
    except InvalidOrderError as error:
        raise Problem(422, "invalid", str(error)) from error


def _priced(order_id: str, user_id: str, reservation: Reservation) -> Order:
    try:
        return new_order(order_id, user_id, reservation.items, reservation.currency)
    except InvalidOrderError as error:
        raise CalleeFailedError("products", str(error)) from error


async def _saved(orders: OrderStore, client: Client, order: Order) -> Order:
    """Save an order. If it is surely not saved its pieces are given back; if nobody knows, they may be sold."""
    try:
        await orders.add(order)
    except NotExecutedError:
        await give_back(client, order.id)
        raise
    return order


async def _validate_user(client: Client, user_id: str) -> None:
    try:
        await client.call("users", "GET", f"/users/{quote(user_id, safe='')}")
    except CalleeRefusedError as error:
        if error.status == 404:  # noqa: PLR2004 - not found
            raise Problem(422, "unknown-user", "no such user") from error
        raise


async def _found(orders: OrderStore, order_id: str, user_id: str) -> Order:
    order = await orders.get(order_id, user_id)
    if order is None:
        raise Problem(404, "not-found", "no such order")
    return order


async def _moved(orders: OrderStore, order_id: str, user_id: str, status: Status) -> Order:
    order = await orders.move(order_id, user_id, status, only_from=before(status))
    if order is None:
        order = await _found(orders, order_id, user_id)
        raise Problem(409, "wrong-status", f"an order that is {order.status} cannot become {status}")
    return order
