"""Expiry beside a real Postgres, which is taken away and given back."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from brownout_shop.database import Database
from brownout_shop.products.domain import Item, State
from brownout_shop.products.expiry import Expiry
from brownout_shop.products.store import METADATA, ProductStore

ORDER = "0" * 32


@pytest.fixture
async def products(database_url: str) -> AsyncIterator[ProductStore]:
    """Its reservations have expired as soon as they are made."""
    database = Database(database_url, METADATA)
    await database.prepare()
    yield ProductStore(database, hold_s=0)
    await database.close()


async def returned(products: ProductStore) -> None:
    async with asyncio.timeout(10):
        while True:
            reservation = await products.reservation(ORDER)
            if reservation is not None and reservation.state is State.RETURNED:
                return
            await asyncio.sleep(0.01)


async def test_what_is_held_too_long_is_given_back_while_it_runs(products: ProductStore) -> None:
    expiry = Expiry(products, every_s=0.02)
    await expiry.start()
    await products.reserve(ORDER, (Item("book-1", 1),))
    await returned(products)
    await expiry.stop(1)


async def test_it_survives_a_lost_database(
    products: ProductStore, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await products.reserve(ORDER, (Item("book-1", 1),))
    server, _, name = database_url.rpartition("/")
    admin = await asyncpg.connect(f"{server}/postgres", ssl=False, timeout=10)
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    expiry = Expiry(products, every_s=0.02)
    await expiry.start()
    async with asyncio.timeout(10):
        while "expiry goes on" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
            await asyncio.sleep(0.01)
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await returned(products)
    await expiry.stop(1)
    await admin.close()


async def test_it_stops_in_the_middle_of_its_pause(products: ProductStore) -> None:
    expiry = Expiry(products, every_s=60)
    await expiry.start()
    began = time.monotonic()
    await expiry.stop(5)
    assert time.monotonic() - began < 2
