"""Payments over real sockets: a real Postgres, the real provider, a small orders, and wires between them that break."""

import asyncio
import contextlib
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator

import aiohttp
import pytest

from brownout_shop.discovery.fake import FakeConsul
from paying import ALICE, SECRET, Shop, paid, shop_over
from wires import until


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with shop_over(database_url) as shop:
        yield shop


@pytest.fixture
async def alice(shop: Shop) -> AsyncIterator[aiohttp.ClientSession]:
    async with shop.payments() as session:
        yield session


async def test_paying_charges_once_and_marks_the_order_paid(shop: Shop, alice: aiohttp.ClientSession) -> None:
    order_id = shop.orders.new()
    status, payment = await paid(alice, order_id)
    charges = await shop.charges(order_id)
    assert (status, payment["status"], [payment["charge_id"]]) == (201, "charged", charges)
    assert (payment["order_id"], payment["amount"], payment["currency"]) == (order_id, 1990, "EUR")
    assert shop.orders.status(order_id) == "paid"
    assert shop.orders.asked == ["GET", "POST"]
    async with alice.get(f"/payments/{order_id}") as answer:
        assert await answer.json() == payment


async def test_a_paid_order_gets_its_saved_payment_after_one_call(shop: Shop, alice: aiohttp.ClientSession) -> None:
    order_id = shop.orders.new()
    first = await paid(alice, order_id)
    shop.orders.asked.clear()
    assert await paid(alice, order_id) == first
    assert shop.orders.asked == ["GET"]
    assert len(await shop.charges(order_id)) == 1


async def test_many_at_once_are_one_payment_and_one_charge(shop: Shop, alice: aiohttp.ClientSession) -> None:
    order_id = shop.orders.new()
    answers = await asyncio.gather(*(paid(alice, order_id) for _ in range(20)))
    assert {status for status, _ in answers} == {201}
    assert len({payment["id"] for _, payment in answers}) == 1
    assert len(await shop.charges(order_id)) == 1
    assert shop.orders.status(order_id) == "paid"


async def test_a_refused_charge_is_402_and_the_order_stays_as_it_was(shop: Shop, alice: aiohttp.ClientSession) -> None:
    order_id = shop.orders.new(amount=2013)
    for _ in range(2):
        status, problem = await paid(alice, order_id)
        assert (status, problem["type"]) == (402, "urn:brownout-shop:problem:payment-refused")
    assert (shop.orders.status(order_id), await shop.charges(order_id)) == ("pending", [])
    async with alice.get(f"/payments/{order_id}") as answer:
        assert (await answer.json())["status"] == "refused"


@pytest.mark.parametrize("user_id", ["mallory", "alice"])
async def test_an_order_of_another_user_or_none_is_404(shop: Shop, alice: aiohttp.ClientSession, user_id: str) -> None:
    order_id = shop.orders.new() if user_id == "mallory" else "none"
    status, problem = await paid(alice, order_id, **{"X-User-Id": user_id})
    assert (status, problem["type"]) == (404, "urn:brownout-shop:problem:not-found")


@pytest.mark.parametrize("order_status", ["cancelled", "paid"])
async def test_an_order_that_is_cancelled_or_was_paid_in_another_way_is_409(
    shop: Shop, alice: aiohttp.ClientSession, order_status: str
) -> None:
    order_id = shop.orders.new(status=order_status)
    status, problem = await paid(alice, order_id)
    assert (status, problem["type"]) == (409, "urn:brownout-shop:problem:wrong-status")
    assert await shop.charges(order_id) == []


@pytest.mark.parametrize("order_id", ["", "..", "a/b", "a\0b", "x" * 65])
async def test_what_is_no_id_never_becomes_a_path(shop: Shop, alice: aiohttp.ClientSession, order_id: str) -> None:
    assert (await paid(alice, order_id))[0] == 422
    assert shop.orders.asked == []


async def test_without_a_user_it_is_401(shop: Shop, alice: aiohttp.ClientSession) -> None:
    assert (await paid(alice, shop.orders.new(), **{"X-User-Id": ""}))[0] == 401


