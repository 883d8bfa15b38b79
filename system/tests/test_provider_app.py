"""The provider over a real listener and a real Postgres."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from brownout_shop.application import application
from brownout_shop.database import Database
from brownout_shop.middleware import Drain
from brownout_shop.provider.app import routes
from brownout_shop.provider.store import METADATA, Ledger
from brownout_shop.serve import _listening
from brownout_shop.service import Service
from brownout_shop.settings import Settings
from brownout_shop.telemetry.health import Health

BOOK = {"amount": 1990, "currency": "EUR", "reference": "order-1"}


@pytest.fixture
async def provider(database_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    database = Database(database_url, METADATA)
    await database.prepare()
    health = Health(consul=lambda: True, has_instance=lambda _: True, database=database.answers)
    app = application("provider", Service(routes(Ledger(database)), database=database), health, Drain())
    settings = Settings(cell="c1", instance="provider-0", listen="127.0.0.1:0", consul_url="", otlp_url="")
    with _listening(app, settings) as listening:
        port = listening.listener.getsockname()[1]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield session
        await listening.finish(1)
    await database.close()


async def charged(provider: aiohttp.ClientSession, key: str | None, **charge: Any) -> tuple[int, dict[str, Any]]:
    headers = {} if key is None else {"Idempotency-Key": key}
    async with provider.post("/charges", json={**BOOK, **charge}, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def ledger(provider: aiohttp.ClientSession, reference: str) -> list[dict[str, Any]]:
    async with provider.get("/charges", params={"reference": reference}) as answer:
        assert answer.status == 200
        charges: list[dict[str, Any]] = await answer.json()
        return charges


async def test_what_was_charged_is_in_the_ledger(provider: aiohttp.ClientSession) -> None:
    status, charge = await charged(provider, "k1")
    assert (status, charge) == (201, {"id": charge["id"], **BOOK, "status": "charged"})
    assert await ledger(provider, "order-1") == [charge]


async def test_the_same_key_is_the_same_charge_also_at_the_same_time(provider: aiohttp.ClientSession) -> None:
    answers = await asyncio.gather(*(charged(provider, "k1") for _ in range(20)))
    assert {status for status, _ in answers} == {201}
    assert len({charge["id"] for _, charge in answers}) == 1
    assert len(await ledger(provider, "order-1")) == 1


async def test_two_keys_are_two_charges_and_the_ledger_shows_both_in_order(provider: aiohttp.ClientSession) -> None:
    both = [(await charged(provider, key))[1] for key in ("k1", "k2")]
    assert await ledger(provider, "order-1") == both
    assert await ledger(provider, "order-2") == []


async def test_a_key_cannot_be_used_for_another_charge(provider: aiohttp.ClientSession) -> None:
    await charged(provider, "k1")
    status, problem = await charged(provider, "k1", amount=1991)
    assert (status, problem["type"]) == (422, "urn:brownout-shop:problem:key-reused")
    assert [charge["amount"] for charge in await ledger(provider, "order-1")] == [1990]


async def test_an_amount_that_ends_in_13_is_declined_and_not_charged(provider: aiohttp.ClientSession) -> None:
    status, problem = await charged(provider, "k1", amount=2013)
    assert (status, problem["type"]) == (402, "urn:brownout-shop:problem:declined")
    assert await ledger(provider, "order-1") == []


async def refunded(provider: aiohttp.ClientSession, key: str) -> tuple[int, dict[str, Any]]:
    async with provider.post("/refunds", json={"key": key, "reference": "order-1"}) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_a_charge_is_refunded_once_however_often_and_at_the_same_time(provider: aiohttp.ClientSession) -> None:
    _, charge = await charged(provider, "k1")
    answers = await asyncio.gather(*(refunded(provider, "k1") for _ in range(20)))
    assert all(answer == (201, {**charge, "status": "refunded"}) for answer in answers)
    assert await ledger(provider, "order-1") == [{**charge, "status": "refunded"}]


async def test_a_refunded_charge_is_not_made_again(provider: aiohttp.ClientSession) -> None:
    _, charge = await charged(provider, "k1")
    await refunded(provider, "k1")
    assert await charged(provider, "k1") == (201, {**charge, "status": "refunded"})
    assert len(await ledger(provider, "order-1")) == 1


async def test_what_is_refunded_before_it_was_charged_is_void_and_declined_later(
    provider: aiohttp.ClientSession,
) -> None:
    voids = [await refunded(provider, "k1") for _ in range(2)]
    assert voids[0] == voids[1]
    assert (voids[0][0], voids[0][1]["status"]) == (201, "voided")
    status, problem = await charged(provider, "k1")
    assert (status, problem["type"]) == (402, "urn:brownout-shop:problem:declined")
    assert await ledger(provider, "order-1") == []
    assert (await charged(provider, "k2"))[0] == 201


async def test_charged_and_refunded_at_the_same_time_it_is_refunded_or_never_was(
    provider: aiohttp.ClientSession,
) -> None:
    for number in range(10):
        key = f"k{number}"
        (charge_status, _), (_, refund) = await asyncio.gather(charged(provider, key), refunded(provider, key))
        assert (charge_status, refund["status"]) in {(201, "refunded"), (402, "voided")}
        assert {charge["status"] for charge in await ledger(provider, "order-1")} <= {"refunded"}


@pytest.mark.parametrize(
    ("key", "charge"),
    [
        ("k1", {"amount": 0}),
        ("k1", {"amount": -13}),
        ("k1", {"amount": 2**63}),
        ("k1", {"currency": "euro"}),
        ("k1", {"reference": ""}),
        ("k1", {"reference": "a\0b"}),
        ("k" * 101, {}),
        (None, {}),
    ],
)
async def test_a_charge_out_of_bounds_is_422(
    provider: aiohttp.ClientSession, key: str | None, charge: dict[str, Any]
) -> None:
    status, problem = await charged(provider, key, **charge)
    assert (status, problem["type"]) == (422, "urn:brownout-shop:problem:invalid")
    assert await ledger(provider, "order-1") == []


async def test_the_largest_amount_fits(provider: aiohttp.ClientSession) -> None:
    assert (await charged(provider, "k1", amount=2**63 - 1))[0] == 201
