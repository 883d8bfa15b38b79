"""The orders routes: CreateOrder, GetOrder, ListOrders, UpdateOrderStatus, CancelOrder (clause 2.3).

A key follows the IETF draft "The Idempotency-Key HTTP Header Field": the same request under it has the same order, at
once or later, and another one 422. What failed on its way, in whichever call, can be asked for again, and is one order
in the end.
"""

import uuid
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Path, Query
from opentelemetry import trace
from pydantic import BaseModel, Field, StrictInt

from brownout_shop.body import Body, Router
from brownout_shop.database import Database, NotExecutedError
from brownout_shop.events import Consumer, Relay
from brownout_shop.orders.domain import (
    ITEMS,
    InvalidOrderError,
    Order,
    Status,
    Wanted,
    check,
    consists_of,
    keyed_id,
    new_order,
)
from brownout_shop.orders.reservation import Reservation, answer_overdue, give_back, reserve
from brownout_shop.orders.store import METADATA, OUTBOX, OrderStore
from brownout_shop.problems import Problem, documented
from brownout_shop.resilience.client import CalleeFailedError, CalleeRefusedError, Client
from brownout_shop.service import Service
from brownout_shop.settings import Settings

__all__ = ["build", "routes"]

ADMIN = "admin"
SAVED_WITHIN_S = 60
"""Later, when nobody waits for it any more, an order is not saved: products may ask for its pieces after 600 s."""

tracer = trace.get_tracer("order-service")


class NewItem(BaseModel):
    """What is ordered of one thing; its price and currency are the catalogue's, whatever the buyer names besides."""

    sku: str
    quantity: StrictInt


class NewOrder(BaseModel):
    """What is ordered."""

    items: Annotated[list[NewItem], Field(max_length=ITEMS)]


class NewStatus(Body):
    """Where the shop has got with an order."""

    status: Literal["shipped", "delivered"]


class Page(BaseModel):
    """Which part of a user's orders is wanted, the latest first."""

    after: str = Field("", pattern=r"^([0-9a-f]{32})?$", description="the last order of the page before")
    size: int = Field(20, ge=1, le=100)


OrderId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
Key = Annotated[str, Header(alias="Idempotency-Key", pattern=r"^[!-~]{1,255}$")]


def build(settings: Settings, client: Client) -> Service:
    """Return the orders service."""
    database = Database(settings.database_url.get_secret_value(), METADATA)
    relay = Relay(OUTBOX, database, settings.kafka)
    orders = OrderStore(database, topic=settings.topic, told=relay.wake)
    topic, answer = settings.topic("reservation.overdue"), partial(answer_overdue, orders, client)
    overdue = Consumer(settings.kafka, topic, f"{settings.cell}.orders", answer)
    return Service(routes(orders, client), needs=("users", "products"), database=database, companions=(relay, overdue))


async def _user_of(x_user_id: Annotated[str, Header()] = "") -> str:
    if not x_user_id:
        raise Problem(401, "unauthorized", "X-User-Id: whose order it is")
    return x_user_id


Role = Annotated[str, Header(alias="X-User-Role")]


async def _admin_only(role: Role = "") -> None:
    if role != ADMIN:
        raise Problem(403, "forbidden", "X-User-Role: admins ship and deliver")


UserId = Annotated[str, Depends(_user_of)]


async def _whose(user_id: UserId, role: Role = "") -> str:
    """Return whose orders may be read: one's own, and by an admin, who ships them, anybody's."""
    return "" if role == ADMIN else user_id


Whose = Annotated[str, Depends(_whose)]


