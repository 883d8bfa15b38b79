"""A server of a cell's own: stopped as by a crash, and started again at its address, with what it kept."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import asyncpg
import pytest

from brownout.cells.consul import Consul, Registration
from brownout.cells.fake import FakeCell, FakeNetwork, FakeProcesses, FakeTelemetry
from brownout.cells.own import AGE, OwnServers, own_servers, scraped
from brownout.cells.wiring import Instance
from brownout.errors import CellError, FaultError, ServerError
from brownout.faults import Restarted
from brownout.mending import began_at
from brownout.servers import Addresses, OwnServer, Program
from brownout.servers.own import OWN
from brownout.servers.ports import free_port
from brownout.servers.stage import Stage
from brownout.topology import PRIVATE_SERVERS
from brownout.undo import Supervisor

pytestmark = pytest.mark.servers

ROWS = 300
BOUND_S = 10.0
RUNNER = """
import asyncio, sys
from pathlib import Path
from brownout.cells.own import own_servers
from brownout.servers import provide
from brownout.undo import Supervisor

async def main(scratch, logs):
    programs = await provide(lambda *_: None, ["consul", "postgres"])
    async with Supervisor(scratch) as supervisor:
        scratch.chmod(0o711)
        async with own_servers("c", ["consul", "postgres"], programs, supervisor, lambda name: logs / name) as servers:
            pids = [supervisor.identity(name).pid for name in servers.addresses()]
            await servers.stop("consul")
            print(*pids, supervisor.journal.path, flush=True)
            await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
