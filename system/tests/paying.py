"""What the tests of payments share: a small orders, wires that break, and a shop of both around the real services."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from fastapi import APIRouter
from sqlalchemy import make_url

from brownout_shop.application import application
from brownout_shop.database import Database
from brownout_shop.discovery.registry import Instance
from brownout_shop.middleware import Drain
from brownout_shop.payments.app import routes
from brownout_shop.payments.store import METADATA, PaymentStore
from brownout_shop.provider import app as provider_app
from brownout_shop.provider import store as provider_store
from brownout_shop.provider.store import Ledger
from brownout_shop.resilience.client import Client
from brownout_shop.serve import _listening
from brownout_shop.service import Service
from brownout_shop.settings import Settings
from brownout_shop.signature import Signer
from brownout_shop.telemetry.health import Health

ALICE = {"X-User-Id": "alice"}
SECRET = b"a secret of thirty-two bytes, yes"


class Orders:
    """The part of orders that payments calls: one table in memory, and who asked for what."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.app = web.Application()
        self.app.router.add_get("/orders/{id}", self._get)
        self.app.router.add_post("/internal/orders/{id}/paid", self._mark_paid)

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

    async def _mark_paid(self, request: web.Request) -> web.Response:
        self.asked.append("POST")
        order = self.orders[request.match_info["id"]]
        if order["status"] != "pending":
            return web.json_response({"type": "urn:brownout-shop:problem:wrong-status"}, status=409)
        order["status"] = "paid"
        return web.json_response(order)

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
        self.to_port, self._fuse = to_port, fuse
        self.requests, self.answers = asyncio.Event(), asyncio.Event()
        """Cleared, they hold back what the client, and the server, says."""
        self.requests.set()
        self.answers.set()
        self.port = self._open = 0

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator["Wire"]:
        async with await asyncio.start_server(self._relay, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
            self.requests.set()
            self.answers.set()
            await until(lambda: not self._open)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
        await asyncio.gather(
            self._pump(reader, to_writer, writer, self.requests), self._pump(to_reader, writer, to_writer, self.answers)
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

    def __init__(self, database_url: str, orders: Orders, to: dict[str, Wire], fuse: Fuse, ledger: Ledger) -> None:
        self.database_url, self.orders, self.to, self.fuse, self.ledger = database_url, orders, to, fuse, ledger
        self.clock_ns = 0

    @contextlib.asynccontextmanager
    async def payments(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A payments service that knows nothing but what is in its database."""
        async with (
            self.parts() as (store, client),
            served("payments", routes(store, client, Signer(SECRET))) as port,
            aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=ALICE) as session,
        ):
            yield session

    @contextlib.asynccontextmanager
    async def parts(self, *, directly: bool = False) -> AsyncIterator[tuple[PaymentStore, Client]]:
        """What a payments service is made of, over the wires or beside them."""

        def instances(callee: str) -> list[Instance]:
            self.clock_ns += 11 * 10**9  # each call is in a window of its own: no breaker opens here
            return [Instance(callee, f"127.0.0.1:{port(callee)}")]

        def port(callee: str) -> int:
            return self.to[callee].to_port if directly else self.to[callee].port

        url = make_url(self.database_url).set(port=port("database"))
        database = Database(url.render_as_string(), METADATA)
        await database.prepare()
        async with Client("payments", instances, clock=lambda: self.clock_ns) as client:
            yield PaymentStore(database), client
        await database.close()

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


@contextlib.asynccontextmanager
async def shop_over(database_url: str) -> AsyncIterator[Shop]:
    """A shop over a new database: payments and the provider share it, in tables of their own."""
    orders, fuse = Orders(), Fuse()
    books = Database(database_url, provider_store.METADATA)
    await books.prepare()
    ledger = Ledger(books)
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


async def paid(payments: aiohttp.ClientSession, order_id: str, **headers: str) -> tuple[int, dict[str, Any]]:
    async with payments.post("/payments", json={"order_id": order_id}, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)
