"""The real servers, started."""

import asyncio
import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec
import pytest

from brownout.errors import ServerError
from brownout.servers import Addresses, Program, provide, running
from brownout.servers.ports import free_port
from brownout.servers.stage import PortTakenError, Stage, http, persistently
from brownout.undo.supervisor import Supervisor

pytestmark = pytest.mark.servers

SPAN = {
    "traceId": "5b8efff798038103d269b633813fc60c",
    "spanId": "eee19b7ec3c1b174",
    "name": "greet",
    "kind": 2,
}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    scratch = Path(tempfile.mkdtemp(prefix="brownout-"))  # pytest's own folders are shut to other users
    async with Supervisor(scratch) as supervisor:
        yield Stage(supervisor, scratch, lambda name: tmp_path / f"{name}.log")


@pytest.fixture
async def programs() -> dict[str, Program]:
    return await provide(lambda *_: None, ["postgres", "consul", "jaeger", "prometheus"])


@pytest.fixture
async def servers(programs: dict[str, Program], stage: Stage) -> AsyncIterator[Addresses]:
    async with running(programs, stage.supervisor, stage.scratch, stage.log) as addresses:
        yield addresses


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as made:
        yield made


async def _eventually(ask: Callable[[], Awaitable[Any]], within_s: float = 10) -> Any:
    """The first answer that is true."""
    async with asyncio.timeout(within_s):
        while not (answer := await ask()):  # noqa: ASYNC110  another process has no events
            await asyncio.sleep(0.05)
    return answer


async def _json(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.get(url) as response:
        return await response.json()


@asynccontextmanager
async def _exporter() -> AsyncIterator[int]:
    """A service that has one metric; yields its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 13\r\n\r\n"
            b"greetings 42\n"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _listeners() -> dict[str, str]:
    """Every listening or bound address of this machine, as hexadecimal ``address:port``, by its socket's inode."""
    found = {}
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        table = Path(f"/proc/net/{protocol}")
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            fields = line.split()
            if fields[3] in ("0A", "07"):  # listening, unconnected
                found[fields[9]] = fields[1]
    return found


def _descendants(pid: int) -> set[int]:
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def _own_listeners() -> set[str]:
    """The addresses that descendants of this process listen on."""
    listeners, found = _listeners(), set()
    for pid in _descendants(os.getpid()):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            inode = str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]")
            if inode in listeners:
                found.add(listeners[inode])
    return found


async def test_all_servers_start_at_once_and_listen_on_loopback_alone(
    programs: dict[str, Program], stage: Stage
) -> None:
    begun_s = time.monotonic()
    async with running(programs, stage.supervisor, stage.scratch, stage.log) as addresses:
        assert time.monotonic() - begun_s < 30
        assert len(set(msgspec.structs.astuple(addresses))) == 7
        assert addresses.kafka is None  # nobody named it
        found = await asyncio.to_thread(_own_listeners)
        assert len(found) > 15
        assert {each.partition(":")[0] for each in found} == {"0100007F"}  # 127.0.0.1, as the kernel writes it


async def test_prometheus_scrapes_what_consul_knows_of_a_cell_and_toxiproxy(
    servers: Addresses, session: aiohttp.ClientSession
) -> None:
    async with _exporter() as port:
        for name, meta in (("greeter", {"cell": "c1"}), ("stranger", {})):
            service = {"ID": f"{name}-1", "Name": name, "Address": "127.0.0.1", "Port": port, "Meta": meta}
            async with session.put(f"http://{servers.consul}/v1/agent/service/register", json=service) as response:
                assert response.status == 200

        async def found() -> Any:
            answer = await _json(session, f"http://{servers.prometheus}/api/v1/query?query=greetings")
            return answer["data"]["result"]

        (series,) = await _eventually(found)
    assert series["value"][1] == "42"
    assert series["metric"] == {
        "__name__": "greetings",
        "cell": "c1",
        "instance": "greeter-1",
        "job": "services",
        "service": "greeter",
    }

    async def scraped() -> bool:
        answer = await _json(session, f"http://{servers.prometheus}/api/v1/query?query=up{{job='toxiproxy'}}")
        return bool(answer["data"]["result"]) and answer["data"]["result"][0]["value"][1] == "1"

    assert await _eventually(scraped)


