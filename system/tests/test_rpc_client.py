"""The gRPC client against real servers on loopback, over a wire that can be cut: clauses 3.2 and 6.2."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

import pytest

from brownout_shop.discovery.registry import Instance
from brownout_shop.problems import Problem
from brownout_shop.resilience import deadline
from brownout_shop.resilience.errors import (
    CalleeFailedError,
    CalleeLackingError,
    CalleeRefusedError,
    CalleeTimedOutError,
    CallRefusedError,
    NoInstanceKnownError,
)
from brownout_shop.resilience.rpc import RpcClient
from brownout_shop.rpc.method import CREATE_USER, GET_USER
from brownout_shop.rpc.server import Server
from brownout_shop.rpc.user_pb2 import CreateUserRequest, GetUserRequest, User
from wires import until

MINUTE_NS = 60 * 10**9


class Callee:
    """A users service that answers as it is told to, and counts who asks."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Callable[[], Awaitable[None]] = self.well

    async def well(self) -> None:
        """Answer."""

    def problem(self, status: int, word: str = "") -> None:
        async def answer() -> None:
            raise Problem(status, word, "as told")

        self.answer = answer

    def slow(self, seconds: float) -> None:
        async def answer() -> None:
            await asyncio.sleep(seconds)

        self.answer = answer

    async def get_user(self, request: GetUserRequest) -> User:
        self.asked += 1
        await self.answer()
        return User(id=request.id, name="Ann", email="ann@example.org")


class Wire:
    """A TCP relay that counts what goes to the callee, can be cut, be silent, or be late with the answers."""

    def __init__(self, to: int) -> None:
        self.sent_bytes = 0
        self.connections = 0
        self.up = True
        self.late_s = 0.0
        self.silent = False
        self._to = to
        self._pairs: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._server.close()
        await asyncio.wait([*self._tasks, asyncio.ensure_future(asyncio.sleep(0))])

    def cut(self) -> None:
        self.up = False
        for writer in self._pairs:
            writer.transport.abort()

    def heal(self) -> None:
        self.up = True

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            assert self.up
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except (AssertionError, OSError):
            writer.transport.abort()
            return
        self._pairs |= {writer, back}
        await asyncio.gather(self._carry(reader, back, up=True), self._carry(there, writer, up=False))
        self._pairs -= {writer, back}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        with contextlib.suppress(OSError):
            while some := await reader.read(65536):
                self.sent_bytes += len(some) if up else 0
                if not up:
                    await asyncio.sleep(self.late_s)
                if not self.silent:
                    writer.write(some)
        writer.transport.abort()


@pytest.fixture
def callee() -> Callee:
    return Callee()


@pytest.fixture
async def server(callee: Callee) -> AsyncIterator[Server]:
    server = Server("127.0.0.1:0", {GET_USER: callee.get_user})
    await server.start()
    yield server
    await server.stop(0)


@pytest.fixture
async def wire(server: Server) -> AsyncIterator[Wire]:
    async with Wire(server.port) as wire:
        yield wire


class Clock:
    """A clock that is set by hand."""

    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def client(wire: Wire, clock: Clock) -> AsyncIterator[RpcClient]:
    instance = Instance("users-0", "127.0.0.1:1", {"grpc-via-notifications": wire.address, "grpc": "127.0.0.1:1"})
    client = RpcClient("notifications", lambda _: [instance], clock=clock)
    yield client
    await client.close()


async def got(client: RpcClient, user_id: str = "u1") -> User:
    return await client.call("users", GET_USER, GetUserRequest(id=user_id))


async def failures(client: RpcClient, count: int) -> list[type[Exception]]:
    async def failure() -> type[Exception]:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - its type is the result
            await got(client)
        return caught.type

    return [await failure() for _ in range(count)]


async def test_the_answer_is_a_message(client: RpcClient) -> None:
    assert await got(client, "u7") == User(id="u7", name="Ann", email="ann@example.org")