def routes(orders: OrderStore, client: Client) -> APIRouter:
    """Return the routes over a store of orders; only creating one calls other services, each once."""
    router = Router()

    @router.post("/orders", status_code=201, responses=documented(401, 409, 429))
    async def create_order(new: NewOrder, user_id: UserId, key: Key = "") -> dict[str, Any]:
        with tracer.start_as_current_span("CreateOrder"):
            wanted = _checked(new)
            order_id = keyed_id(user_id, key) if key else uuid.uuid4().hex
            if key and (earlier := await orders.get(order_id)):
                return asdict(_same(earlier, wanted))
            with tracer.start_as_current_span("ValidateUser"):
                await _validate_user(client, user_id)
            before = datetime.now(UTC) + timedelta(seconds=SAVED_WITHIN_S)
            with tracer.start_as_current_span("ReserveStock"):
                reservation = await reserve(client, order_id, wanted)
            order = _same(_priced(order_id, user_id, reservation), wanted)
            return asdict(await _saved(orders, client, order, before, keyed=bool(key)))

    @router.get("/orders", responses=documented(401, 404))
    async def list_orders(user_id: UserId, wanted: Annotated[Page, Query()]) -> dict[str, Any]:
        if wanted.after:
            await _found(orders, wanted.after, user_id)
        found = await orders.of_user(user_id, after=wanted.after, limit=wanted.size + 1)
        page = [asdict(order) for order in found[: wanted.size]]
        return {"orders": page, "size": wanted.size, "more": len(found) > wanted.size}

    @router.get("/orders/{order_id}", responses=documented(401, 404))
    async def get_order(order_id: OrderId, whose: Whose) -> dict[str, Any]:
        return asdict(await _found(orders, order_id, whose))

    @router.patch("/orders/{order_id}", dependencies=[Depends(_admin_only)], responses=documented(403, 404, 409))
    async def update_order_status(order_id: OrderId, new: NewStatus) -> dict[str, Any]:
        return asdict(await _moved(orders, order_id, Status(new.status)))

    @router.post("/orders/{order_id}/cancel", responses=documented(401, 404, 409))
    async def cancel_order(order_id: OrderId, user_id: UserId) -> dict[str, Any]:
        return asdict(await _cancelled(orders, order_id, user_id))

    # Not below what the gateway passes on: only payments may say so.
    @router.post("/internal/orders/{order_id}/paid", responses=documented(404, 409))
    async def mark_paid(order_id: OrderId) -> dict[str, Any]:
        return asdict(await _moved(orders, order_id, Status.PAID))

    return router


def _checked(new: NewOrder) -> list[Wanted]:
    wanted = [Wanted(item.sku, item.quantity) for item in new.items]
    try:
        check(wanted)
    except InvalidOrderError as error:
        raise Problem(422, "invalid", str(error)) from error
    return wanted


def _priced(order_id: str, user_id: str, reservation: Reservation) -> Order:
    try:
        return new_order(order_id, user_id, reservation.items, reservation.currency)
    except InvalidOrderError as error:
        raise CalleeFailedError("products", str(error)) from error


def _same(order: Order, wanted: list[Wanted]) -> Order:
    """Return an order if it is what is wanted: one that a key already stands for may be another."""
    if not consists_of(order, wanted):
        raise Problem(422, "key-reused", "another order was asked for under this key")
    return order


async def _saved(orders: OrderStore, client: Client, order: Order, before: datetime, *, keyed: bool) -> Order:
    """Save an order and return it, or the one that another request with its key has saved meanwhile.

    If it is surely not saved its pieces are given back; if nobody knows, they may be sold. With a key they stay held
    in both cases, until their time is up: the same order may be saved by another request, beside this one or after it.
    """
    try:
        is_new = await orders.add(order, before)
    except NotExecutedError:
        if not keyed:
            await give_back(client, order.id)
        raise
    return order if is_new else await _found(orders, order.id)


async def _validate_user(client: Client, user_id: str) -> None:
    try:
        await client.call("users", "GET", f"/users/{quote(user_id, safe='')}")
    except CalleeRefusedError as error:
        if error.status == 404:  # noqa: PLR2004 - not found
            raise Problem(422, "unknown-user", "no such user") from error
        raise


async def _found(orders: OrderStore, order_id: str, user_id: str = "") -> Order:
    """Return an order; with a user, only that user's own."""
    order = await orders.get(order_id)
    if order is None or user_id not in ("", order.user_id):
        raise Problem(404, "not-found", "no such order")
    return order


async def _cancelled(orders: OrderStore, order_id: str, user_id: str) -> Order:
    """Cancel a user's order and return it; one that is cancelled already stays so, as its buyer may not know it."""
    order = await orders.cancel(order_id, user_id) or await _found(orders, order_id, user_id)
    if order.status is not Status.CANCELLED:
        raise _wrong_move(order, Status.CANCELLED)
    return order


async def _moved(orders: OrderStore, order_id: str, status: Status) -> Order:
    order = await orders.move(order_id, status)
    if order is None:
        raise _wrong_move(await _found(orders, order_id), status)
    return order


def _wrong_move(order: Order, status: Status) -> Problem:
    return Problem(409, "wrong-status", f"an order that is {order.status} cannot become {status}")
