"""The provider's callbacks at payments: signed, again, late and in any order."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from brownout_shop.discovery.registry import Instance
from brownout_shop.gateway import app as gateway_app
from brownout_shop.payments.domain import Payment
from brownout_shop.provider.callbacks import Callbacks
from brownout_shop.resilience.client import Client
from brownout_shop.signature import Signer
from paying import SECRET, Shop, paid, shop_over
from wires import served

SIGNER = Signer(SECRET)
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with shop_over(database_url) as shop:
        yield shop


@pytest.fixture
async def payments(shop: Shop) -> AsyncIterator[aiohttp.ClientSession]:
    async with shop.payments() as session:
        yield session


async def opened(shop: Shop, order_id: str) -> Payment:
    """A payment that was saved and perhaps charged, before its process died."""
    async with shop.parts() as (store, _):
        return await store.open(Payment(f"p-{order_id}", order_id, "alice", 1990, "EUR"))


async def told(
    payments: aiohttp.ClientSession, key: str, status: str, *, signer: Signer = SIGNER, signature: str = ""
) -> tuple[int, dict[str, Any]]:
    body = json.dumps({"key": key, "id": "c1", "amount": 1990, "currency": "EUR", "status": status}).encode()
    headers = {"X-Signature": signature or signer.sign(body), **JSON}
    async with payments.post("/callback", data=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def status(shop: Shop, order_id: str) -> str:
    async with shop.parts() as (store, _):
        payment = await store.of_order(order_id, "alice")
    return str(payment.status) if payment else "none"


async def test_a_charge_whose_answer_was_lost_is_known_and_its_order_paid(
    shop: Shop, payments: aiohttp.ClientSession
) -> None:
    order_id = shop.orders.new()
    payment = await opened(shop, order_id)
    assert await told(payments, payment.id, "charged") == (200, {"key": payment.id, "status": "charged"})
    assert (await status(shop, order_id), shop.orders.status(order_id)) == ("charged", "paid")
    async with payments.get(f"/payments/{order_id}") as answer:
        assert (await answer.json())["charge_id"] == "c1"
    assert (await paid(payments, order_id))[0] == 201
    assert await shop.charges(order_id) == []  # nobody asked the provider any more


async def test_replayed_it_changes_nothing(shop: Shop, payments: aiohttp.ClientSession) -> None:
    order_id = shop.orders.new()
    _, payment = await paid(payments, order_id)
    for _ in range(3):
        assert (await told(payments, payment["id"], "charged"))[0] == 200
    async with payments.get(f"/payments/{order_id}") as answer:
        assert await answer.json() == payment
    assert shop.orders.status(order_id) == "paid"


async def test_a_refund_outranks_a_charge_whichever_is_told_first(shop: Shop, payments: aiohttp.ClientSession) -> None:
    for order in (["charged", "refunded"], ["refunded", "charged"], ["refunded", "charged", "refunded"]):
        order_id = shop.orders.new(status="cancelled")
        payment = await opened(shop, order_id)
        assert {(await told(payments, payment.id, one))[0] for one in order} == {200}
        assert (await status(shop, order_id), shop.orders.status(order_id)) == ("refunded", "cancelled")


async def test_the_news_of_a_charge_does_not_pay_a_cancelled_order(shop: Shop, payments: aiohttp.ClientSession) -> None:
    order_id = shop.orders.new(status="cancelled")
    payment = await opened(shop, order_id)
    assert (await told(payments, payment.id, "charged"))[0] == 200
    assert (await status(shop, order_id), shop.orders.status(order_id)) == ("charged", "cancelled")


async def test_money_that_the_provider_gives_back_by_itself_cancels_its_order(
    shop: Shop, payments: aiohttp.ClientSession
) -> None:
    order_id = shop.orders.new()
    _, payment = await paid(payments, order_id)
    for _ in range(2):
        assert (await told(payments, payment["id"], "refunded"))[0] == 200
        assert (await status(shop, order_id), shop.orders.status(order_id)) == ("refunded", "cancelled")


async def test_an_order_that_was_shipped_when_its_money_went_back_is_an_error_in_the_log(
    shop: Shop, payments: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    order_id = shop.orders.new(status="shipped")
    payment = await opened(shop, order_id)
    assert (await told(payments, payment.id, "refunded"))[0] == 200
    assert (await status(shop, order_id), shop.orders.status(order_id)) == ("refunded", "shipped")
    assert [r.levelno for r in caplog.records if order_id in r.getMessage()] == [logging.ERROR]


async def test_twenty_at_once_are_one(shop: Shop, payments: aiohttp.ClientSession) -> None:
    order_id = shop.orders.new()
    payment = await opened(shop, order_id)
    answers = await asyncio.gather(*(told(payments, payment.id, "charged") for _ in range(20)))
    assert {status for status, _ in answers} == {200}
    assert (await status(shop, order_id), shop.orders.status(order_id)) == ("charged", "paid")


async def test_while_orders_is_away_it_is_to_come_again(shop: Shop, payments: aiohttp.ClientSession) -> None:
    order_id = shop.orders.new()
    payment = await opened(shop, order_id)
    port, shop.to["orders"].port = shop.to["orders"].port, 1
    assert (await told(payments, payment.id, "charged"))[0] == 502
    assert (await status(shop, order_id), shop.orders.status(order_id)) == ("charged", "pending")
    shop.to["orders"].port = port
    assert (await told(payments, payment.id, "charged"))[0] == 200
    assert (await status(shop, order_id), shop.orders.status(order_id)) == ("charged", "paid")


async def test_one_for_a_payment_that_is_none_of_ours_is_taken_and_logged(
    payments: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await told(payments, "nobodys", "charged"))[0] == 200
    assert "charge c1 is charged for a payment that is none of ours" in caplog.text


@pytest.mark.parametrize(
    "forged",
    [
        {"signature": "t=1,v1=00"},
        {"signer": Signer(SECRET[::-1])},
        {"signer": Signer(SECRET, lambda: time.time() - 310)},
        {"signer": Signer(SECRET, lambda: time.time() + 310)},
        {"signature": Signer(SECRET).sign(b"another body")},
    ],
    ids=["no digest", "another secret", "old", "of the future", "of another body"],
)
async def test_a_forged_or_old_one_is_401_and_changes_nothing(
    shop: Shop, payments: aiohttp.ClientSession, forged: dict[str, Any]
) -> None:
    order_id = shop.orders.new()
    payment = await opened(shop, order_id)
    code, problem = await told(payments, payment.id, "charged", **forged)
    assert (code, problem["type"]) == (401, "urn:brownout-shop:problem:unauthorized")
    assert (await status(shop, order_id), shop.orders.status(order_id)) == ("pending", "pending")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"key": "p1", "id": "c1", "status": "voided"}',
        b'{"key": "p1", "status": "charged"}',
        b'{"key": "a\\u0000b", "id": "c1", "status": "charged"}',
        b'{"key": 7, "id": "c1", "status": "charged"}',
        b'{"key": "p1", "key": "p2", "id": "c1", "status": "charged"}',
        b"[" * 10_000,
    ],
)
async def test_a_signed_one_of_another_form_is_422(payments: aiohttp.ClientSession, body: bytes) -> None:
    async with payments.post("/callback", data=body, headers={"X-Signature": SIGNER.sign(body), **JSON}) as answer:
        assert answer.status == 422
        assert (await answer.json(content_type=None))["type"] == "urn:brownout-shop:problem:invalid"


@contextlib.asynccontextmanager
async def called_back(shop: Shop) -> AsyncIterator[tuple[Callbacks, aiohttp.ClientSession]]:
    """The provider's callbacks, to payments through the gateway, all of them real; and payments itself."""
    ports: dict[str, int] = {}

    def instances(callee: str) -> list[Instance]:
        return [Instance(callee, f"127.0.0.1:{ports[callee]}")]

    async with Client("gateway", instances) as behind, Client("provider", instances) as before, shop.payments() as to:
        ports["payments"] = to._base_url.port or 0 if to._base_url else 0
        async with served("gateway", gateway_app.routes(behind)) as ports["gateway"]:
            callbacks = Callbacks(shop.ledger, before, SIGNER, again_after_s=0.05)
            await callbacks.start()
            yield callbacks, to
            await callbacks.stop(5)


async def test_from_the_provider_through_the_gateway_a_lost_answer_comes_back(shop: Shop) -> None:
    order_id = shop.orders.new()
    async with called_back(shop) as (callbacks, payments):
        shop.to["provider"].answers.clear()
        assert (await paid(payments, order_id, **{"X-Timeout-Ms": "1000"}))[0] == 504
        callbacks.wake()
        async with asyncio.timeout(20):
            while await shop.ledger.untold():  # noqa: ASYNC110 - what it waits for tells nobody
                await asyncio.sleep(0.01)
        assert (await status(shop, order_id), shop.orders.status(order_id)) == ("charged", "paid")
        status_again, payment = await paid(payments, order_id)  # the provider is silent still
        assert (status_again, [payment["charge_id"]]) == (201, await shop.charges(order_id))
