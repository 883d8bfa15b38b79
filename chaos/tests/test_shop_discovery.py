"""The shop's registry and configuration over a real agent that is stopped and started again (clauses 4.1 and 5)."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from brownout.cells.consul import Consul, Keys
from brownout.cells.consul import Registration as Known
from brownout.cells.own import OwnServers, own_servers
from brownout.servers import Program
from brownout.undo import Supervisor
from brownout_shop.discovery.configuration import Configuration
from brownout_shop.discovery.registry import Registration, Registry

pytestmark = pytest.mark.servers

CELL = "restarted"
KEY = "users/rate_limit_rps"
AWAY_S = 2.0
RETURNS_S = 6.0
"""How late a service may be, of the 10 s in which it has to be registered again."""
OTHERS = 150
"""Registrations that come before that of users: the new agent's index is beyond that at which users once was."""


@pytest.fixture
async def own(programs: Mapping[str, Program], tmp_path: Path) -> AsyncIterator[OwnServers]:
    async with (
        Supervisor(Path(tempfile.mkdtemp(prefix="brownout-"))) as supervisor,
        own_servers(CELL, ["consul"], programs, supervisor, lambda name: tmp_path / name) as servers,
    ):
        yield servers


@pytest.fixture
def address(own: OwnServers) -> str:
    return own.addresses()["consul"]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of a service that says that it is well."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def registry(address: str, service: str, port: int) -> AsyncIterator[Registry]:
    registration = Registration(service=service, instance=f"{service}-0", cell=CELL, host="127.0.0.1", port=port)
    async with Registry(f"http://{address}", registration) as registry:
        yield registry


async def until(condition: Callable[[], bool], within_s: float) -> float:
    """How long it took."""
    clock = asyncio.get_running_loop().time
    began_s = clock()
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.01)
    return clock() - began_s


async def test_whom_a_new_agent_does_not_know_yet_is_not_missed(own: OwnServers, address: str, port: int) -> None:
    users = Known("restarted-users-0", "users", "127.0.0.1", port, {"cell": CELL})
    async with registry(address, "orders", port) as orders, Consul(address) as consul:
        await consul.register(users)
        orders.watch("users")
        await until(lambda: bool(orders.instances("users")), within_s=5)
        await own.stop("consul")
        await asyncio.sleep(AWAY_S)
        await own.start("consul")
        for number in range(OTHERS):
            await consul.register(Known(f"other-{number}", "other", "127.0.0.1", port, {"cell": CELL}))
        with pytest.raises(TimeoutError):
            await until(lambda: not orders.instances("users"), within_s=RETURNS_S)
        await consul.register(users)
        with pytest.raises(TimeoutError):
            await until(lambda: not orders.instances("users"), within_s=RETURNS_S)


async def test_who_comes_and_goes_after_a_restart_is_noticed_at_once(own: OwnServers, address: str, port: int) -> None:
    async with registry(address, "users", port) as users, registry(address, "orders", port) as orders:
        orders.watch("users")
        users.register()
        await until(lambda: bool(orders.instances("users")), within_s=5)
        await own.stop("consul")
        await own.start("consul")
        async with Consul(address) as consul:
            await consul.registered(CELL, "users", "127.0.0.1", port, within_s=10)
            await consul.register(Known("restarted-users-1", "users", "127.0.0.1", port, {"cell": CELL}))
            assert await until(lambda: len(orders.instances("users")) == 2, within_s=20) < 3
            await consul.deregister("restarted-users-1")
            assert await until(lambda: len(orders.instances("users")) == 1, within_s=20) < 1


async def test_a_watch_hears_what_is_written_to_a_new_agent_that_counts_from_the_start(
    own: OwnServers, address: str
) -> None:
    values: list[str] = []
    async with Configuration(f"http://{address}", CELL) as configuration, Consul(address) as consul:
        keys = Keys(consul, CELL)
        configuration.watch(KEY, values.append)
        await keys.put(KEY, "5")
        await until(lambda: values == ["5"], within_s=2)
        await own.stop("consul")
        await own.start("consul")
        await keys.put(KEY, "15")
        assert await until(lambda: values == ["5", "15"], within_s=20) < 7  # it waits 5 s after the error
        await keys.put(KEY, "5")
        await until(lambda: values == ["5", "15", "5"], within_s=1)
