"""What the tests of orders share: the real orders and products around one real Postgres, and the books of both."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy import make_url, text

from brownout_shop.database import Database
from brownout_shop.discovery.registry import Instance
from brownout_shop.events import Event
from brownout_shop.orders import app as orders_app
from brownout_shop.orders.reservation import answer_overdue
from brownout_shop.orders.store import METADATA, OUTBOX, OrderStore
from brownout_shop.products import app as products_app
from brownout_shop.products import store as products_store
from brownout_shop.products.domain import CATALOGUE
from brownout_shop.products.sales import cancel, sell
from brownout_shop.products.store import ProductStore
from brownout_shop.resilience.client import Client
from brownout_shop.settings import Settings
from wires import Fuse, Wire, served

HANDLED = {"c1.order.created": sell, "c1.order.cancelled": cancel}
BOTH = """
    SELECT coalesce(orders.id, order_id), status, state
    FROM orders FULL JOIN reservations ON orders.id = order_id
"""
WHOLE = {(None, "returned"), ("cancelled", "cancelled")}
WHOLE |= {(status, "sold") for status in ("pending", "paid", "shipped", "delivered")}
"""Where an order may stand, and the pieces of it, once all has been told."""
SOLD = """
    SELECT item ->> 'sku', sum((item ->> 'quantity')::bigint) FROM orders, jsonb_array_elements(items) AS item
    WHERE status <> 'cancelled' GROUP BY 1
"""


class Shop:
    """Orders and products, which share a database in tables of their own, as one test sees them."""

    def __init__(self, books: Database, to: dict[str, Wire], fuse: Fuse) -> None:
        self.books, self.to, self.fuse = books, to, fuse
        self.products = ProductStore(books)
        self.woken = 0
        self._clock_ns = 0

    @contextlib.asynccontextmanager
    async def orders(self, database_url: str) -> AsyncIterator[aiohttp.ClientSession]:
        """An orders service that knows nothing but what is in its database."""
        url = make_url(database_url).set(port=self.to["database"].port)
        database = Database(url.render_as_string(), METADATA)
        settings = Settings(cell="c1", instance="orders-0", listen="127.0.0.1:0", consul_url="", otlp_url="")
        store = OrderStore(database, topic=settings.topic, told=self._wake)
        async with (
            Client("orders", self._instances, clock=lambda: self._clock_ns) as client,
            served("orders", orders_app.routes(store, client)) as port,
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        ):
            yield session
        await database.close()

    async def settle(self) -> None:
        """Have products handle all events that wait, and ask about all that is still held."""
        await self.tell()
        await self.be_asked()

    async def be_asked(self) -> None:
        """Wait until the time of all that is held is up, and have orders asked about it."""
        await self.books.execute(text("UPDATE reservations SET expires_at = now() WHERE state = 'held'"))
        store = OrderStore(self.books, topic="c1.{}".format, told=self._wake)
        async with Client("orders", self._instances, clock=lambda: self._clock_ns) as client:
            for one in await self.products.overdue():
                await answer_overdue(store, client, Event("e", "c1.reservation.overdue", asdict(one)))

    async def tell(self) -> list[Event]:
        """Have products handle all events that wait; return them."""
        rows = await OUTBOX.take(self.books.execute, "test")
        events = [Event(row.event_id, row.topic, row.payload) for row in rows]
        for event in events:
            await HANDLED[event.topic](self.products, event)
        await OUTBOX.remove(self.books.execute, [row.position for row in rows])
        return events

    async def leave(self, sku: str, stock: int) -> None:
        """Take all but so many pieces of a thing out of the catalogue."""
        change = text("UPDATE products SET stock = :stock WHERE sku = :sku")
        await self.books.execute(change.bindparams(sku=sku, stock=stock))

    async def placed(self) -> dict[str, str]:
        """The status of each order that there is, by its id."""
        return dict(await self.books.execute(text("SELECT id, status FROM orders")))

    async def check(self) -> None:
        """Make sure that no piece is lost or made, and that no order is half there."""
        both = await self.books.execute(text(BOTH))
        assert {(status, state) for _, status, state in both} <= WHOLE, both
        sold = {sku: int(count) for sku, count in await self.books.execute(text(SOLD))}
        for known in CATALOGUE:
            product = await self.products.get(known.sku)
            assert product is not None
            assert product.stock + product.held + product.sold == known.stock, known.sku
            assert product.sold == sold.get(known.sku, 0), known.sku

    async def forget(self) -> None:
        """Take all orders out of the books, and put the pieces of all back."""
        await self.books.execute(text("TRUNCATE orders, outbox, reservations, reserved_items"))
        await self.books.execute(text("UPDATE products SET stock = stock + held + sold, held = 0, sold = 0"))

    def _wake(self) -> None:
        self.woken += 1

    def _instances(self, callee: str) -> list[Instance]:
        self._clock_ns += 11 * 10**9  # each call is in a window of its own: no breaker opens here
        return [Instance(callee, f"127.0.0.1:{self.to[callee].port}")]


async def _known(_: web.Request) -> web.Response:
    return web.json_response({})


@contextlib.asynccontextmanager
async def shop_over(database_url: str) -> AsyncIterator[Shop]:
    """A shop over a new database, in which every user is known."""
    fuse, users = Fuse(), web.Application()
    users.router.add_get("/users/{id}", _known)
    books = Database(database_url, METADATA)
    await books.prepare()
    catalogue = Database(database_url, products_store.METADATA)
    await catalogue.prepare()
    async with (
        TestServer(users) as users_server,
        served("products", products_app.routes(ProductStore(catalogue))) as products_port,
        Wire(users_server.port or 0, fuse).held() as to_users,
        Wire(products_port, fuse).held() as to_products,
        Wire(make_url(database_url).port or 0, fuse).held() as to_database,
    ):
        yield Shop(books, {"users": to_users, "products": to_products, "database": to_database}, fuse)
    await books.close()
    await catalogue.close()


async def ordered(
    orders: aiohttp.ClientSession, *items: dict[str, Any], key: str = "", user: str = "alice"
) -> tuple[int, dict[str, Any]]:
    """Ask for an order, a book where nothing else is named."""
    headers = {"X-User-Id": user} | ({"Idempotency-Key": key} if key else {})
    new = {"items": items or [{"sku": "book-1", "quantity": 2}]}
    async with orders.post("/orders", json=new, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


def word(problem: dict[str, Any]) -> str:
    """The last word of a problem's type."""
    return str(problem["type"]).rpartition(":")[2]
