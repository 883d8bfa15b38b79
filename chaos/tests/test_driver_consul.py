"""What the harness asks Consul, asked of a real agent."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import aiohttp
import pytest

from brownout.cells.consul import Consul, Keys
from brownout.errors import CellError
from brownout.servers import Addresses
from brownout.servers.ports import free_port

pytestmark = pytest.mark.servers

_cells = count()


@pytest.fixture
def cell() -> str:
    return f"k{next(_cells)}"


@pytest.fixture
async def consul(servers: Addresses) -> AsyncIterator[Consul]:
    async with Consul(servers.consul) as opened:
        yield opened


async def register(consul: Consul, cell: str, port: int = 1, status: str = "passing", service: str = "users") -> None:
    instance: dict[str, Any] = {
        "ID": f"{cell}-{service}-{port}",
        "Name": service,
        "Address": "127.0.0.1",
        "Port": port,
        "Meta": {"cell": cell},
        "Check": {"TTL": "60s", "Status": status},
    }
    async with aiohttp.ClientSession() as session:
        url = f"http://{consul.address}/v1/agent/service/register"
        async with session.put(url, json=instance) as response:
            assert response.ok


async def test_the_passing_instances_of_a_cell_are_found(consul: Consul, cell: str) -> None:
    await register(consul, cell, 1)
    await register(consul, cell, 2)
    await register(consul, cell, 3, status="critical")
    await register(consul, f"{cell}0", 4)
    for port in (1, 2):  # the agent tells the catalogue a few milliseconds later
        await consul.registered(cell, "users", "127.0.0.1", port)
    found = await consul.passing(cell, "users")
    assert sorted((each.host, each.port) for each in found) == [("127.0.0.1", 1), ("127.0.0.1", 2)]


async def test_a_registration_is_seen_at_once(consul: Consul, cell: str) -> None:
    waiting = asyncio.create_task(consul.registered(cell, "users", "127.0.0.1", 7, within_s=20))
    await asyncio.sleep(0.1)  # it asks, and is held
    assert not waiting.done()
    await register(consul, f"{cell}0", 7)
    await register(consul, cell, 7)
    async with asyncio.timeout(2):
        instance = await waiting
    assert (instance.id, instance.meta) == (f"{cell}-users-7", {"cell": cell})


async def test_an_instance_that_does_not_come_is_given_up(consul: Consul, cell: str) -> None:
    await register(consul, cell, 1)
    with pytest.raises(CellError, match=r"127\.0\.0\.1:2 is not passing .* 127\.0\.0\.1:1 is"):
        await consul.registered(cell, "users", "127.0.0.1", 2, within_s=0.2)


async def test_a_key_of_a_cell_is_written_below_its_name(consul: Consul, cell: str) -> None:
    await Keys(consul, cell).put("users/rate", "5")
    raw, _ = await consul.ask("GET", f"/v1/kv/{cell}/users/rate?raw")
    assert raw == b"5"


async def test_an_agent_that_is_gone_is_an_error(cell: str) -> None:
    async with Consul(f"127.0.0.1:{free_port()}") as gone:
        with pytest.raises(CellError, match="does not answer"):
            await gone.passing(cell, "users")
