"""The payments routes: pay for an order, once, whatever breaks in the middle (clause 2.4).

Each step is safe to do again, and what is saved says which ones are done: so the same request carries on where an
earlier one stopped. The payment is saved before the provider is asked, as its id is the idempotency key there.
"""

import json
import logging
import uuid
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel, StringConstraints, ValidationError

from brownout_shop.body import Router
from brownout_shop.database import Database
from brownout_shop.payments.domain import Payment, Standing, Status, is_final, standing
from brownout_shop.payments.store import METADATA, PaymentStore
from brownout_shop.problems import Problem, documented
from brownout_shop.resilience.client import Answer, CalleeFailedError, CalleeRefusedError, Client
from brownout_shop.service import Service
from brownout_shop.settings import Settings

__all__ = ["build", "routes"]

JSON = {"Content-Type": "application/json"}
CONFLICT = 409

log = logging.getLogger(__name__)

OrderId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
"""A part of a path that leads nowhere else."""


class NewPayment(BaseModel):
    """What is paid for."""

    order_id: OrderId


class Order(BaseModel):
    """What orders tells of an order, as far as it matters here; the amount is in minor units."""

    amount: int
    currency: str
    status: str


class Charge(BaseModel):
    """What the provider tells of a charge, as far as it matters here."""

    id: str


Told = TypeVar("Told", bound=BaseModel)


def build(settings: Settings, client: Client) -> Service:
    """Return the payments service."""
    database = Database(settings.database_url.get_secret_value(), METADATA)
    return Service(routes(PaymentStore(database), client), needs=("orders",), database=database)


async def _user_of(x_user_id: Annotated[str, Header()] = "") -> str:
    if not x_user_id:
        raise Problem(401, "unauthorized", "X-User-Id: who pays")
    return x_user_id


UserId = Annotated[str, Depends(_user_of)]


def routes(payments: PaymentStore, client: Client) -> APIRouter:
    """Return the routes over a store of payments; `client` calls orders and the provider."""
    router = Router()

    @router.post("/payments", status_code=201, responses=documented(401, 402, 404, 409))
    async def pay(new: NewPayment, user_id: UserId) -> dict[str, Any]:
        order = await _order(client, new.order_id, user_id)
        if standing(order.status) is not Standing.DUE:
            return asdict(await _settled(payments, new.order_id, user_id, order))
        fresh = Payment(uuid.uuid4().hex, new.order_id, user_id, order.amount, order.currency)
        payment = await payments.open(fresh)
        if payment.status is Status.PENDING:
            payment = await _charged(payments, client, payment)
        if payment.status is Status.REFUSED:
            raise Problem(402, "payment-refused", "the provider refused the charge")
        await _mark_paid(client, payment)
        return asdict(payment)

    @router.get("/payments/{order_id}", responses=documented(401, 404))
    async def get_payment(order_id: OrderId, user_id: UserId) -> dict[str, Any]:
        payment = await payments.of_order(order_id, user_id)
        if payment is None:
            raise Problem(404, "not-found", "no such payment")
        return asdict(payment)

    return router


async def _order(client: Client, order_id: str, user_id: str) -> Order:
    """Return the user's order; that there is none is orders' own answer, and ours."""
    answer = await client.call("orders", "GET", f"/orders/{order_id}", headers={"X-User-Id": user_id})
    return _told(Order, "orders", answer)


async def _settled(payments: PaymentStore, order_id: str, user_id: str, order: Order) -> Payment:
    """Return the payment of an order that is paid.

    Raises:
        Problem: 409 where nothing can be paid: it was cancelled, or paid in some other way.
    """
    paid = standing(order.status) is Standing.PAID
    payment = await payments.of_order(order_id, user_id) if paid else None
    if payment is None or payment.status is not Status.CHARGED:
        raise Problem(409, "wrong-status", f"an order that is {order.status} cannot be paid")
    return payment


async def _charged(payments: PaymentStore, client: Client, payment: Payment) -> Payment:
    """Charge a pending payment at the provider, and return it as it stands then: charged or refused.

    Raises:
        CallError: whether it was charged is unknown; the payment stays pending.
    """
    body = {"amount": payment.amount, "currency": payment.currency, "reference": payment.order_id}
    headers = {**JSON, "Idempotency-Key": payment.id}
    try:
        answer = await client.call("provider", "POST", "/charges", body=json.dumps(body).encode(), headers=headers)
    except CalleeRefusedError as error:
        if not is_final(error.status):
            raise Problem(503, "overloaded", "the provider asks to come again", {"Retry-After": "10"}) from error
        log.info("payment %s refused: %d %s", payment.id, error.status, error.word)
        return await payments.refused(payment)
    return await payments.charged(payment, _told(Charge, "provider", answer).id)


async def _mark_paid(client: Client, payment: Payment) -> None:
    """Tell orders that a charged payment's order is paid."""
    headers = {**JSON, "X-User-Id": payment.user_id}
    try:
        await client.call("orders", "PATCH", f"/orders/{payment.order_id}", body=b'{"status": "paid"}', headers=headers)
    except CalleeRefusedError as error:
        if error.status != CONFLICT:
            raise
        # Since we asked, the same request beside us has paid it, or its user cancelled it, as with a paid one.
        log.info("order %s is no longer pending", payment.order_id)


def _told(model: type[Told], callee: str, answer: Answer) -> Told:
    try:
        return model.model_validate_json(answer.body)
    except ValidationError as error:
        raise CalleeFailedError(callee, "an answer of another form") from error
