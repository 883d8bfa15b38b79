"""The provider's routes: charge once for each idempotency key, and tell what was charged.

How a key behaves follows the IETF draft "The Idempotency-Key HTTP Header Field": with the same request the first
answer again, with another one 422.
"""

import uuid
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, Field, StringConstraints

from brownout_shop.body import Router
from brownout_shop.database import Database
from brownout_shop.problems import Problem, documented
from brownout_shop.provider.store import METADATA, Charge, Ledger
from brownout_shop.resilience.client import Client
from brownout_shop.service import Service
from brownout_shop.settings import Settings

__all__ = ["build", "routes"]

LARGEST = 2**63 - 1
"""What a database column holds."""
DECLINED = 13
"""An amount that ends in so many minor units is declined, so that a test can see it."""

Printable = StringConstraints(pattern=r"^[!-~]{1,100}$")


class NewCharge(BaseModel):
    """What shall be charged; the amount is in minor units."""

    amount: Annotated[int, Field(gt=0, le=LARGEST)]
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    reference: Annotated[str, Printable]


def build(settings: Settings, _client: Client) -> Service:
    """Return the provider."""
    database = Database(settings.database_url.get_secret_value(), METADATA)
    return Service(routes(Ledger(database)), database=database)


def routes(ledger: Ledger) -> APIRouter:
    """Return the routes over a ledger."""
    router = Router()

    @router.post("/charges", status_code=201, responses=documented(402))
    async def charge(new: NewCharge, idempotency_key: Annotated[str, Header(), Printable]) -> dict[str, Any]:
        if new.amount % 100 == DECLINED:
            raise Problem(402, "declined", "the charge was declined")
        asked = Charge(uuid.uuid4().hex, new.amount, new.currency, new.reference)
        entered = await ledger.enter(idempotency_key, asked)
        if replace(entered, id=asked.id) != asked:
            raise Problem(422, "key-reused", "another charge was asked for under this key")
        return asdict(entered)

    @router.get("/charges")
    async def list_charges(reference: Annotated[str, Query(), Printable]) -> list[dict[str, Any]]:
        return [asdict(charge) for charge in await ledger.of_reference(reference)]

    return router
