"""The shop's configuration over a real Consul, which the fake imitates: written, watched, deleted (clause 5)."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import aiohttp
import pytest

from brownout.cells.consul import Consul, Keys
from brownout.servers import Addresses
from brownout_shop.discovery.configuration import Configuration, KeyNotFoundError

pytestmark = pytest.mark.servers

KEY = "users/rate_limit_rps"
_cells = count()


@pytest.fixture
def cell() -> str:
    return f"configured-{next(_cells)}"


@pytest.fixture
async def configuration(servers: Addresses, cell: str) -> AsyncIterator[Configuration]:
    async with Configuration(f"http://{servers.consul}", cell) as configuration:
        yield configuration


@pytest.fixture
async def keys(servers: Addresses, cell: str) -> AsyncIterator[Keys]:
    async with Consul(servers.consul) as consul:
        yield Keys(consul, cell)


async def until(values: list[str], expected: list[str], within_s: float = 2) -> None:
    async with asyncio.timeout(within_s):
        while values != expected:  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.01)


async def test_what_the_harness_writes_the_shop_reads(configuration: Configuration, keys: Keys) -> None:
    with pytest.raises(KeyNotFoundError):
        await configuration.get(KEY)
    await keys.put(KEY, "5")
    assert await configuration.get(KEY) == "5"


async def test_a_watch_hears_of_a_key_that_comes_changes_goes_and_comes_back(
    configuration: Configuration, keys: Keys, servers: Addresses, cell: str
) -> None:
    values: list[str] = []
    configuration.watch(KEY, values.append)
    await asyncio.sleep(0.2)  # it asks, and is held
    await keys.put(KEY, "5")
    await until(values, ["5"])
    await keys.put("users/other", "7")
    await configuration.set(KEY, "15")
    await until(values, ["5", "15"])
    async with (
        aiohttp.ClientSession() as session,
        session.delete(f"http://{servers.consul}/v1/kv/{cell}/{KEY}") as answer,
    ):
        assert answer.ok
    await asyncio.sleep(0.2)
    await keys.put(KEY, "15")
    await until(values, ["5", "15", "15"])


async def test_a_watch_of_a_key_that_is_not_there_is_held(configuration: Configuration, servers: Addresses) -> None:
    asked: list[str] = []
    configuration.watch("nobody/wrote/this", asked.append)
    await asyncio.sleep(1)
    async with aiohttp.ClientSession() as session:
        began_s = asyncio.get_running_loop().time()
        query = {"index": str(await _index(session, servers.consul)), "wait": "1s"}
        async with session.get(f"http://{servers.consul}/v1/kv/nobody/wrote/this", params=query) as answer:
            assert answer.status == 404
    assert asyncio.get_running_loop().time() - began_s > 0.9
    assert asked == []


async def _index(session: aiohttp.ClientSession, consul: str) -> int:
    async with session.get(f"http://{consul}/v1/kv/nobody/wrote/this") as answer:
        return int(answer.headers["X-Consul-Index"])
