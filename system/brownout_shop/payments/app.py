"""The payments routes: pay for an order, once, whatever breaks in the middle, and hear of it (clause 2.4).

Each step is safe to do again, and what is saved says which ones are done: so the same request carries on where an
earlier one stopped. The payment is saved before the provider is asked, as its id is the idempotency key there.
"""

import logging
import uuid
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from pydantic import StringConstraints

from brownout_shop.body import Body, Router, read_json
from brownout_shop.database import Database
from brownout_shop.events import Consumer
from brownout_shop.payments import calls
from brownout_shop.payments.callbacks import Callback, note
from brownout_shop.payments.domain import Payment, Standing, Status, is_final, standing
from brownout_shop.payments.refunds import give_back
from brownout_shop.payments.store import METADATA, PaymentStore
from brownout_shop.problems import Problem, documented
from brownout_shop.resilience.client import CalleeRefusedError, Client
from brownout_shop.service import Service
from brownout_shop.settings import Settings
from brownout_shop.signature import HEADER, Signer

__all__ = ["build", "routes"]

log = logging.getLogger(__name__)

OrderId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
"""A part of a path that leads nowhere else."""


class NewPayment(Body):
    """What is paid for."""

    order_id: OrderId


def build(settings: Settings, client: Client) -> Service:
    """Return the payments service."""
    database = Database(settings.database_url.get_secret_value(), METADATA)
    payments = PaymentStore(database)
    topic, group = settings.topic("order.cancelled"), f"{settings.cell}.payments"
    refunds = Consumer(settings.kafka, topic, group, partial(give_back, payments, client))
    signer = Signer(settings.callback_key)
    return Service(routes(payments, client, signer), needs=("orders",), database=database, companions=(refunds,))


async def _user_of(x_user_id: Annotated[str, Header()] = "") -> str:
    if not x_user_id:
        raise Problem(401, "unauthorized", "X-User-Id: who pays")
    return x_user_id


UserId = Annotated[str, Depends(_user_of)]


def routes(payments: PaymentStore, client: Client, signer: Signer) -> APIRouter:
    """Return the routes over a store of payments; `client` calls orders and the provider, who signs its callbacks."""
    router = Router()

    @router.post("/payments", status_code=201, responses=documented(401, 402, 404, 409))
    async def pay(new: NewPayment, user_id: UserId) -> dict[str, Any]:
        order = await calls.order_of(client, new.order_id, user_id)
        if standing(order.status) is not Standing.DUE:
            return asdict(await _settled(payments, new.order_id, user_id, order))
        fresh = Payment(uuid.uuid4().hex, new.order_id, user_id, order.amount, order.currency)
        payment = await payments.open(fresh)
        if payment.status is Status.PENDING:
            payment = await _charged(payments, client, payment)
        if payment.status is Status.REFUSED:
            raise Problem(402, "payment-refused", "the provider refused the charge")
        if payment.status is not Status.CHARGED:
            raise Problem(409, "wrong-status", "the order was cancelled while it was being paid")
        if not await calls.mark_paid(client, payment):  # another request was quicker, or the order was cancelled
            order = await calls.order_of(client, new.order_id, user_id)
            payment = await _settled(payments, new.order_id, user_id, order)
        return asdict(payment)

    @router.get("/payments/{order_id}", responses=documented(401, 404))
    async def get_payment(order_id: OrderId, user_id: UserId) -> dict[str, Any]:
        payment = await payments.of_order(order_id, user_id)
        if payment is None:
            raise Problem(404, "not-found", "no such payment")
        return asdict(payment)

    @router.post("/callback", responses=documented(401))
    async def callback(request: Request, x_signature: Annotated[str, Header()] = "") -> dict[str, Any]:
        told = _callback(signer, await request.body(), x_signature)
        await note(payments, client, told)
        return {"key": told.key, "status": told.status}

    return router


async def _settled(payments: PaymentStore, order_id: str, user_id: str, order: calls.Order) -> Payment:
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
    """Charge a pending payment at the provider, and return it as it stands then: charged, refused, or given back.

    Raises:
        CallError: whether it was charged is unknown; the payment stays pending.
    """
    try:
        charge = await calls.charge(client, payment)
    except CalleeRefusedError as error:
        if not is_final(error.status):
            raise Problem(503, "overloaded", "the provider asks to come again", {"Retry-After": "10"}) from error
        log.info("payment %s refused: %d %s", payment.id, error.status, error.word)
        return await payments.move(payment, Status.REFUSED)
    return await payments.move(payment, charge.status, charge.id)


def _callback(signer: Signer, body: bytes, signature: str) -> Callback:
    if not signer.signed(body, signature):
        raise Problem(401, "unauthorized", f"{HEADER}: not the provider's, or too old")
    try:
        return Callback.model_validate(read_json(body))
    except (ValueError, RecursionError) as error:
        raise Problem(422, "invalid", "the provider's callback has another form") from error
