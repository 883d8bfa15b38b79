"""The shop's events over a real broker: published and handled, whatever becomes of it meanwhile (clause 3.3)."""

import asyncio
import json
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from itertools import count

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import MetaData

from brownout.cell import Toxic
from brownout.cells.kafka import ListenerPool, Topics
from brownout.cells.toxiproxy import Toxiproxy
from brownout.servers import Addresses, KafkaAddresses, Listener
from brownout_shop.database import Database
from brownout_shop.events import Consumer, Event, MalformedEventError, Outbox, Relay, consumer, relay
from brownout_shop.events.publisher import Publisher
from brownout_shop.products import store as products_store
from brownout_shop.products.domain import Item
from brownout_shop.products.expiry import Expiry
from brownout_shop.products.store import ProductStore

pytestmark = pytest.mark.servers

CUT_S = 12.0
"""Longer than a publishing may take (8 s), and than a consumer's session (6 s)."""
BLACK_HOLE = Toxic("timeout", {"timeout": 0})
METADATA = MetaData()
OUTBOX = Outbox(METADATA)
_cells = count()


class Handler:
    """Remembers the numbers of the events that it handled, and fails when told to."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.handled_at_s: dict[int, float] = {}
        self.failures: list[Exception] = []

    async def handle(self, event: Event) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.numbers.append(event.payload["number"])
        self.handled_at_s.setdefault(self.numbers[-1], time.monotonic())

    async def until(self, number: int, within_s: float = 20) -> None:
        async with asyncio.timeout(within_s):
            while number not in self.handled_at_s:  # noqa: ASYNC110 - what it waits for tells nobody
                await asyncio.sleep(0.01)


@dataclass
class Shop:
    """A relay and a consumer of one cell, whose edge to the broker is `edge`."""

    cell: str
    database: Database
    toxiproxy: Toxiproxy
    listener: Listener
    handler: Handler = field(default_factory=Handler)

    def __post_init__(self) -> None:
        self.topic = f"{self.cell}.order.created"
        self.edge = f"{self.cell}.orders.kafka"
        self.relay = Relay(OUTBOX, self.database, self.listener.advertised)
        self.consumer = self.reading(self.handler.handle)

    def reading(self, handle: Callable[[Event], object]) -> Consumer:
        return Consumer(self.listener.advertised, self.topic, f"{self.cell}.readers", handle)  # type: ignore[arg-type]

    async def start(self) -> None:
        await self.relay.start()
        await self.consumer.start()

    async def add(self, number: int) -> None:
        await self.database.execute(OUTBOX.event(self.topic, "key", {"number": number}))
        self.relay.wake()

    async def emptied(self, within_s: float) -> None:
        async with asyncio.timeout(within_s):
            while await OUTBOX.depth(self.database.execute):  # noqa: ASYNC110 - same
                await asyncio.sleep(0.02)


@pytest.fixture
async def shop(
    servers: Addresses,
    kafka_listeners: ListenerPool,
    toxiproxy_server: Callable[[], AbstractContextManager[str]],
) -> AsyncIterator[Shop]:
    cell = f"events-{next(_cells)}"
    database = Database(await _new_database(servers.postgres, cell), METADATA)
    await database.prepare()
    with toxiproxy_server() as address:
        async with Toxiproxy(address) as toxiproxy:
            made = Shop(cell, database, toxiproxy, kafka_listeners.take())
            await toxiproxy.create(made.edge, made.listener.advertised, made.listener.upstream)
            yield made
            await toxiproxy.heal(made.edge)
            await asyncio.gather(made.relay.stop(5), made.consumer.stop(5))
    await database.close()


async def _new_database(postgres: str, cell: str) -> str:
    name = cell.replace("-", "_")
    admin = await asyncpg.connect(f"postgresql://postgres@{postgres}/postgres")
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    return f"postgresql://postgres@{postgres}/{name}"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for module in (relay, consumer):
        monkeypatch.setattr(module, "tracer", provider.get_tracer("events"))
    yield exporter
    provider.shutdown()


async def test_what_is_overdue_is_asked_about_once_the_broker_is_back(servers: Addresses, shop: Shop) -> None:
    database = Database(await _new_database(servers.postgres, f"{shop.cell}-products"), products_store.METADATA)
    await database.prepare()
    products, asked = ProductStore(database, hold_s=0), asyncio.Queue[Event]()
    await products.reserve("0" * 32, (Item("vase-1", 1),))
    expiry = Expiry(products, Publisher(shop.listener.advertised), shop.topic, every_s=0.5)
    reading = shop.reading(asked.put)
    await shop.toxiproxy.switch(shop.edge, on=False)
    await expiry.start()
    await reading.start()
    await asyncio.sleep(2)
    assert (asked.qsize(), len(await products.overdue())) == (0, 1)
    await shop.toxiproxy.heal(shop.edge)
    async with asyncio.timeout(20):
        event = await asked.get()
    (one,) = await products.overdue()
    assert event.payload == asdict(one)
    await asyncio.gather(expiry.stop(5), reading.stop(5))
    await database.close()


async def test_an_event_is_handled_within_a_second_of_its_commit(shop: Shop) -> None:
    await shop.start()
    await shop.add(0)
    await shop.handler.until(0)
    await shop.add(1)
    added_at_s = time.monotonic()
    await shop.handler.until(1)
    assert shop.handler.handled_at_s[1] - added_at_s < 1
    await shop.emptied(2)


async def test_one_trace_leads_from_the_order_over_the_broker_to_the_handler(
    shop: Shop, spans: InMemorySpanExporter
) -> None:
    await shop.start()
    with TracerProvider().get_tracer("test").start_as_current_span("PublishEvent") as span:
        await shop.add(0)
    await shop.handler.until(0)
    await shop.consumer.stop(5)
    named: dict[str, ReadableSpan] = {span.name: span for span in spans.get_finished_spans()}
    publish, process = named["order.created publish"], named["order.created process"]
    assert publish.parent is not None
    assert publish.parent.span_id == span.get_span_context().span_id
    assert publish.context is not None
    assert process.parent is not None
    assert process.parent.span_id == publish.context.span_id
    assert (publish.kind.name, process.kind.name) == ("PRODUCER", "CONSUMER")


async def test_the_message_has_its_key_and_the_events_id(shop: Shop, kafka_server: KafkaAddresses) -> None:
    await shop.start()
    await shop.add(7)
    await shop.handler.until(7)
    (message,) = await Topics(kafka_server.direct).messages(shop.topic)
    assert (message.key, message.value) == ("key", {"number": 7})
    assert len(message.headers["event-id"]) == 32


@pytest.mark.parametrize("silent", [False, True], ids=["cut", "silent"])
async def test_what_is_added_while_the_broker_is_away_is_published_within_2_s_of_the_heal(
    shop: Shop, *, silent: bool
) -> None:
    await shop.start()
    await shop.add(0)
    await shop.handler.until(0)
    if silent:
        await shop.toxiproxy.add(shop.edge, BLACK_HOLE)
    else:
        await shop.toxiproxy.switch(shop.edge, on=False)
    for number in range(1, 1 + int(CUT_S)):
        await shop.add(number)
        await asyncio.sleep(1)
    assert await OUTBOX.depth(shop.database.execute) == CUT_S
    await shop.toxiproxy.heal(shop.edge)
    await shop.emptied(2)
    await shop.handler.until(int(CUT_S), within_s=8)
    assert sorted(set(shop.handler.numbers)) == list(range(1 + int(CUT_S)))


async def test_without_a_broker_at_the_start_all_is_made_up_for(shop: Shop) -> None:
    await shop.toxiproxy.switch(shop.edge, on=False)
    await shop.start()
    await shop.add(0)
    await asyncio.sleep(2)
    await shop.toxiproxy.heal(shop.edge)
    await shop.emptied(2)
    await shop.handler.until(0, within_s=8)


async def test_two_relays_publish_each_event_once(shop: Shop, kafka_server: KafkaAddresses) -> None:
    other = Relay(OUTBOX, shop.database, shop.listener.advertised)
    await shop.relay.start()
    await other.start()
    for number in range(60):
        await shop.add(number)
        other.wake()
    await shop.emptied(10)
    await other.stop(5)
    messages = await Topics(kafka_server.direct).messages(shop.topic)
    assert sorted(message.value["number"] for message in messages) == list(range(60))


async def test_a_handler_that_fails_gets_the_same_event_again_before_the_next(shop: Shop) -> None:
    shop.handler.failures = [OSError("users is away"), OSError("still")]
    await shop.start()
    await shop.add(0)
    await shop.add(1)
    await shop.handler.until(1)
    assert shop.handler.numbers == [0, 1]
    assert not shop.handler.failures


async def test_what_is_malformed_or_called_so_is_skipped(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=shop.listener.advertised)
    await producer.start()
    shop.handler.failures = [MalformedEventError("no number")]
    for value in (b"no JSON", b"[1]", b"{}", b'{"number": 3}'):
        await producer.send_and_wait(shop.topic, value)
    await producer.stop()
    await shop.start()
    await shop.handler.until(3)
    assert shop.handler.numbers == [3]
    assert caplog.text.count("skipped the malformed event") == 3


async def test_what_was_handled_is_not_handled_again_after_a_restart(shop: Shop) -> None:
    await shop.start()
    await shop.add(0)
    await shop.handler.until(0)
    await shop.consumer.stop(5)
    next_one = shop.reading(shop.handler.handle)
    await next_one.start()
    await shop.add(1)
    await shop.handler.until(1)
    await next_one.stop(5)
    assert shop.handler.numbers == [0, 1]


READER = """
import asyncio, sys
from brownout_shop.events import Consumer
async def handle(event): print(event.payload["number"], flush=True)
async def main():
    await Consumer(*sys.argv[1:], handle).start()
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_killed_consumers_share_is_taken_over_within_10_s(shop: Shop) -> None:
    await shop.relay.start()
    await shop.add(0)
    arguments = (shop.listener.advertised, shop.topic, f"{shop.cell}.readers")
    reader = await asyncio.create_subprocess_exec(sys.executable, "-c", READER, *arguments, stdout=PIPE)
    assert reader.stdout is not None
    async with asyncio.timeout(20):
        assert json.loads(await reader.stdout.readline()) == 0
    reader.send_signal(signal.SIGKILL)
    await reader.wait()
    await shop.add(1)
    await shop.consumer.start()
    await shop.handler.until(1, within_s=10)


async def test_both_stop_soon_while_the_broker_is_away(shop: Shop) -> None:
    await shop.start()
    await shop.add(0)
    await shop.handler.until(0)
    await shop.toxiproxy.switch(shop.edge, on=False)
    await shop.add(1)
    began = time.monotonic()
    await asyncio.gather(shop.relay.stop(5), shop.consumer.stop(5))
    assert time.monotonic() - began < 7
