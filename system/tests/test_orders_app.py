"""Orders over a real listener and a real Postgres, with small users and products on loopback: clauses 2.3, 3.3, 6.4."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text

from brownout_shop.application import application
from brownout_shop.database import Database
from brownout_shop.discovery.registry import Instance
from brownout_shop.middleware import Drain
from brownout_shop.orders import app as orders_app
from brownout_shop.orders import store as orders_store
from brownout_shop.orders.store import METADATA, OUTBOX, OrderStore
from brownout_shop.resilience.client import Client
from brownout_shop.serve import _listening
from brownout_shop.service import Service
from brownout_shop.settings import Settings
from brownout_shop.telemetry.health import Health

ALICE = {"X-User-Id": "alice"}
BOOK = {"sku": "book-1", "quantity": 2}
ENDING = """CREATE FUNCTION ending() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"""
AT_COMMIT = """CREATE CONSTRAINT TRIGGER ending AFTER INSERT ON outbox
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ending()"""
"""What ends the connection that adds an event, when it commits."""


@dataclass
class Others:
    """Users and products in one: they answer as told, and keep what they were asked."""

    user: int = 200
    reservation: int = 201
    answer: dict[str, Any] = field(
        default_factory=lambda: {"items": [{"sku": "book-1", "quantity": 2, "price": 1990}], "currency": "EUR"}
    )
    asked: list[str] = field(default_factory=list)
    reserved: list[dict[str, Any]] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    going_on: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared, users is about to answer."""

    def __post_init__(self) -> None:
        self.going_on.set()

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        self.reached.set()
        await self.going_on.wait()
        if request.path.startswith("/users/"):
            return web.json_response({}, status=self.user)
        if request.method == "DELETE":
            return web.Response(status=204)
        self.reserved.append(await request.json())
        kind = {409: "out-of-stock", 422: "invalid"}.get(self.reservation, "")
        problem = {"type": f"urn:brownout-shop:problem:{kind}"}
        return web.json_response(self.answer if self.reservation == 201 else problem, status=self.reservation)


