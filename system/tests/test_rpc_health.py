"""gRPC's standard health service, over the wire: clauses 3.2 and 6.5."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import pytest

from brownout_shop.middleware import Drain
from brownout_shop.rpc import health_pb2
from brownout_shop.rpc.health import WATCH_EVERY_S, health_handler
from brownout_shop.rpc.health_pb2 import HealthCheckRequest, HealthCheckResponse
from brownout_shop.rpc.server import Server
from brownout_shop.telemetry.health import Health

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
NAME = "user.UserService"


@dataclass
class Served:
    """A health service whose service is as well as a test says."""

    database: bool = True
    consul: bool = True
    drain: Drain = field(default_factory=Drain)

    async def ping(self) -> bool:
        return self.database

    def handler(self) -> "grpc.GenericRpcHandler[HealthCheckRequest, HealthCheckResponse]":
        health = Health(consul=lambda: self.consul, has_instance=lambda _: True, database=self.ping)
        return health_handler([NAME], health, self.drain)


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.fixture
async def server(served: Served) -> AsyncIterator[Server]:
    server = Server("127.0.0.1:0", {}, served.handler())
    await server.start()
    yield server
    await server.stop(0)


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


async def checked(channel: grpc.aio.Channel, service: str = "") -> HealthCheckResponse.ServingStatus:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
    )
    answer: HealthCheckResponse = await check(HealthCheckRequest(service=service), timeout=10)
    return answer.status


async def watched(channel: grpc.aio.Channel, service: str = "") -> AsyncIterator[HealthCheckResponse.ServingStatus]:
    watch = channel.unary_stream(
        "/grpc.health.v1.Health/Watch", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
    )
    async for answer in watch(HealthCheckRequest(service=service), timeout=30):
        yield answer.status


def test_messages_and_methods_are_those_of_the_protocol() -> None:
    service = health_pb2.DESCRIPTOR.services_by_name["Health"]
    assert (service.full_name, list(service.methods_by_name)) == ("grpc.health.v1.Health", ["Check", "Watch"])
    statuses = dict(HealthCheckResponse.ServingStatus.items())
    assert statuses == {"UNKNOWN": 0, "SERVING": 1, "NOT_SERVING": 2, "SERVICE_UNKNOWN": 3}
    assert HealthCheckRequest(service="a").SerializeToString() == b"\n\x01a"
    assert HealthCheckResponse(status=SERVING).SerializeToString() == b"\b\x01"


@pytest.mark.parametrize("service", ["", NAME])
async def test_it_says_what_health_says(channel: grpc.aio.Channel, served: Served, service: str) -> None:
    assert await checked(channel, service) == SERVING
    served.consul = False  # DEGRADED
    assert await checked(channel, service) == SERVING
    served.database = False
    assert await checked(channel, service) == NOT_SERVING
    served.database = True
    assert await checked(channel, service) == SERVING


async def test_a_service_on_its_way_out_is_not_served(channel: grpc.aio.Channel, served: Served) -> None:
    served.drain.begin()
    assert await checked(channel) == NOT_SERVING
    assert [status async for status in watched(channel, NAME)] == [NOT_SERVING]


@pytest.mark.parametrize("service", ["user", "user.UserService/GetUser", "grpc.health.v1.Other"])
async def test_an_unknown_service_is_not_found(channel: grpc.aio.Channel, service: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await checked(channel, service)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_who_watches_is_told_each_change_and_nothing_between(channel: grpc.aio.Channel, served: Served) -> None:
    watch = watched(channel, NAME)
    assert await anext(watch) == SERVING
    for database, status in ((False, NOT_SERVING), (True, SERVING)):
        await asyncio.sleep(WATCH_EVERY_S * 1.5)
        served.database = database
        async with asyncio.timeout(WATCH_EVERY_S * 3):
            assert await anext(watch) == status


async def test_who_watches_a_service_that_is_not_there_is_told_so_and_kept(channel: grpc.aio.Channel) -> None:
    watch = watched(channel, "unknown")
    assert await anext(watch) == HealthCheckResponse.SERVICE_UNKNOWN
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(watch), WATCH_EVERY_S * 2)


async def test_who_watches_does_not_keep_a_server_from_ending(
    channel: grpc.aio.Channel, served: Served, server: Server
) -> None:
    watch = watched(channel)
    assert await anext(watch) == SERVING
    served.drain.begin()
    began_s = time.monotonic()
    ended = asyncio.create_task(server.stop(30))
    assert [status async for status in watch] == [NOT_SERVING]
    await ended
    assert time.monotonic() - began_s < WATCH_EVERY_S * 3