@pytest.mark.parametrize(
    ("status", "word"),
    [(401, "unauthorized"), (404, "not-found"), (409, "email-taken"), (422, "invalid"), (429, "rate-limited")],
)
async def test_a_refusal_does_not_count_and_keeps_its_status_and_word(
    client: RpcClient, callee: Callee, status: int, word: str
) -> None:
    callee.problem(status, word)
    for _ in range(5):
        with pytest.raises(CalleeRefusedError) as caught:
            await got(client)
        assert (caught.value.status, caught.value.word, caught.value.answer.status) == (status, word, status)
    assert callee.asked == 5


async def test_a_callee_that_lacks_a_service_itself_does_not_count(client: RpcClient, callee: Callee) -> None:
    callee.problem(503, "overloaded")
    assert await failures(client, 5) == [CalleeLackingError] * 5


@pytest.mark.parametrize(
    ("status", "error"), [(500, CalleeFailedError), (503, CalleeFailedError), (504, CalleeTimedOutError)]
)
async def test_these_answers_count_and_the_third_opens_the_breaker(
    client: RpcClient, callee: Callee, status: int, error: type[Exception]
) -> None:
    callee.problem(status, "database-unavailable")
    assert await failures(client, 5) == [error] * 3 + [CallRefusedError] * 2
    assert callee.asked == 3


async def test_an_unknown_method_is_a_failure(client: RpcClient) -> None:
    with pytest.raises(CalleeFailedError, match="UNIMPLEMENTED"):
        await client.call("users", CREATE_USER, CreateUserRequest())


async def test_without_an_instance_there_is_no_service() -> None:
    client = RpcClient("notifications", lambda _: [])
    with pytest.raises(NoInstanceKnownError, match="no service available"):
        await got(client)


async def test_a_callee_slower_than_the_deadline_counts_and_is_left_in_time(client: RpcClient, callee: Callee) -> None:
    callee.slow(5)
    for _ in range(3):
        began = time.monotonic()
        with deadline.kept("400"), pytest.raises(CalleeTimedOutError):
            await got(client)
        assert 0.15 < time.monotonic() - began < 0.4
    assert await failures(client, 1) == [CallRefusedError]


async def test_the_callee_knows_the_callers_deadline(client: RpcClient, callee: Callee) -> None:
    left_s: list[float] = []

    async def answer() -> None:
        left_s.append(deadline.within_s())

    callee.answer = answer
    with deadline.kept("2000"):
        await got(client)
    await got(client)
    assert 1.3 < left_s[0] < 1.7
    assert 9 < left_s[1] < 10  # gRPC rounds it up by 1 %


async def test_a_refused_connection_fails_at_once(client: RpcClient, wire: Wire) -> None:
    wire.cut()
    began = time.monotonic()
    assert await failures(client, 4) == [CalleeFailedError] * 3 + [CallRefusedError]
    assert time.monotonic() - began < 1


async def test_a_silent_wire_fails_in_two_seconds_so_that_three_calls_open_the_breaker(
    client: RpcClient, wire: Wire
) -> None:
    wire.silent = True
    began = time.monotonic()
    assert await failures(client, 4) == [CalleeFailedError] * 3 + [CallRefusedError]
    assert 5.9 < time.monotonic() - began < 7


async def test_calls_that_connect_together_fail_together_when_the_breaker_opens(client: RpcClient, wire: Wire) -> None:
    wire.silent = True
    first = [asyncio.ensure_future(got(client)) for _ in range(3)]
    await asyncio.sleep(1)
    last = asyncio.ensure_future(got(client))
    began = time.monotonic()
    results = await asyncio.gather(*first, last, return_exceptions=True)
    assert [type(result) for result in results] == [CalleeFailedError] * 4
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("failed", [0, 1])
async def test_the_very_next_call_after_an_outage_succeeds(client: RpcClient, wire: Wire, failed: int) -> None:
    await got(client)
    wire.cut()
    await asyncio.sleep(0.1)
    assert await failures(client, failed) == [CalleeFailedError] * failed
    await asyncio.sleep(3)
    wire.heal()
    began = time.monotonic()
    await got(client)
    assert time.monotonic() - began < 0.5