async def test_a_span_sent_to_otlp_is_found_in_jaeger(servers: Addresses, session: aiohttp.ClientSession) -> None:
    now_ns = time.time_ns()
    span = SPAN | {"startTimeUnixNano": str(now_ns), "endTimeUnixNano": str(now_ns + 1)}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "greeter"}}]}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}
    async with session.post(f"http://{servers.otlp}/v1/traces", json=body) as response:
        assert response.status == 200

    async def found() -> Any:
        return (await _json(session, f"http://{servers.jaeger}/api/traces/{SPAN['traceId']}")).get("data")

    (trace,) = await _eventually(found)
    assert [each["operationName"] for each in trace["spans"]] == ["greet"]


async def test_postgres_takes_the_connections_of_all_cells(servers: Addresses) -> None:
    connection = await asyncpg.connect(f"postgresql://postgres@{servers.postgres}/postgres", timeout=5)
    try:
        assert await connection.fetchval("SHOW max_connections") == "600"
        assert await connection.fetchval("SHOW fsync") == "off"
        await connection.execute('CREATE DATABASE "c1.orders"')
    finally:
        await connection.close()


async def test_consul_takes_more_connections_than_its_200_a_client(servers: Addresses) -> None:
    host, _, port = servers.consul.partition(":")
    held = [await asyncio.open_connection(host, int(port)) for _ in range(300)]
    try:
        reader, writer = held[-1]
        writer.write(b"GET /v1/status/leader HTTP/1.1\r\nHost: consul\r\n\r\n")
        async with asyncio.timeout(5):
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    finally:
        for _, writer in held:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in held), return_exceptions=True)


async def test_a_server_that_dies_while_starting_is_quoted(stage: Stage, tmp_path: Path) -> None:
    script = tmp_path / "dying"
    script.write_text("#!/bin/sh\necho first\necho 'the disk has vanished'\nexit 3\n")
    script.chmod(0o755)

    with pytest.raises(ServerError, match=r"ended with 3 while starting: the disk has vanished; see .*dying\.log"):
        await stage.launch(Program("dying", script, "1", "PATH"), [], ready=_no)


async def test_an_error_is_quoted_and_not_the_usage_text_below_it(programs: dict[str, Program], stage: Stage) -> None:
    with pytest.raises(ServerError, match="ended with 2 while starting: Error parsing command line"):
        await stage.launch(programs["prometheus"], ["--scrape.discovery-reload-interval=soon"], ready=_no)


async def test_one_server_that_cannot_start_is_the_error_of_them_all(
    programs: dict[str, Program], stage: Stage
) -> None:
    broken = programs | {"jaeger": Program("jaeger", Path("/bin/false"), "1.62.0", "PATH")}
    with pytest.raises(ServerError, match="jaeger: /bin/false ended with 1 while starting"):
        async with running(broken, stage.supervisor, stage.scratch, stage.log):
            pass


async def test_a_port_that_was_taken_in_between_is_replaced_by_another(
    programs: dict[str, Program], stage: Stage
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports: list[int] = [taken.getsockname()[1], free_port()]
        tried: list[int] = []

        async def start() -> int:
            port = ports[len(tried)]
            tried.append(port)
            await stage.launch(
                programs["toxiproxy"],
                ["-host", "127.0.0.1", "-port", str(port)],
                env={"LOG_LEVEL": "error"},
                ready=http(f"http://127.0.0.1:{port}/version"),
            )
            return port

        assert await persistently(start) == ports[1]
        assert tried == ports


async def test_a_server_is_not_taken_for_another_that_answers_at_its_address(stage: Stage, tmp_path: Path) -> None:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]

        async def ready() -> bool:
            return await _accepts(port)

        with pytest.raises(PortTakenError, match="another program answers at its address"):
            await stage.launch(Program("late", tmp_path / "never started", "1", "PATH"), [], ready=ready)


async def test_a_server_whose_port_was_taken_while_it_started_is_not_taken_for_the_other(
    stage: Stage, tmp_path: Path
) -> None:
    script = tmp_path / "late"
    script.write_text("#!/bin/sh\necho 'listen: address already in use'\nexec sleep 60\n")
    script.chmod(0o755)

    async def ready() -> bool:
        log = stage.log("late")  # the other program answers as soon as ours has seen it
        return log.exists() and b"in use" in log.read_bytes()

    with pytest.raises(PortTakenError, match="one of its ports is taken by another program"):
        await stage.launch(Program("late", script, "1", "PATH"), [], ready=ready)


async def _accepts(port: int) -> bool:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return True


async def _no() -> bool:
    return False
