"""The real servers, for the tests of what talks to them: found or made, and started once a test session."""

import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import pytest
import pytest_asyncio

from brownout.cells.kafka import ListenerPool
from brownout.servers import Addresses, KafkaAddresses, Program, kafka, provide, running
from brownout.servers.ports import free_port
from brownout.servers.stage import Stage, persistently
from brownout.undo import Supervisor

READY_S = 20.0

collect_ignore = ["second"]  # its contract goes with a topology of its own; test_second_system.py has it judged


@pytest.fixture(scope="session", autouse=True)
def journals() -> Iterator[Path]:
    """The folder of the journals of all runs of the tests, apart from the user's own."""
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROWNOUT_STATE", name)
        yield Path(name)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def programs() -> Mapping[str, Program]:
    return await provide(lambda *_: None, ["postgres", "consul", "jaeger", "prometheus"])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers(programs: Mapping[str, Program]) -> AsyncIterator[Addresses]:
    """One of each server; tests share them, so each takes a cell's name of its own."""
    with TemporaryDirectory() as name:
        folder = Path(name)  # not pytest's own folder: Postgres may run as another user, who has to get here
        folder.chmod(0o711)  # noqa: ASYNC240  it is quick
        async with (
            Supervisor(folder / "scratch") as supervisor,
            running(programs, supervisor, supervisor.scratch, lambda name: folder / f"{name}.log") as addresses,
        ):
            yield addresses


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka_server() -> AsyncIterator[KafkaAddresses]:
    """A broker, started by the first test that asks for one."""
    broker = (await provide(lambda *_: None, ["kafka"]))["kafka"]
    with TemporaryDirectory() as name:
        folder = Path(name)
        async with Supervisor(folder / "scratch") as supervisor:
            stage = Stage(supervisor, supervisor.scratch, lambda name: folder / f"{name}.log")
            yield await persistently(lambda: kafka.start(broker, stage))


@pytest.fixture(scope="session")
def kafka_listeners(kafka_server: KafkaAddresses) -> ListenerPool:
    """The broker's listeners; a test takes one for each proxy and need not give it back."""
    return ListenerPool(kafka_server.listeners)


@pytest.fixture
def toxiproxy_server(programs: Mapping[str, Program]) -> Callable[[], AbstractContextManager[str]]:
    """Start a further Toxiproxy, which counts no bytes; yields its address."""

    @contextmanager
    def started() -> Iterator[str]:
        port = free_port()
        process = subprocess.Popen(
            [programs["toxiproxy"].path, "-host", "127.0.0.1", "-port", str(port)], env={"LOG_LEVEL": "error"}
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/version")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(READY_S)

    return started


def _wait_for(url: str) -> None:
    deadline_s = time.monotonic() + READY_S
    while True:
        try:
            urlopen(url, timeout=5).close()  # noqa: S310  http by construction
        except OSError:
            assert time.monotonic() < deadline_s, f"{url} does not answer"
            time.sleep(0.02)
        else:
            return
