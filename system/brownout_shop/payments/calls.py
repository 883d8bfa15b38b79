"""What payments asks of others: orders for an order and to move it, the provider to charge and to refund."""

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from brownout_shop.payments.domain import Payment, Status
from brownout_shop.resilience.client import Answer, CalleeFailedError, CalleeRefusedError, Client

__all__ = ["Charge", "Order", "cancel", "charge", "mark_paid", "order_of", "refund"]

JSON = {"Content-Type": "application/json"}
CONFLICT = 409


class Order(BaseModel):
    """What orders tells of an order, as far as it matters here; the amount is in minor units."""

    amount: int
    currency: str
    status: str


class Charge(BaseModel):
    """What the provider tells of a charge, as far as it matters here; voided is one that was never made."""

    id: str
    status: Literal[Status.CHARGED, Status.REFUNDED, Status.VOIDED]


Told = TypeVar("Told", bound=BaseModel)


async def order_of(client: Client, order_id: str, user_id: str) -> Order:
    """Return the user's order; that there is none is orders' own answer, and ours."""
    answer = await client.call("orders", "GET", f"/orders/{order_id}", headers={"X-User-Id": user_id})
    return _told(Order, "orders", answer)


async def mark_paid(client: Client, payment: Payment) -> bool:
    """Tell orders that a charged payment's order is paid, and return whether it was pending until now.

    If not it is paid already, or was cancelled meanwhile: then the news of that brings the money back.
    """
    return await _moved(client, f"/internal/orders/{payment.order_id}/paid")


async def cancel(client: Client, payment: Payment) -> bool:
    """Cancel a refunded payment's order, and return whether it is cancelled now: one that was shipped is not."""
    return await _moved(client, f"/orders/{payment.order_id}/cancel", {"X-User-Id": payment.user_id})


async def charge(client: Client, payment: Payment) -> Charge:
    """Charge a payment at the provider, whose idempotency key is the payment's id.

    Raises:
        CalleeRefusedError: the provider refused it.
        CallError: whether it was charged is unknown.
    """
    body = {"amount": payment.amount, "currency": payment.currency, "reference": payment.order_id}
    return await _provider(client, "/charges", body, {"Idempotency-Key": payment.id})


async def refund(client: Client, payment: Payment) -> Charge:
    """Have a payment's charge refunded, or declined if it comes later; asked again, it is the same refund.

    Raises:
        CallError: whether it was is unknown.
    """
    return await _provider(client, "/refunds", {"key": payment.id, "reference": payment.order_id}, {})


async def _moved(client: Client, path: str, headers: Mapping[str, str] | None = None) -> bool:
    try:
        await client.call("orders", "POST", path, headers=headers or {})
    except CalleeRefusedError as error:
        if error.status != CONFLICT:
            raise
        return False
    return True


async def _provider(client: Client, path: str, body: dict[str, Any], headers: dict[str, str]) -> Charge:
    answer = await client.call("provider", "POST", path, body=json.dumps(body).encode(), headers={**JSON, **headers})
    return _told(Charge, "provider", answer)


def _told(model: type[Told], callee: str, answer: Answer) -> Told:
    try:
        return model.model_validate_json(answer.body)
    except ValidationError as error:
        raise CalleeFailedError(callee, "an answer of another form") from error
