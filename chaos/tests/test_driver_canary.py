"""A canary's exchange, with callees that answer, refuse, hang up or are silent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from brownout.cell import Canary
from brownout.cells.canary import exchange
from brownout.errors import CellError
from brownout.servers import Addresses, KafkaAddresses
from brownout.servers.ports import free_port

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
API_VERSIONS = bytes.fromhex("0000000a0012000000000001ffff")


@asynccontextmanager
async def callee(answer: bytes | None, asked: int = 8) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that reads, answers and hangs up; with ``None`` for an answer it never says anything."""
    heard: list[bytes] = []
    open_connections: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_connections.add(writer)
        heard.append(await reader.read(asked))
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        open_connections.remove(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", heard
        async with asyncio.timeout(5):
            while open_connections:  # noqa: ASYNC110  a set tells nobody that it is empty
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("status", ["200 OK", "503 Service Unavailable"])
async def test_any_whole_http_answer_is_an_answer(status: str) -> None:
    async with callee(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nUP".encode(), 4096) as (address, heard):
        canary = await exchange(address, "http", "/health", 2)
    assert canary.answered_s is not None
    assert heard[0].startswith(b"GET /health HTTP/1.1")


async def test_an_http_answer_that_is_cut_is_a_refusal() -> None:
    async with callee(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nUP", 4096) as (address, _):
        assert await exchange(address, "http", "/health", 2) == Canary(refused=True)


@pytest.mark.parametrize("protocol", ["http", "consul", "postgres", "kafka"])
async def test_an_end_without_a_byte_is_a_refusal(protocol: str) -> None:
    async with callee(b"", 4096) as (address, _):
        assert await exchange(address, protocol, "/health", 2) == Canary(refused=True)


@pytest.mark.parametrize("protocol", ["http", "consul", "postgres", "kafka"])
async def test_a_closed_port_is_a_refusal(protocol: str) -> None:
    assert await exchange(f"127.0.0.1:{free_port()}", protocol, "/health", 2) == Canary(refused=True)


@pytest.mark.parametrize("protocol", ["http", "consul", "postgres", "kafka"])
async def test_silence_is_neither_refusal_nor_answer(protocol: str) -> None:
    async with callee(None) as (address, _):
        assert await exchange(address, protocol, "/health", 0.1) == Canary()


async def test_postgres_is_asked_whether_it_speaks_tls() -> None:
    async with callee(b"N") as (address, heard):
        canary = await exchange(address, "postgres", "", 2)
    assert canary.answered_s is not None
    assert heard == [SSL_REQUEST]


async def test_kafka_is_asked_what_it_speaks_and_heard_to_the_end() -> None:
    async with callee(bytes.fromhex("00000006000000010000"), 14) as (address, heard):
        canary = await exchange(address, "kafka", "", 2)
    assert canary.answered_s is not None
    assert heard == [API_VERSIONS]


async def test_an_answer_of_kafka_that_is_cut_is_a_refusal() -> None:
    async with callee(bytes.fromhex("0000000600000001"), 14) as (address, _):
        assert await exchange(address, "kafka", "", 2) == Canary(refused=True)


async def test_an_unknown_protocol_is_an_error() -> None:
    with pytest.raises(CellError, match="no canary speaks 'smtp'"):
        await exchange("127.0.0.1:1", "smtp", "", 1)


@pytest.mark.servers
async def test_a_real_consul_agent_answers(servers: Addresses) -> None:
    assert (await exchange(servers.consul, "consul", "", 5)).answered_s is not None


@pytest.mark.servers
async def test_a_real_postgres_answers(servers: Addresses) -> None:
    assert (await exchange(servers.postgres, "postgres", "", 5)).answered_s is not None


@pytest.mark.servers
async def test_a_real_kafka_broker_answers(kafka_server: KafkaAddresses) -> None:
    assert (await exchange(kafka_server.direct, "kafka", "", 5)).answered_s is not None
