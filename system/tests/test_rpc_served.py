"""The gRPC server in a service's life, as a real process with a real Postgres: clauses 3.2 and 6.6."""

import asyncio
import contextlib
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

import grpc
import pytest

from brownout_shop.discovery.fake import FakeConsul
from brownout_shop.rpc.health_pb2 import HealthCheckRequest, HealthCheckResponse
from brownout_shop.rpc.method import GET_USER
from brownout_shop.rpc.user_pb2 import GetUserRequest, User


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def users(database_url: str, grpc_port: int, consul: FakeConsul) -> AsyncIterator[Process]:
    """The users service, which serves one GetUser a second."""
    env = {
        "CELL": "c1",
        "INSTANCE": "users-0",
        "LISTEN": f"127.0.0.1:{free_port()}",
        "GRPC_LISTEN": f"127.0.0.1:{grpc_port}",
        "CONSUL_URL": consul.url,
        "OTLP_URL": "http://127.0.0.1:1",
        "DATABASE_URL": database_url,
        "RATE_LIMIT_RPS": "1",
        "TOKEN_SECRET": "a secret of this test only, 32 bytes or more",
    }
    command = (sys.executable, "-m", "brownout_shop", "users")
    process = await asyncio.create_subprocess_exec(*command, env=env, stderr=PIPE)
    try:
        async with asyncio.timeout(30):
            while not consul.services:  # noqa: ASYNC110 - what it waits for tells nobody
                await asyncio.sleep(0.02)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def code_of(channel: grpc.aio.Channel) -> grpc.StatusCode:
    method = channel.unary_unary(GET_USER.path, GetUserRequest.SerializeToString, User.FromString)
    try:
        await method(GetUserRequest(id="nobody"), timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_its_health_is_told_by_grpc_too_until_it_ends(database_url: str) -> None:
    port = free_port()
    async with (
        FakeConsul() as consul,
        users(database_url, port, consul) as process,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
        )
        told = []
        async for answer in watch(HealthCheckRequest(service="user.UserService"), timeout=20):
            told.append(answer.status)
            process.send_signal(signal.SIGTERM)
        assert told == [HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING]
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_on_a_signal_it_finishes_the_calls_in_flight_takes_nothing_new_and_exits_with_0(
    database_url: str,
) -> None:
    port = free_port()
    async with (
        FakeConsul() as consul,
        users(database_url, port, consul) as process,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        assert await code_of(channel) is grpc.StatusCode.NOT_FOUND
        in_flight = asyncio.gather(*(code_of(channel) for _ in range(3)))  # they wait 1, 2 and 3 s
        await asyncio.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert await in_flight == [grpc.StatusCode.NOT_FOUND] * 3
        assert not consul.services
        assert await code_of(channel) is grpc.StatusCode.UNAVAILABLE
        assert await asyncio.wait_for(process.wait(), 10) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
