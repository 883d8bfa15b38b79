"""Relay and consumer without a broker: they start, go on trying, keep what they have and stop."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import MetaData

from brownout_shop.database import Database
from brownout_shop.events import Consumer, Event, Outbox, Relay

METADATA = MetaData()
OUTBOX = Outbox(METADATA)
NOBODY = "127.0.0.1:1"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, METADATA)
    await database.prepare()
    yield database
    await database.close()


def failures(worker: str) -> float:
    return REGISTRY.get_sample_value("shop_worker_failures_total", {"worker": worker}) or 0


async def failed(worker: str, times: float) -> None:
    """Wait until a worker's steps have failed so often."""
    async with asyncio.timeout(10):
        while failures(worker) < times:  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.01)


async def test_without_a_broker_the_relay_goes_on_trying_and_keeps_the_event(database: Database) -> None:
    relay, before = Relay(OUTBOX, database, NOBODY), failures("relay")
    await relay.start()
    await database.execute(OUTBOX.event("c1.order.created", "1", {}))
    relay.wake()
    await failed("relay", before + 2)
    await relay.stop(5)
    assert await OUTBOX.depth(database.execute) == 1
    assert REGISTRY.get_sample_value("shop_outbox_depth") == 1


async def test_a_relay_with_nothing_to_do_stops_at_once(database: Database) -> None:
    relay = Relay(OUTBOX, database, NOBODY)
    await relay.start()
    await asyncio.sleep(0)
    began = time.monotonic()
    await relay.stop(10)
    assert time.monotonic() - began < 0.9  # it would look again after 1 s


async def test_a_lost_database_does_not_end_the_relay() -> None:
    database, before = Database(f"postgresql://postgres@{NOBODY}/x", METADATA), failures("relay")
    relay = Relay(OUTBOX, database, NOBODY)
    await relay.start()
    await failed("relay", before + 2)
    await relay.stop(5)
    await database.close()


async def ignore(_: Event) -> None:
    """Handle an event."""


async def test_without_a_broker_the_consumer_goes_on_trying_until_it_is_stopped() -> None:
    consumer, before = Consumer(NOBODY, "c1.order.created", "c1.readers", ignore), failures("consumer")
    await consumer.start()
    await failed("consumer", before + 2)
    async with asyncio.timeout(2):
        await consumer.stop(5)
