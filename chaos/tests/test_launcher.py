"""Services started through the system's launcher: heard of like any process, and never left behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import msgspec
import pytest

from brownout.cells.starter import starter
from brownout.errors import FileError, ProcessError
from brownout.servers.ports import free_port
from brownout.topology import Topology, parse_topology
from brownout.undo import Launcher, Process, Starter, Supervisor

BOUND_S = 30.0
GONE_WITHIN_S = 2.0
PATH = {"PATH": os.environ["PATH"]}
LAUNCHER = [sys.executable, "-m", "brownout_shop.launcher"]
TOPOLOGY = """
entry = "gateway"
{launcher}
[services.gateway]
command = ["{{python}}", "-m", "brownout_shop", "gateway"]
"""

RUNNER = """
import asyncio, json, os, sys
from pathlib import Path
from brownout.undo import Launcher, Supervisor

async def main(folder, launcher, envs):
    env = dict(os.environ)
    async with (
        Supervisor(folder / "scratch") as supervisor,
        Launcher(launcher, supervisor, env=env, log=folder / "launcher.log") as launched,
    ):
        for further in envs:
            argv = [sys.executable, "-m", "brownout_shop", "gateway"]
            await launched.spawn("gateway", argv, env=env | further, log=folder / "gateway.log")
        print("up", flush=True)
        await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1]), *map(json.loads, sys.argv[2:])))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:  # pytest's own may be too long for a socket's path
        yield Path(name)


@asynccontextmanager
async def launched(folder: Path) -> AsyncIterator[Launcher]:
    async with (
        Supervisor(folder / "scratch") as supervisor,
        Launcher(LAUNCHER, supervisor, env=PATH, log=folder / "launcher.log") as launcher,
    ):
        yield launcher


def gateway() -> dict[str, str]:
    """An environment with which the shop's gateway runs, though without a registry."""
    nowhere = "http://127.0.0.1:1"
    addresses = {"LISTEN": f"127.0.0.1:{free_port()}", "ADVERTISE": "{}", "CONSUL_URL": nowhere, "OTLP_URL": nowhere}
    return {"CELL": "c1", "INSTANCE": "gateway-0", **addresses}


async def served(starter: Starter, folder: Path) -> Process:
    """A gateway, as soon as it answers."""
    env = gateway()
    argv = [sys.executable, "-m", "brownout_shop", "gateway"]
    process = await starter.spawn("gateway", argv, env=PATH | env, log=folder / "gateway.log")
    async with aiohttp.ClientSession() as session, asyncio.timeout(BOUND_S):
        while process.returncode is None:
            with suppress(aiohttp.ClientError):
                async with session.get(f"http://{env['LISTEN']}/health"):
                    return process
            await asyncio.sleep(0.02)
    pytest.fail(f"it ended: {process.log.read_text()}")


def state(pid: int) -> str:
    """Tell a process's state as proc(5) does; - for none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "-"


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110  nothing announces what /proc shows
            await asyncio.sleep(0.01)


async def test_a_forked_service_ends_with_0_after_sigterm(folder: Path) -> None:
    async with launched(folder) as launcher:
        process = await served(launcher, folder)
        process.signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), BOUND_S) == 0


async def test_thirty_orders_at_once_each_get_their_own_answer(folder: Path) -> None:
    async with launched(folder) as launcher:
        orders = (
            launcher.spawn("it", ["sh", "-c", f"exit {code}"], env=PATH, log=folder / "log") for code in range(30)
        )
        processes = await asyncio.gather(*orders)
        assert await asyncio.gather(*(process.wait() for process in processes)) == list(range(30))


NICENESS = 'nice; test ! -e /proc/self/autogroup || cut -d" " -f3 /proc/self/autogroup'


async def test_what_is_to_give_way_does_and_so_does_its_session(folder: Path) -> None:
    async with launched(folder) as launcher:
        for nice in (0, 5):
            told = folder / f"log-{nice}"
            process = await launcher.spawn("it", ["sh", "-c", NICENESS], env=PATH, log=told, nice=nice)
            assert await process.wait() == 0
            assert set(told.read_text().split()) == {str(nice)}


async def test_what_it_cannot_start_is_told_in_one_line(folder: Path) -> None:
    async with launched(folder) as launcher:
        with pytest.raises(ProcessError) as raised:
            await launcher.spawn("users", ["no-such-program"], env=PATH, log=folder / "log")
    assert str(raised.value) == "users: cannot be started: no-such-program: No such file or directory"


async def test_leaving_ends_the_services(folder: Path) -> None:
    async with launched(folder) as launcher:
        process = await served(launcher, folder)
    assert state(process.pid) == "-"
    assert not launcher.lost.is_set()


async def test_a_killed_launcher_takes_its_services_with_it_and_is_missed(folder: Path) -> None:
    async with launched(folder) as launcher:
        process = await served(launcher, folder)
        os.kill(parent(process.pid), signal.SIGKILL)
        await asyncio.wait_for(launcher.lost.wait(), BOUND_S)
        await until(lambda: state(process.pid) in {"Z", "-"})
        with pytest.raises(ProcessError, match="gateway: its end was not seen, the launcher has gone"):
            await process.wait()
        with pytest.raises(ProcessError, match="the launcher has gone"):
            await served(launcher, folder)


async def test_a_start_that_the_launcher_does_not_live_to_answer_is_refused(folder: Path) -> None:
    async with launched(folder) as launcher:
        process = await served(launcher, folder)
        os.kill(parent(process.pid), signal.SIGSTOP)
        starting = asyncio.create_task(served(launcher, folder))
        await asyncio.sleep(0)
        os.kill(parent(process.pid), signal.SIGKILL)
        with pytest.raises(ProcessError, match="gateway: the launcher has gone"):
            await asyncio.wait_for(starting, BOUND_S)


async def test_services_die_with_a_killed_watchdog(folder: Path) -> None:
    supervisor = await Supervisor(folder / "scratch").__aenter__()
    async with Launcher(LAUNCHER, supervisor, env=PATH, log=folder / "launcher.log") as launcher:
        process = await served(launcher, folder)
        os.kill(supervisor._watchdog.pid, signal.SIGKILL)
        await asyncio.wait_for(launcher.lost.wait(), BOUND_S)
        await until(lambda: state(process.pid) in {"Z", "-"})
        assert supervisor.lost.is_set()
    with pytest.raises(ProcessError, match="watchdog: ended with -9"):
        await supervisor.__aexit__(None, None, None)


async def test_a_launcher_that_ends_while_starting_is_told_with_its_log(folder: Path) -> None:
    async with Supervisor(folder / "scratch") as supervisor:
        with pytest.raises(ProcessError) as raised:
            await Launcher(["sh", "-c", "exit 3"], supervisor, env=PATH, log=folder / "log").__aenter__()
    assert str(raised.value) == f"launcher: ended with exit code 3 while starting; see {folder / 'log'}"


async def test_a_launcher_that_speaks_nonsense_is_as_good_as_gone(folder: Path) -> None:
    nonsense = """
