"""A service's life as a real process, against a small Consul on loopback: clauses 4.1 and 6.6."""

import asyncio
import contextlib
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

import aiohttp
import pytest

from brownout_shop.discovery.fake import FakeConsul
from wires import until


@pytest.fixture
async def consul() -> AsyncIterator[FakeConsul]:
    async with FakeConsul() as consul:
        yield consul


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def started(port: int, consul_url: str) -> AsyncIterator[Process]:
    env = {
        "CELL": "c1",
        "INSTANCE": "gateway-0",
        "LISTEN": f"127.0.0.1:{port}",
        "ADVERTISE": "{}",
        "CONSUL_URL": consul_url,
        "OTLP_URL": "http://127.0.0.1:1",
    }
    command = (sys.executable, "-m", "brownout_shop", "gateway")
    process = await asyncio.create_subprocess_exec(*command, env=env, stderr=PIPE)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_on_a_signal_it_deregisters_first_still_answers_and_exits_with_0(
    consul: FakeConsul, number: signal.Signals
) -> None:
    port = free_port()
    async with started(port, consul.url) as process, aiohttp.ClientSession() as session:
        await until(lambda: "c1-gateway-0" in consul.services)
        process.send_signal(number)
        await until(lambda: not consul.services, within_s=2)
        async with session.get(f"http://127.0.0.1:{port}/api/orders") as answer:
            assert answer.status == 401
            assert answer.headers["Connection"] == "close"
        assert await asyncio.wait_for(process.wait(), 10) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def test_a_black_holed_consul_holds_neither_its_start_nor_its_end() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as hole:
        async with (
            started(port, f"http://127.0.0.1:{hole.getsockname()[1]}") as process,
            aiohttp.ClientSession() as session,
        ):
            said = await _health(session, port)
            assert said["status"] == "DEGRADED"
            assert set(said.values()) == {"DEGRADED", "DOWN"}
            assert {"consul", "users", "products", "orders", "payments"} < said.keys()
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert await asyncio.wait_for(process.wait(), 10) == 0
            assert time.monotonic() - began < 6


async def _health(session: aiohttp.ClientSession, port: int) -> object:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with session.get(f"http://127.0.0.1:{port}/health") as answer:
                    return await answer.json()
            await asyncio.sleep(0.05)


async def test_a_taken_port_is_told_in_one_line(consul: FakeConsul) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with started(port, consul.url) as process:
            _, told = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert told.decode() == f"gateway: 127.0.0.1:{port}: Address already in use\n"


async def test_a_missing_variable_is_told_in_one_line() -> None:
    command = (sys.executable, "-m", "brownout_shop", "gateway")
    env = {"CELL": "c1", "INSTANCE": "gateway-0", "LISTEN": "nowhere"}
    process = await asyncio.create_subprocess_exec(*command, env=env, stderr=PIPE)
    _, told = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert told.decode().startswith("gateway: environment: LISTEN: ")
    assert told.count(b"\n") == 1


async def test_an_unknown_service_is_a_usage_error() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "brownout_shop", "shop", stderr=PIPE)
    _, told = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, told) == (
        2,
        b"usage: python -m brownout_shop {gateway,users,products,orders,payments,provider,notifications}\n",
    )
