"""Payments over real sockets: a real Postgres, the real provider, a small orders, and wires between them that break."""

import asyncio
import contextlib
import socket
import sys
import uuid
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fastapi import APIRouter
from sqlalchemy import make_url

from brownout_shop.application import application
from brownout_shop.database import Database
from brownout_shop.discovery.fake import FakeConsul
from brownout_shop.discovery.registry import Instance
from brownout_shop.middleware import Drain
from brownout_shop.payments.app import routes
from brownout_shop.payments.store import METADATA, PaymentStore
from brownout_shop.provider import app as provider_app
from brownout_shop.provider import store as provider_store
from brownout_shop.resilience.client import Client
from brownout_shop.serve import _listening
from brownout_shop.service import Service
from brownout_shop.settings import Settings
from brownout_shop.telemetry.health import Health

ALICE = {"X-User-Id": "alice"}


class Orders:
    """The part of orders that payments calls: one table in memory, and who asked for what."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.app = web.Application()
        self.app.router.add_get("/orders/{id}", self._get)
        self.app.router.add_patch("/orders/{id}", self._patch)

    def new(self, *, amount: int = 1990, status: str = "pending", user_id: str = "alice") -> str:
        order_id = uuid.uuid4().hex
        self.orders[order_id] = {
            "id": order_id,
            "user_id": user_id,
            "items": [],
            "amount": amount,
            "currency": "EUR",
            "status": status,
        }
        return order_id

    def status(self, order_id: str) -> str:
        return str(self.orders[order_id]["status"])

    async def _get(self, request: web.Request) -> web.Response:
        self.asked.append("GET")
        return self._answer(request)

    async def _patch(self, request: web.Request) -> web.Response:
        self.asked.append("PATCH")
        order = self.orders[request.match_info["id"]]
        if order["status"] != "pending":
            return web.json_response({"type": "urn:brownout-shop:problem:wrong-status"}, status=409)
        order["status"] = (await request.json())["status"]
        return self._answer(request)

    def _answer(self, request: web.Request) -> web.Response:
        order = self.orders.get(request.match_info["id"])
        if order is None or order["user_id"] != request.headers["X-User-Id"]:
            return web.json_response({"type": "urn:brownout-shop:problem:not-found"}, status=404)
        return web.json_response(order)


class Fuse:
    """Counts the pieces that pass over its wires, and cuts the connection that would carry a certain one."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._kills = False
        self.blown = self.dead = False

    def arm(self, pieces: int, *, kills: bool) -> None:
        """Let so many pieces pass and not the next; `kills` lets none pass after it, on any wire."""
        self._left, self._kills, self.blown = pieces, kills, False

    def mend(self) -> None:
        self._left, self.dead = None, False

    def passes(self) -> bool:
        if self._left == 0:
            self._left, self.blown, self.dead = None, True, self._kills
            return False
        if self._left is not None:
            self._left -= 1
        return not self.dead


class Wire:
    """A relay to a port on loopback; what is not let through cuts the connection in both directions."""

    def __init__(self, to_port: int, fuse: Fuse) -> None:
        self._to_port, self._fuse = to_port, fuse
        self.answers = asyncio.Event()
        """Cleared, it holds back what the server says."""
        self.answers.set()
        self.port = self._open = 0

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator["Wire"]:
        async with await asyncio.start_server(self._relay, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
            self.answers.set()
            await until(lambda: not self._open)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        always = asyncio.Event()
        always.set()
        await asyncio.gather(
            self._pump(reader, to_writer, writer, always), self._pump(to_reader, writer, to_writer, self.answers)
        )
        self._open -= 1

    async def _pump(
        self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, back: asyncio.StreamWriter, gate: asyncio.Event
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(2**16):
                await gate.wait()
                if not self._fuse.passes():
                    back.transport.abort()
                    to.transport.abort()
                to.write(piece)
                await to.drain()
        to.close()


class Shop:
    """Payments and what is around it, as one test sees it."""

    def __init__(self, database_url: str, orders: Orders, to: dict[str, Wire], fuse: Fuse, ledger: Any) -> None:
        self.database_url, self.orders, self.to, self.fuse, self.ledger = database_url, orders, to, fuse, ledger
        self.clock_ns = 0

    @contextlib.asynccontextmanager
    async def payments(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A payments service that knows nothing but what is in its database."""
        url = make_url(self.database_url).set(port=self.to["database"].port)
        database = Database(url.render_as_string(), METADATA)
        await database.prepare()
        async with (
            Client("payments", self._instances, clock=lambda: self.clock_ns) as client,
            served("payments", routes(PaymentStore(database), client)) as port,
            aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=ALICE) as session,
        ):
            yield session
        await database.close()

    def _instances(self, callee: str) -> list[Instance]:
        self.clock_ns += 11 * 10**9  # each call is in a window of its own: no breaker opens here
        return [Instance(callee, f"127.0.0.1:{self.to[callee].port}")]

    async def charges(self, order_id: str) -> list[str]:
        return [charge.id for charge in await self.ledger.of_reference(order_id)]


@contextlib.asynccontextmanager
async def served(name: str, router: APIRouter) -> AsyncIterator[int]:
    health = Health(consul=lambda: True, has_instance=lambda _: True)
    settings = Settings(cell="c1", instance=f"{name}-0", listen="127.0.0.1:0", consul_url="", otlp_url="")
    with _listening(application(name, Service(router), health, Drain()), settings) as listening:
        yield listening.listener.getsockname()[1]
        await listening.finish(1)


async def until(true: Callable[[], object], within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.01)


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    orders, fuse = Orders(), Fuse()
    books = Database(database_url, provider_store.METADATA)
    await books.prepare()
    ledger = provider_store.Ledger(books)
    async with (
        TestServer(orders.app) as orders_server,
        served("provider", provider_app.routes(ledger)) as provider_port,
        Wire(orders_server.port or 0, fuse).held() as to_orders,
        Wire(provider_port, fuse).held() as to_provider,
        Wire(make_url(database_url).port or 0, fuse).held() as to_database,
    ):
        to = {"orders": to_orders, "provider": to_provider, "database": to_database}
        yield Shop(database_url, orders, to, fuse, ledger)
    await books.close()


@pytest.fixture
async def alice(shop: Shop) -> AsyncIterator[aiohttp.ClientSession]:
    async with shop.payments() as session:
        yield session


async def paid(payments: aiohttp.ClientSession, order_id: str, **headers: str) -> tuple[int, dict[str, Any]]:
    async with payments.post("/payments", json={"order_id": order_id}, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_paying_charges_once_and_marks_the_order_paid(shop: Shop, alice: aiohttp.ClientSession) -> None:
    order_id = shop.orders.new()
    status, payment = await paid(alice, order_id)
    charges = await shop.charges(order_id)
    assert (status, payment["status"], [payment["charge_id"]]) == (201, "charged", charges)
    assert (payment["order_id"], payment["amount"], payment["currency"]) == (order_id, 1990, "EUR")
    assert shop.orders.status(order_id) == "paid"
    assert shop.orders.asked == ["GET", "PATCH"]
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
    assert shop.orders.asked.count("GET") == 20


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
