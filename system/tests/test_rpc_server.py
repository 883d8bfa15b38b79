"""The gRPC server: its errors, and what a call leaves behind on both sides: clauses 3.2 and 6.4."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TypeVar

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from prometheus_client import REGISTRY

from brownout_shop.discovery.registry import Instance
from brownout_shop.problems import Problem
from brownout_shop.resilience import rpc
from brownout_shop.resilience.errors import CalleeFailedError, CalleeRefusedError
from brownout_shop.resilience.rpc import RpcClient
from brownout_shop.rpc import server as rpc_server
from brownout_shop.rpc.method import GET_USER
from brownout_shop.rpc.server import Server
from brownout_shop.rpc.user_pb2 import GetUserRequest, User

T = TypeVar("T")


async def get_user(request: GetUserRequest) -> User:
    if request.id == "nobody":
        raise Problem(404, "not-found", "no such user")
    if request.id == "broken":
        raise ValueError("a secret")
    return User(id=request.id)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for module in (rpc, rpc_server):
        monkeypatch.setattr(module, "tracer", provider.get_tracer("rpc"))
    yield exporter
    provider.shutdown()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server("127.0.0.1:0", {GET_USER: get_user})
    await server.start()
    yield server
    await server.stop(0)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[RpcClient]:
    client = RpcClient("notifications", lambda _: [Instance("0", "", {"grpc": f"127.0.0.1:{server.port}"})])
    yield client
    await client.close()


def of_kind(spans: InMemorySpanExporter, kind: SpanKind) -> ReadableSpan:
    (span,) = (span for span in spans.get_finished_spans() if span.kind is kind)
    return span


def counted(status: str) -> float:
    labels = {"rpc_method": "user.UserService/GetUser", "rpc_response_status_code": status}
    return REGISTRY.get_sample_value("rpc_server_call_duration_seconds_count", labels) or 0


async def test_the_servers_span_hangs_under_the_clients(client: RpcClient, spans: InMemorySpanExporter) -> None:
    await client.call("users", GET_USER, GetUserRequest(id="u1"))
    called, served = of_kind(spans, SpanKind.CLIENT), of_kind(spans, SpanKind.SERVER)
    assert served.parent is not None
    assert called.context is not None
    assert (served.parent.span_id, served.parent.trace_id) == (called.context.span_id, called.context.trace_id)
    assert called.name == served.name == "user.UserService/GetUser"


async def test_a_refusal_is_counted_by_its_code_and_is_no_error_of_the_servers(
    client: RpcClient, spans: InMemorySpanExporter
) -> None:
    before = counted("NOT_FOUND")
    with pytest.raises(CalleeRefusedError):
        await client.call("users", GET_USER, GetUserRequest(id="nobody"))
    async with asyncio.timeout(10):
        while counted("NOT_FOUND") == before:  # noqa: ASYNC110 - the answer is there before it is counted
            await asyncio.sleep(0.01)
    assert counted("NOT_FOUND") == before + 1
    served, called = of_kind(spans, SpanKind.SERVER), of_kind(spans, SpanKind.CLIENT)
    assert (served.status.is_ok, called.status.is_ok) == (True, False)
    for span in (served, called):
        assert span.attributes is not None
        assert span.attributes["rpc.grpc.status_code"] == 5


async def test_a_call_is_counted_and_its_breaker_is_that_of_the_port_that_is_called(client: RpcClient) -> None:
    labels = {"rpc_method": "user.UserService/GetUser", "server_address": "users", "error_type": ""}
    before = REGISTRY.get_sample_value("rpc_client_call_duration_seconds_count", labels) or 0
    await client.call("users", GET_USER, GetUserRequest(id="u1"))
    assert REGISTRY.get_sample_value("rpc_client_call_duration_seconds_count", labels) == before + 1
    assert REGISTRY.get_sample_value("shop_breaker_state", {"callee": "users:grpc"}) == 0


async def test_an_error_that_nobody_foresaw_is_internal_and_says_no_more(client: RpcClient) -> None:
    with pytest.raises(CalleeFailedError, match=r"users failed: INTERNAL$"):
        await client.call("users", GET_USER, GetUserRequest(id="broken"))


async def test_what_is_no_message_is_the_callers_mistake(server: Server) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(GET_USER.path)(b"\xff")
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "no user.GetUserRequest")


class Last:
    """A balancer that spares nobody."""

    def choose(self, instances: Sequence[T]) -> T:
        return instances[-1]


async def test_the_balancer_is_the_one_that_was_asked_for(server: Server) -> None:
    both = [Instance(str(port), "", {"grpc": f"127.0.0.1:{port}"}) for port in (1, server.port)]
    client = RpcClient("notifications", lambda _: both, balance=Last)
    for _ in range(4):
        assert (await client.call("users", GET_USER, GetUserRequest(id="u1"))).id == "u1"
    await client.close()


async def test_a_taken_port_is_told(server: Server) -> None:
    with pytest.raises(RuntimeError, match="bind"):
        await Server(f"127.0.0.1:{server.port}", {}).start()