@dataclass
class Shop:
    """What a test of orders has in its hands."""

    orders: aiohttp.ClientSession
    others: Others
    database: Database
    told: asyncio.Event

    async def order(self, *items: dict[str, Any], key: str = "", **more: Any) -> tuple[int, dict[str, Any]]:
        new = {"items": items or [BOOK], **more}
        headers = ALICE | ({"Idempotency-Key": key} if key else {})
        async with self.orders.post("/orders", json=new, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def kept(self) -> tuple[int, int]:
        """How many orders there are, and how many events wait."""
        rows = await self.database.execute(text("SELECT count(*) FROM orders"))
        return rows[0][0], await OUTBOX.depth(self.database.execute)


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    others, told = Others(), asyncio.Event()
    upstream = web.Application()
    upstream.router.add_route("*", "/{path:.*}", others.handle)
    settings = Settings(cell="c1", instance="orders-0", listen="127.0.0.1:0", consul_url="", otlp_url="")
    database = Database(database_url, METADATA)
    await database.prepare()
    store = OrderStore(database, topic=settings.topic, told=told.set)
    health = Health(consul=lambda: True, has_instance=lambda _: True)
    async with TestServer(upstream) as server:
        instance = Instance("c1-x-0", f"127.0.0.1:{server.port}")
        async with Client("orders", lambda _: [instance]) as client:
            app = application("orders", Service(orders_app.routes(store, client)), health, Drain())
            with _listening(app, settings) as listening:
                port = listening.listener.getsockname()[1]
                async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                    yield Shop(session, others, database, told)
                await listening.finish(1)
    await database.close()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for module in (orders_app, orders_store):
        monkeypatch.setattr(module, "tracer", provider.get_tracer("order-service"))
    yield exporter
    provider.shutdown()


async def test_a_new_order_asks_users_once_and_products_once(shop: Shop) -> None:
    status, order = await shop.order()
    assert (status, order["status"], order["user_id"]) == (201, "pending", "alice")
    assert shop.others.asked == ["GET /users/alice", "POST /reservations"]
    assert shop.others.reserved == [{"order_id": order["id"], "items": [BOOK]}]


async def test_prices_and_currency_are_the_catalogues_whatever_the_buyer_names(shop: Shop) -> None:
    shop.others.answer["currency"] = "CHF"
    _, order = await shop.order({**BOOK, "price": 1}, currency="EUR")
    assert (order["amount"], order["currency"], order["items"][0]["price"]) == (3980, "CHF", 1990)


async def test_an_order_and_its_event_are_saved_together(shop: Shop) -> None:
    _, order = await shop.order()
    (event,) = await OUTBOX.take(shop.database.execute, "test")
    assert (event.topic, event.key) == ("c1.order.created", order["id"])
    assert event.payload.pop("timestamp").endswith("+00:00")
    assert event.payload == {"order_id": order["id"], "user_id": "alice", "amount": 3980, "currency": "EUR"}


async def test_the_relay_is_told_after_the_commit(shop: Shop) -> None:
    await shop.order()
    assert shop.told.is_set()
    assert await shop.kept() == (1, 1)


@pytest.mark.parametrize(
    ("reservation", "status", "word"),
    [(409, 409, "out-of-stock"), (422, 422, "invalid"), (500, 502, "upstream-failed"), (504, 504, "upstream-timeout")],
)
async def test_without_a_reservation_nothing_is_saved_and_products_are_not_asked_again(
    shop: Shop, reservation: int, status: int, word: str
) -> None:
    shop.others.reservation = reservation
    answered, problem = await shop.order()
    assert (answered, problem["type"].rpartition(":")[2]) == (status, word)
    assert shop.others.asked == ["GET /users/alice", "POST /reservations"]
    assert await shop.kept() == (0, 0)


@pytest.mark.parametrize("answer", [{}, {"items": [{"sku": "a"}], "currency": "EUR"}, {"items": [], "currency": "eur"}])
async def test_an_answer_that_is_no_reservation_is_a_failure_of_products(shop: Shop, answer: dict[str, Any]) -> None:
    shop.others.answer = answer
    assert (await shop.order())[0] == 502


async def test_for_an_unknown_user_nothing_is_reserved(shop: Shop) -> None:
    shop.others.user = 404
    status, problem = await shop.order()
    assert (status, problem["type"]) == (422, "urn:brownout-shop:problem:unknown-user")
    assert shop.others.asked == ["GET /users/alice"]


async def test_what_cannot_be_ordered_bothers_nobody(shop: Shop) -> None:
    assert (await shop.order({"sku": "book-1", "quantity": 0}))[0] == 422
    assert shop.others.asked == []


@contextlib.asynccontextmanager
async def lost(database_url: str) -> AsyncIterator[None]:
    """The database refuses everybody."""
    server, _, name = database_url.rpartition("/")
    admin = await asyncpg.connect(f"{server}/postgres", ssl=False, timeout=10)
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    await asyncio.sleep(0.1)  # until the pool has seen its connections end
    yield
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await admin.close()


async def test_when_it_is_surely_not_saved_the_pieces_are_given_back(shop: Shop, database_url: str) -> None:
    async with lost(database_url):
        status, problem = await shop.order()
    assert (status, problem["type"]) == (503, "urn:brownout-shop:problem:database-unavailable")
    order_id = shop.others.reserved[0]["order_id"]
    assert shop.others.asked[2:] == [f"DELETE /reservations/{order_id}"]
    assert await shop.kept() == (0, 0)


async def test_with_a_key_they_stay_held_as_another_request_may_be_saving_the_same_order(
    shop: Shop, database_url: str
) -> None:
    shop.others.going_on.clear()
    trying = asyncio.create_task(shop.order(key="k"))
    await shop.others.reached.wait()
    async with lost(database_url):
        shop.others.going_on.set()
        assert (await trying)[0] == 503
    assert shop.others.asked == ["GET /users/alice", "POST /reservations"]
    assert await shop.kept() == (0, 0)


async def test_when_nobody_knows_whether_it_is_saved_the_pieces_stay_held(shop: Shop) -> None:
    await shop.database.execute(text(ENDING))
    await shop.database.execute(text(AT_COMMIT))
    assert (await shop.order())[0] == 503
    assert shop.others.asked == ["GET /users/alice", "POST /reservations"]


async def test_saving_and_publishing_are_siblings_and_the_event_belongs_to_publishing(
    shop: Shop, spans: InMemorySpanExporter
) -> None:
    await shop.order()
    named = {span.name: span for span in spans.get_finished_spans()}
    children = ("ValidateUser", "ReserveStock", "SaveOrder", "PublishEvent")
    assert [name for name in named if _parent(named[name]) == _id(named["CreateOrder"])] == list(children)
    (event,) = await OUTBOX.take(shop.database.execute, "test")
    assert event.traceparent.split("-")[2] == f"{_id(named['PublishEvent']):016x}"


def _id(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def _parent(span: ReadableSpan) -> int:
    return int(span.parent.span_id) if span.parent else 0