async def test_another_user_does_not_see_a_payment(shop: Shop, alice: aiohttp.ClientSession) -> None:
    order_id = shop.orders.new()
    await paid(alice, order_id)
    async with alice.get(f"/payments/{order_id}", headers={"X-User-Id": "mallory"}) as answer:
        assert answer.status == 404


async def test_a_provider_that_answers_too_late_has_charged_once_all_the_same(
    shop: Shop, alice: aiohttp.ClientSession
) -> None:
    order_id = shop.orders.new()
    await paid(alice, shop.orders.new())  # so that every connection is there already
    shop.to["provider"].answers.clear()
    assert (await paid(alice, order_id, **{"X-Timeout-Ms": "1000"}))[0] == 504
    assert (len(await shop.charges(order_id)), shop.orders.status(order_id)) == (1, "pending")
    shop.to["provider"].answers.set()
    status, payment = await paid(alice, order_id)
    assert (status, [payment["charge_id"]]) == (201, await shop.charges(order_id))


@pytest.mark.parametrize("kills", [False, True], ids=["a connection is cut", "everything dies"])
async def test_wherever_it_breaks_the_same_request_carries_on_to_one_charge(shop: Shop, kills: bool) -> None:  # noqa: FBT001 - a table's column
    """Cut before each piece that passes between payments and orders, the provider or the database, either way."""
    statuses = set()
    for pieces in range(500):
        order_id = shop.orders.new()
        async with shop.payments() as payments:
            shop.fuse.arm(pieces, kills=kills)
            statuses.add((await paid(payments, order_id))[0])
            shop.fuse.mend()
        if not shop.fuse.blown:
            break
        async with shop.payments() as another:
            status, payment = await paid(another, order_id)
        assert (status, payment["status"]) == (201, "charged"), pieces
        assert [payment["charge_id"]] == await shop.charges(order_id), pieces
        assert shop.orders.status(order_id) == "paid", pieces
    assert not shop.fuse.blown
    assert pieces > 10
    assert statuses == {201, 502, 503}


@contextlib.asynccontextmanager
async def process(shop: Shop, consul: FakeConsul) -> AsyncIterator[tuple[Process, aiohttp.ClientSession]]:
    """The payments service as a process of its own, once it has registered."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {
        "CELL": "c1",
        "INSTANCE": "payments-0",
        "LISTEN": f"127.0.0.1:{port}",
        "CONSUL_URL": consul.url,
        "OTLP_URL": "http://127.0.0.1:1",
        "DATABASE_URL": shop.database_url,
        "PROVIDER": f"127.0.0.1:{shop.to['provider'].port}",
        "KAFKA": "127.0.0.1:1",
        "CALLBACK_SECRET": SECRET.decode(),
    }
    orders = {"Name": "orders", "Address": "127.0.0.1", "Port": shop.to["orders"].port, "TaggedAddresses": {}}
    await consul.change({"c1-orders-0": {"ID": "c1-orders-0", **orders}})
    command = (sys.executable, "-m", "brownout_shop", "payments")
    started = await asyncio.create_subprocess_exec(*command, env=env, stderr=DEVNULL)
    try:
        await until(lambda: "c1-payments-0" in consul.services)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=ALICE) as session:
            yield started, session
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.kill()
        await started.wait()


async def test_a_process_killed_after_the_charge_leaves_what_the_next_one_needs(shop: Shop) -> None:
    order_id = shop.orders.new()
    shop.to["provider"].answers.clear()
    async with FakeConsul() as consul:
        async with process(shop, consul) as (killed, payments):
            request = asyncio.create_task(paid(payments, order_id))
            async with asyncio.timeout(10):
                while not await shop.charges(order_id):  # noqa: ASYNC110 - what it waits for tells nobody
                    await asyncio.sleep(0.02)
            killed.kill()
            with pytest.raises(aiohttp.ClientError):
                await request
        shop.to["provider"].answers.set()
        assert shop.orders.status(order_id) == "pending"
        async with process(shop, consul) as (_, payments):
            status, payment = await paid(payments, order_id)
    assert (status, [payment["charge_id"]]) == (201, await shop.charges(order_id))
    assert shop.orders.status(order_id) == "paid"
