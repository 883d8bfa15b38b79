"""Expiry beside a real Postgres, which is taken away and given back, and before a broker that is there or not."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from brownout_shop.database import Database
from brownout_shop.events.publisher import Message, Publisher
from brownout_shop.products.domain import Item, State
from brownout_shop.products.expiry import Expiry
from brownout_shop.products.store import METADATA, ProductStore

ORDER = "0" * 32
TOPIC = "c1.reservation.overdue"


class Broker(Publisher):
    """Takes every message."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1:1")
        self.messages: list[Message] = []

    async def connect(self) -> None:
        """It is there."""

    async def publish(self, messages: Sequence[Message]) -> list[BaseException | None]:
        self.messages += messages
        return [None] * len(messages)

    async def asked(self, times: int) -> None:
        async with asyncio.timeout(10):
            while len(self.messages) < times:  # noqa: ASYNC110 - what it waits for tells nobody
                await asyncio.sleep(0.01)


@pytest.fixture
async def products(database_url: str) -> AsyncIterator[ProductStore]:
    """Its reservations are overdue as soon as they are made."""
    database = Database(database_url, METADATA)
    await database.prepare()
    yield ProductStore(database, hold_s=0)
    await database.close()


async def state(products: ProductStore) -> State | None:
    reservation = await products.reservation(ORDER)
    return reservation.state if reservation else None


async def test_what_is_held_too_long_is_asked_about_until_it_is_answered(products: ProductStore) -> None:
    broker = Broker()
    expiry = Expiry(products, broker, TOPIC, every_s=0.02)
    await expiry.start()
    await products.reserve(ORDER, (Item("book-1", 1),))
    await broker.asked(2)
    assert await state(products) is State.HELD
    (one,) = await products.overdue()
    assert {(message.topic, message.key) for message in broker.messages} == {(TOPIC, ORDER.encode())}
    assert json.loads(broker.messages[0].value) == {"order_id": ORDER, "until_us": one.until_us}
    assert len({message.headers["event-id"] for message in broker.messages}) == len(broker.messages)
    await products.sell(ORDER)
    assert await products.overdue() == []
    await expiry.stop(1)


async def test_without_a_broker_nothing_is_given_back(products: ProductStore, caplog: pytest.LogCaptureFixture) -> None:
    expiry = Expiry(products, Publisher("127.0.0.1:1"), TOPIC, every_s=0.02)
    await products.reserve(ORDER, (Item("vase-1", 1),))
    await expiry.start()
    async with asyncio.timeout(20):
        while caplog.text.count("expiry goes on") < 2:  # noqa: ASYNC110 - a log tells nobody
            await asyncio.sleep(0.01)
    await expiry.stop(1)
    assert await state(products) is State.HELD


async def test_it_survives_a_lost_database(
    products: ProductStore, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await products.reserve(ORDER, (Item("book-1", 1),))
    server, _, name = database_url.rpartition("/")
    admin = await asyncpg.connect(f"{server}/postgres", ssl=False, timeout=10)
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    broker = Broker()
    expiry = Expiry(products, broker, TOPIC, every_s=0.02)
    await expiry.start()
    async with asyncio.timeout(10):
        while "expiry goes on" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
            await asyncio.sleep(0.01)
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await broker.asked(1)
    await expiry.stop(1)
    await admin.close()


async def test_it_stops_in_the_middle_of_its_pause(products: ProductStore) -> None:
    expiry = Expiry(products, Broker(), TOPIC, every_s=60)
    await expiry.start()
    began = time.monotonic()
    await expiry.stop(5)
    assert time.monotonic() - began < 2
