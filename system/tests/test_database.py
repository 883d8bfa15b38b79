"""The database's bounds, against listeners that never answer; what it does with rows needs a real Postgres."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import MetaData, text

from brownout_shop.database import Database, DatabaseUnavailableError, Ping


class BlackHole:
    """Accepts connections and never answers."""

    def __init__(self) -> None:
        self.accepted = self.open = 0
        self.port = 0

    async def swallow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open += 1
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        self.open -= 1


@pytest.fixture
async def hole() -> AsyncIterator[BlackHole]:
    hole = BlackHole()
    server = await asyncio.start_server(hole.swallow, "127.0.0.1", 0)
    hole.port = server.sockets[0].getsockname()[1]
    async with server:
        yield hole
        async with asyncio.timeout(5):
            while hole.open:  # noqa: ASYNC110 - what it waits for tells nobody
                await asyncio.sleep(0.01)


async def test_many_pings_into_a_black_hole_are_one_and_end_within_3_s(hole: BlackHole) -> None:
    ping = Ping(f"postgresql://postgres@127.0.0.1:{hole.port}/x")
    began = time.monotonic()
    answers = await asyncio.gather(*(ping.answered() for _ in range(50)))
    assert not any(answers)
    assert time.monotonic() - began < 3
    assert hole.accepted == 1
    ping.close()


async def test_a_statement_into_a_black_hole_ends_as_unavailable(hole: BlackHole) -> None:
    database = Database(f"postgresql://postgres@127.0.0.1:{hole.port}/x", MetaData())
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailableError) as caught:
        await database.execute(text("SELECT 1"))
    assert time.monotonic() - began < 4
    assert (caught.value.status, caught.value.word) == (503, "database-unavailable")
    await database.close()


async def test_nobody_listening_is_unavailable_at_once() -> None:
    database = Database("postgresql://postgres@127.0.0.1:1/x", MetaData())
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailableError):
        await database.execute(text("SELECT 1"))
    assert not await database.answers()
    assert time.monotonic() - began < 1
    await database.close()


async def test_a_statement_is_not_logged(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    database = Database(database_url, MetaData())
    await database.execute(text("SELECT 'not to be told'"))
    await database.close()
    assert "not to be told" not in caplog.text