"""


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    async with Supervisor(Path(tempfile.mkdtemp(prefix="brownout-"))) as supervisor:
        supervisor.scratch.chmod(0o711)  # as the Postgres that all share leaves it
        yield supervisor


@pytest.fixture
async def own(supervisor: Supervisor, programs: Mapping[str, Program], tmp_path: Path) -> AsyncIterator[OwnServers]:
    async with own_servers("c", PRIVATE_SERVERS, programs, supervisor, lambda name: tmp_path / name) as servers:
        yield servers


async def rows(address: str) -> int:
    connection = await asyncpg.connect(f"postgresql://postgres@{address}/postgres", timeout=5)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM kept"))
    finally:
        await connection.close()


def test_those_that_a_cell_may_have_are_those_that_a_scenario_may_name() -> None:
    assert tuple(OWN) == PRIVATE_SERVERS


async def test_a_database_that_crashed_has_all_that_it_acknowledged(own: OwnServers) -> None:
    address = own.addresses()["postgres"]
    connection = await asyncpg.connect(f"postgresql://postgres@{address}/postgres", timeout=5)
    await connection.execute("CREATE TABLE kept (number int)")
    for number in range(ROWS):
        await connection.execute("INSERT INTO kept VALUES ($1)", number)
    await own.stop("postgres")
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.execute("SELECT 1")
    assert (await own.canary("postgres", within_s=1)).refused
    assert await own.start("postgres") == {"address": address}
    assert await rows(address) == ROWS


async def test_an_agent_that_is_started_again_knows_nothing_and_counts_from_the_start(own: OwnServers) -> None:
    async with Consul(own.addresses()["consul"]) as consul:
        await consul.register(Registration("users-0", "users", "127.0.0.1", free_port(), {"cell": "c"}))
        before = await index(consul)
        await own.stop("consul")
        with pytest.raises(CellError, match="does not answer"):
            await consul.passing("c", "users")
        await own.start("consul")
        assert await consul.passing("c", "users") == []
        assert await index(consul) < AGE < before


async def index(consul: Consul) -> int:
    _, headers = await consul.ask("GET", "/v1/health/service/users")
    return int(headers["X-Consul-Index"])


@pytest.mark.parametrize("server", PRIVATE_SERVERS)
async def test_a_restart_bites_while_the_server_is_gone_and_only_then(own: OwnServers, server: str) -> None:
    cell = FakeCell(FakeNetwork(), FakeProcesses(), FakeTelemetry())
    cell.servers = own  # type: ignore[assignment]  # the real ones
    for _ in range(2):
        assert not (await Restarted(server).bites(cell)).bit
        async with Restarted(server).injected(cell) as said:
            bite = await Restarted(server).bites(cell)
        assert (bite.bit, bite.seen) == (True, "refused")
        assert said["exit_code"] in {0, -signal.SIGKILL}


async def test_nobody_takes_the_address_of_a_server_that_is_gone(own: OwnServers) -> None:
    address = own.addresses()["consul"]
    await own.stop("consul")
    with pytest.raises(OSError, match="address already in use"):
        await asyncio.start_server(lambda *_: None, *address.split(":"), reuse_address=False)
    await own.start("consul")
    assert (await own.canary("consul", within_s=2)).answered_s is not None


async def test_what_is_stopped_or_runs_already_may_be_stopped_or_started_once_more(own: OwnServers) -> None:
    await own.start("consul")
    ends = [await own.stop("consul"), await own.stop("consul")]
    assert ends == [{"exit_code": -signal.SIGKILL}] * 2
    await own.start("consul")
    await own.start("consul")


async def test_servers_end_with_their_cell(
    supervisor: Supervisor, programs: Mapping[str, Program], tmp_path: Path
) -> None:
    logs: set[str] = set()

    def log(name: str) -> Path:
        logs.add(name)
        return tmp_path / name

    async with own_servers("c", PRIVATE_SERVERS, programs, supervisor, log) as own:
        running = [supervisor.identity(name) for name in PRIVATE_SERVERS]
        addresses = own.addresses()
        assert all(each and each.alive for each in running)
        assert logs >= {"c.consul", "c.postgres"}
    assert not any(each and each.alive for each in running)
    for address in addresses.values():
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection(*address.split(":"))


async def test_what_cells_share_is_not_stopped(
    supervisor: Supervisor, programs: Mapping[str, Program], tmp_path: Path
) -> None:
    async with own_servers("c", ["consul"], programs, supervisor, lambda name: tmp_path / name) as own:
        with pytest.raises(FaultError, match=r"c/postgres: is shared by all cells; this cell's own are consul"):
            await own.stop("postgres")


async def test_one_that_cannot_be_started_is_told(supervisor: Supervisor, tmp_path: Path) -> None:
    broken = {"consul": Program("consul", Path("/bin/false"), "1", "PATH")}
    with pytest.raises(ServerError, match=r"consul: /bin/false ended with 1 while starting; see .*c\.consul"):
        async with own_servers("c", ["consul"], broken, supervisor, lambda name: tmp_path / name):
            pass
    never = OwnServer(broken["consul"], Stage(supervisor, tmp_path, lambda name: tmp_path / name))
    with pytest.raises(ServerError, match="was never started"):
        await never.stop()


async def test_instances_of_a_cell_with_an_agent_of_its_own_are_where_prometheus_looks(servers: Addresses) -> None:
    assert servers.consul
    listen = f"127.0.0.1:{free_port()}"
    instances = [Instance("users", number, listen, (), {}, "/health") for number in range(2)]
    async with Consul(servers.consul) as consul:
        async with scraped(servers.consul, "shown", instances):
            found = await consul.passing("shown", "users")
            assert [(each.id, each.meta) for each in found] == [
                ("shown-users-0", {"cell": "shown"}),
                ("shown-users-1", {"cell": "shown"}),
            ]
        assert await consul.passing("shown", "users") == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_of_them_outlives_a_runner_that_dies_while_one_is_stopped(
    tmp_path: Path, number: signal.Signals
) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="brownout-"))
    argv = [sys.executable, "-c", RUNNER, str(scratch), str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=os.environ, text=True) as runner:
        assert runner.stdout is not None
        consul, postgres, journal = runner.stdout.readline().split()
        assert (began_at(int(consul)), began_at(int(postgres)) is None) == (None, False)
        runner.send_signal(number)
    deadline_s = time.monotonic() + BOUND_S
    while began_at(int(postgres)) is not None or Path(journal).exists() or scratch.exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
