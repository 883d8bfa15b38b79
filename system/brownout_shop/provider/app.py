"""The provider's routes: charge and refund once for each idempotency key, and tell what was charged.

What is refunded before it was charged is void, and a charge that comes later under its key is declined. How a key
behaves follows the IETF draft "The Idempotency-Key HTTP Header Field": with the same request the first answer again,
with another one 422.
"""

import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from pydantic import Field, StrictInt, StringConstraints

from brownout_shop.body import Body, Router
from brownout_shop.database import Database
from brownout_shop.problems import Problem, documented
from brownout_shop.provider.callbacks import Callbacks
from brownout_shop.provider.store import METADATA, Charge, Ledger, Status
from brownout_shop.resilience.client import Client
from brownout_shop.service import Service
from brownout_shop.settings import Settings
from brownout_shop.signature import Signer

__all__ = ["build", "routes"]

LARGEST = 2**63 - 1
"""What a database column holds."""
DECLINED = 13
"""An amount that ends in so many minor units is declined, so that a test can see it."""

Printable = StringConstraints(pattern=r"^[!-~]{1,100}$")


class NewCharge(Body):
    """What shall be charged; the amount is in minor units."""

    amount: Annotated[StrictInt, Field(gt=0, le=LARGEST)]
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    reference: Annotated[str, Printable]


class NewRefund(Body):
    """What shall be given back: the charge that was, or would have been, made under a key."""

    key: Annotated[str, Printable]
    reference: Annotated[str, Printable]


def build(settings: Settings, client: Client) -> Service:
    """Return the provider; without an address to call back it tells nobody."""
    database = Database(settings.database_url.get_secret_value(), METADATA)
    ledger = Ledger(database)
    if not settings.callback:
        return Service(routes(ledger), database=database)
    callbacks = Callbacks(ledger, client, Signer(settings.callback_key))
    return Service(routes(ledger, callbacks.wake), database=database, companions=(callbacks,))


def routes(ledger: Ledger, written: Callable[[], None] = lambda: None) -> APIRouter:
    """Return the routes over a ledger; `written` is called after something was, which is to be told."""
    router = Router()

    @router.post("/charges", status_code=201, responses=documented(402))
    async def charge(new: NewCharge, idempotency_key: Annotated[str, Header(), Printable]) -> dict[str, Any]:
        if new.amount % 100 == DECLINED:
            raise Problem(402, "declined", "the charge was declined")
        asked = Charge(uuid.uuid4().hex, new.amount, new.currency, new.reference)
        entered = await ledger.enter(idempotency_key, asked)
        if entered.status is Status.VOIDED:
            raise Problem(402, "declined", "it was given back before it was charged")
        if replace(entered, id=asked.id, status=asked.status) != asked:
            raise Problem(422, "key-reused", "another charge was asked for under this key")
        written()
        return asdict(entered)

    @router.post("/refunds", status_code=201)
    async def refund(new: NewRefund) -> dict[str, Any]:
        void = Charge(uuid.uuid4().hex, 0, "", new.reference, Status.VOIDED)
        there = await ledger.give_back(new.key, void)
        written()
        return asdict(there)

    @router.get("/charges")
    async def list_charges(reference: Annotated[str, Query(), Printable]) -> list[dict[str, Any]]:
        return [asdict(charge) for charge in await ledger.of_reference(reference)]

    return router
