"""What the tests of payments share: a small orders, wires that break, and a shop of both around the real services."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy import make_url

from brownout_shop.database import Database
from brownout_shop.discovery.registry import Instance
from brownout_shop.payments.app import routes
from brownout_shop.payments.store import METADATA, PaymentStore
from brownout_shop.provider import app as provider_app
from brownout_shop.provider import store as provider_store
from brownout_shop.provider.store import Ledger
from brownout_shop.resilience.client import Client
from brownout_shop.signature import Signer
from wires import Fuse, Wire, served

ALICE = {"X-User-Id": "alice"}
SECRET = b"a secret of thirty-two bytes, yes"


class Orders:
    """The part of orders that payments calls: one table in memory, and who asked for what."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.app = web.Application()
        self.app.router.add_get("/orders/{id}", self._get)
        self.app.router.add_post("/orders/{id}/cancel", self._cancel)
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

    async def _cancel(self, request: web.Request) -> web.Response:
        self.asked.append("CANCEL")
        order = self.orders[request.match_info["id"]]
        if order["status"] not in ("pending", "paid", "cancelled"):
            return web.json_response({"type": "urn:brownout-shop:problem:wrong-status"}, status=409)
        order["status"] = "cancelled"
        return self._answer(request)

    def _answer(self, request: web.Request) -> web.Response:
        order = self.orders.get(request.match_info["id"])
        if order is None or order["user_id"] != request.headers["X-User-Id"]:
            return web.json_response({"type": "urn:brownout-shop:problem:not-found"}, status=404)
        return web.json_response(order)


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