import socket, sys
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen()
    connection, _ = listener.accept()
connection.send(b"hello\\n")
connection.recv(1)
"""
    async with Supervisor(folder / "scratch") as supervisor:
        launcher = Launcher([sys.executable, "-c", nonsense], supervisor, env=PATH, log=folder / "log")
        with pytest.raises(ProcessError, match="launcher: said what is no answer"):
            async with launcher:
                await asyncio.wait_for(launcher.lost.wait(), BOUND_S)


def topology(launcher: str = "") -> Topology:
    return parse_topology(TOPOLOGY.format(launcher=launcher), "topology.toml")


async def test_without_a_launcher_the_supervisor_starts_the_services(folder: Path) -> None:
    async with (
        Supervisor(folder / "scratch") as supervisor,
        starter(topology(), supervisor, lambda name: folder / name) as chosen,
    ):
        assert chosen is supervisor


async def test_the_topologys_launcher_forks_the_services(folder: Path) -> None:
    table = topology('launcher = ["{python}", "-m", "brownout_shop.launcher"]')
    async with (
        Supervisor(folder / "scratch") as supervisor,
        starter(table, supervisor, lambda name: folder / name) as chosen,
    ):
        assert isinstance(chosen, Launcher)
        process = await chosen.spawn("it", ["sleep", "60"], env=PATH, log=folder / "log")
        assert parent(parent(process.pid)) == supervisor._watchdog.pid


def test_a_launchers_unknown_placeholder_is_refused() -> None:
    with pytest.raises(FileError, match=r"launcher: unknown placeholder \{users\}; allowed are python"):
        topology('launcher = ["{users}"]')


def marked(mark: str) -> list[int]:
    """The processes that were given a mark in their environment, or were forked from one that was."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"RUN={mark}".encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found


def eventually(condition: Callable[[], bool], within_s: float = BOUND_S) -> None:
    begun_s = time.monotonic()
    while not condition():
        assert time.monotonic() - begun_s < within_s, "it never came true"
        time.sleep(0.01)


def accepts(env: dict[str, str]) -> bool:
    host, _, port = env["LISTEN"].rpartition(":")
    with socket.socket() as connection:
        return connection.connect_ex((host, int(port))) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_thirty_forked_services_are_gone_soon_after_their_runner_was_ended(
    folder: Path, journals: Path, number: int
) -> None:
    mark = uuid.uuid4().hex
    envs = [gateway() for _ in range(30)]
    words = [str(folder), *(msgspec.json.encode(word).decode() for word in (LAUNCHER, envs))]
    argv = [sys.executable, "-c", RUNNER, *words]
    env = PATH | {"RUN": mark, "BROWNOUT_STATE": str(journals)}
    runner = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        eventually(lambda: all(map(accepts, envs)))
        assert len(marked(mark)) == 3 + 30
        os.killpg(runner.pid, number)
        runner.wait(BOUND_S)
        eventually(lambda: not marked(mark), GONE_WITHIN_S)
        assert not any(map(accepts, envs))
        assert not (folder / "scratch").exists()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(runner.pid, signal.SIGKILL)
        runner.wait(BOUND_S)