async def test_while_the_breaker_is_open_nothing_is_sent_although_the_wire_is_healthy(
    client: RpcClient, wire: Wire, callee: Callee, clock: Clock
) -> None:
    await got(client)
    wire.cut()
    assert await failures(client, 3) == [CalleeFailedError] * 2 + [CallRefusedError]  # 2 of 3 trip it
    wire.heal()
    sent_bytes, connections = wire.sent_bytes, wire.connections
    for _ in range(20):
        assert await failures(client, 1) == [CallRefusedError]
        await asyncio.sleep(0.2)
    assert (wire.sent_bytes, wire.connections) == (sent_bytes, connections)
    clock.now_ns += MINUTE_NS + 1
    await got(client)
    assert callee.asked == 2


async def test_a_breaker_that_opens_on_failures_closes_a_connection_that_works(
    client: RpcClient, wire: Wire, callee: Callee
) -> None:
    callee.problem(500)
    await failures(client, 3)
    await until(lambda: not wire._pairs)
    sent_bytes, connections = wire.sent_bytes, wire.connections
    assert await failures(client, 3) == [CallRefusedError] * 3
    await asyncio.sleep(0.5)
    assert (wire.sent_bytes, wire.connections) == (sent_bytes, connections)


async def test_after_time_outs_have_opened_the_breaker_late_answers_cause_no_traffic(
    client: RpcClient, wire: Wire, clock: Clock
) -> None:
    await got(client)
    clock.now_ns += MINUTE_NS
    wire.late_s = 2
    for _ in range(3):
        with deadline.kept("600"), pytest.raises(CalleeTimedOutError):
            await got(client)
    await until(lambda: not wire._pairs)
    wire.late_s = 0
    sent_bytes, connections = wire.sent_bytes, wire.connections
    assert await failures(client, 3) == [CallRefusedError] * 3
    await asyncio.sleep(2.5)
    assert (wire.sent_bytes, wire.connections) == (sent_bytes, connections)


async def test_calls_in_flight_are_finished_when_the_breaker_opens(client: RpcClient, callee: Callee) -> None:
    callee.slow(1)
    slow = asyncio.ensure_future(got(client))
    await until(lambda: callee.asked)
    callee.problem(500)
    assert await failures(client, 3) == [CalleeFailedError] * 2 + [CallRefusedError]  # the one in flight counts
    assert (await slow).id == "u1"


async def test_half_open_lets_three_calls_through_that_take_longer_to_connect_than_otherwise_allowed(
    client: RpcClient, wire: Wire, callee: Callee, clock: Clock
) -> None:
    callee.problem(500)
    await failures(client, 3)
    callee.answer = callee.well
    wire.late_s = 2.2
    clock.now_ns += MINUTE_NS + 1
    results = await asyncio.gather(*(got(client) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(result, CallRefusedError) for result in results) == 17
    assert sum(isinstance(result, User) for result in results) == 3
    assert callee.asked == 6
    wire.late_s = 0
    await got(client)


async def test_a_cancelled_call_is_cancelled_and_counts(client: RpcClient, callee: Callee) -> None:
    callee.slow(5)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(got(client), 0.2)
    assert await failures(client, 1) == [CallRefusedError]


async def test_instances_are_called_in_turn_over_a_connection_each(server: Server, callee: Callee) -> None:
    async with Wire(server.port) as one, Wire(server.port) as two:
        both = [Instance(str(n), "", {"grpc": wire.address}) for n, wire in enumerate((one, two))]
        client = RpcClient("notifications", lambda _: both)
        for _ in range(6):
            await got(client)
        assert (one.connections, two.connections, callee.asked) == (1, 1, 6)
        await client.close()


async def test_a_call_that_the_server_cuts_at_its_end_counts_as_failed(
    client: RpcClient, callee: Callee, server: Server
) -> None:
    callee.slow(5)
    call = asyncio.ensure_future(got(client))
    await until(lambda: callee.asked)
    await server.stop(0.1)
    with pytest.raises(CalleeFailedError):
        await call


async def test_a_server_that_ends_finishes_what_is_in_flight_and_takes_nothing_new(
    client: RpcClient, callee: Callee, server: Server
) -> None:
    callee.slow(1)
    call = asyncio.ensure_future(got(client))
    await until(lambda: callee.asked)
    ending = asyncio.ensure_future(server.stop(5))
    await asyncio.sleep(0.2)
    assert await failures(client, 1) == [CalleeFailedError]
    assert (await call).id == "u1"
    await asyncio.wait_for(ending, 1)
    assert callee.asked == 1
