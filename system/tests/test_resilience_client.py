"""The outgoing client against a real server on loopback: clauses 3.1 and 6.2."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from brownout_shop.discovery.registry import Instance
from brownout_shop.resilience import deadline
from brownout_shop.resilience.balancer import RandomChoice
from brownout_shop.resilience.client import (
    CalleeFailedError,
    CalleeLackingError,
    CalleeRefusedError,
    CalleeTimedOutError,
    CallError,
    CallRefusedError,
    Client,
    NoInstanceKnownError,
)

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Callee:
    """A callee that answers as it is told to, and remembers who asked."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.answer: Handler = self.status(200)

    def status(self, status: int, word: str = "", **more: str) -> Handler:
        async def answer(_: web.Request) -> web.Response:
            return web.json_response({"type": f"urn:brownout-shop:problem:{word}", **more}, status=status)

        return answer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return await self.answer(request)


@pytest.fixture
def callee() -> Callee:
    return Callee()


def listening(callee: Callee) -> TestServer:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", callee.handle)
    return TestServer(app)


@pytest.fixture
async def instance(callee: Callee) -> AsyncIterator[Instance]:
    async with listening(callee) as server:
        yield Instance("c1-users-0", f"127.0.0.1:{server.port}")


@pytest.fixture
async def client(instance: Instance) -> AsyncIterator[Client]:
    async with Client("orders", lambda _: [instance]) as client:
        yield client


async def failures(client: Client, count: int) -> list[type[Exception]]:
    async def failure() -> type[Exception]:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - its type is the result
            await client.call("users", "GET", "/users/1")
        return caught.type

    return [await failure() for _ in range(count)]


async def test_a_2xx_answer_is_read_to_its_end(client: Client, callee: Callee) -> None:
    callee.answer = callee.status(201, "x")
    answer = await client.call("users", "POST", "/users", body=b"{}", headers={"X-User-Id": "u1"})
    assert (answer.status, answer.content_type) == (201, "application/json")
    assert callee.requests[0].headers["X-User-Id"] == "u1"


@pytest.mark.parametrize(
    ("status", "word", "error"),
    [
        (400, "invalid", CalleeRefusedError),
        (404, "not-found", CalleeRefusedError),
        (429, "rate-limited", CalleeRefusedError),
        (503, "breaker-open", CalleeLackingError),
        (503, "no-instance", CalleeLackingError),
        (503, "overloaded", CalleeLackingError),
    ],
)
async def test_these_answers_do_not_count_against_the_callee(
    client: Client, callee: Callee, status: int, word: str, error: type[Exception]
) -> None:
    callee.answer = callee.status(status, word)
    assert await failures(client, 10) == [error] * 10
    assert len(callee.requests) == 10


@pytest.mark.parametrize(
    ("status", "word", "error"),
    [
        (302, "", CalleeFailedError),
        (500, "internal", CalleeFailedError),
        (502, "upstream-failed", CalleeFailedError),
        (503, "database-unavailable", CalleeFailedError),
        (503, "", CalleeFailedError),
        (504, "upstream-timeout", CalleeTimedOutError),
    ],
)
async def test_these_answers_count_and_the_third_opens_the_breaker(
    client: Client, callee: Callee, status: int, word: str, error: type[Exception]
) -> None:
    callee.answer = callee.status(status, word)
    assert await failures(client, 5) == [error] * 3 + [CallRefusedError] * 2
    assert len(callee.requests) == 3


async def test_nobody_listening_counts(instance: Instance) -> None:
    gone = Instance(instance.id, "127.0.0.1:1")
    async with Client("orders", lambda _: [gone]) as client:
        assert await failures(client, 4) == [CalleeFailedError] * 3 + [CallRefusedError]


@pytest.mark.parametrize(
    ("status", "problem", "told"),
    [
        (409, {"detail": "vase-1: 2 wanted, 1 left"}, "vase-1: 2 wanted, 1 left"),
        (409, {}, "users refused the request"),
        (409, {"detail": "theirs", "type": "about:blank"}, "users refused the request"),
        (500, {"detail": "a table's name"}, "users failed: status 500"),
    ],
)
async def test_why_one_of_ours_refuses_is_told_and_nothing_else_is(
    client: Client, callee: Callee, status: int, problem: dict[str, str], told: str
) -> None:
    callee.answer = callee.status(status, "word", **problem)
    with pytest.raises(CallError) as caught:
        await client.call("users", "GET", "/users/1")
    assert caught.value.detail == told


async def test_where_a_callee_should_be_is_logged_and_not_answered(
    instance: Instance, caplog: pytest.LogCaptureFixture
) -> None:
    gone = Instance(instance.id, "127.0.0.1:1")
    async with Client("orders", lambda _: [gone]) as client:
        with pytest.raises(CalleeFailedError) as caught:
            await client.call("users", "GET", "/users/1")
    assert caught.value.detail == "users failed: no connection"
    assert "127.0.0.1:1" in caplog.text


async def test_an_answer_that_breaks_off_counts(client: Client, callee: Callee) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    callee.answer = broken
    assert await failures(client, 4) == [CalleeFailedError] * 3 + [CallRefusedError]


async def test_a_callee_slower_than_the_deadline_counts_and_is_left_in_time(client: Client, callee: Callee) -> None:
    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(5)
        return web.Response()

    callee.answer = slow
    for _ in range(3):
        began = time.monotonic()
        with deadline.kept("400"), pytest.raises(CalleeTimedOutError):
            await client.call("users", "GET", "/users/1")
        assert 0.15 < time.monotonic() - began < 0.4
    assert await failures(client, 1) == [CallRefusedError]


async def test_a_call_is_given_up_after_10_s_and_not_a_second_later(client: Client, callee: Callee) -> None:
    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(20)
        return web.Response()

    callee.answer = silent
    began = time.monotonic()
    with pytest.raises(CalleeTimedOutError):
        await client.call("users", "GET", "/users/1")
    assert 9.99 < time.monotonic() - began < 10.5


async def test_the_callee_is_told_the_time_left(client: Client, callee: Callee) -> None:
    with deadline.kept("2000"):
        await client.call("users", "GET", "/users/1")
    await client.call("users", "GET", "/users/1")
    told = [int(request.headers["X-Timeout-Ms"]) for request in callee.requests]
    assert 1700 < told[0] <= 1800
    assert told[1] == 10_000


async def test_without_time_left_nothing_is_sent_and_nothing_counted(client: Client, callee: Callee) -> None:
    with deadline.kept("100"):
        assert await failures(client, 5) == [CalleeTimedOutError] * 5
    assert not callee.requests
    await client.call("users", "GET", "/users/1")


async def test_without_an_instance_there_is_no_service() -> None:
    def nowhere(_: str) -> Sequence[Instance]:
        return []

    async with Client("orders", nowhere) as client:
        with pytest.raises(NoInstanceKnownError, match="no service available") as caught:
            await client.call("users", "GET", "/users/1")
    assert (caught.value.status, caught.value.word) == (503, "no-instance")


async def test_instances_are_called_in_turn_at_the_address_for_the_caller(instance: Instance) -> None:
    nowhere = "127.0.0.1:1"
    both = [
        Instance("a", nowhere, {"via-orders": instance.address}),
        Instance("b", instance.address, {"via-gateway": nowhere}),
    ]
    async with Client("orders", lambda _: both) as client:
        for _ in range(4):
            assert (await client.call("users", "GET", "/users/1")).status == 200


class Last:
    """A balancer that spares nobody."""

    def choose(self, instances: Sequence[T]) -> T:
        return instances[-1]


async def test_the_balancer_is_the_one_that_was_asked_for(instance: Instance) -> None:
    both = [Instance("a", "127.0.0.1:1"), instance]
    async with Client("orders", lambda _: both, balance=Last) as client:
        for _ in range(4):
            assert (await client.call("users", "GET", "/users/1")).status == 200


async def test_over_several_instances_a_random_one_is_called(callee: Callee) -> None:
    async with listening(callee) as first, listening(callee) as second, listening(callee) as third:
        addresses = [f"127.0.0.1:{server.port}" for server in (first, second, third)]
        three = [Instance(address, address) for address in addresses]
        async with Client("orders", lambda _: three, balance=RandomChoice) as client:
            for _ in range(60):
                await client.call("users", "GET", "/users/1")
    called = [request.headers["Host"] for request in callee.requests]
    assert set(called) == set(addresses)
    assert called != [called[number % 3] for number in range(60)]  # as in turn


async def test_an_open_breaker_says_when_to_come_back(client: Client, callee: Callee) -> None:
    callee.answer = callee.status(500)
    await failures(client, 3)
    with pytest.raises(CallRefusedError) as caught:
        await client.call("users", "GET", "/users/1")
    assert (caught.value.status, caught.value.word) == (503, "breaker-open")
    assert caught.value.headers == {"Retry-After": "60"}


async def test_an_open_breaker_says_how_much_of_its_minute_is_left(instance: Instance, callee: Callee) -> None:
    now_ns = 0
    async with Client("orders", lambda _: [instance], clock=lambda: now_ns) as client:
        callee.answer = callee.status(500)
        await failures(client, 3)
        said = []
        for now_ns in (0, 1, 20 * 10**9, 59_500_000_000, 60 * 10**9):  # noqa: B007 - the client's clock reads it
            with pytest.raises(CallRefusedError) as caught:
                await client.call("users", "GET", "/users/1")
            said.append(caught.value.headers["Retry-After"])
    assert said == ["60", "60", "40", "1", "1"]


@pytest.mark.parametrize(("sent", "passed_on"), [("37", "37"), ("Wed, 21 Oct 2015 07:28:00 GMT", "10"), ("", "10")])
async def test_when_a_callee_wants_to_be_asked_again_is_passed_on(
    client: Client, callee: Callee, sent: str, passed_on: str
) -> None:
    async def lacking(_: web.Request) -> web.Response:
        problem = {"type": "urn:brownout-shop:problem:breaker-open"}
        return web.json_response(problem, status=503, headers={"Retry-After": sent})

    callee.answer = lacking
    with pytest.raises(CalleeLackingError) as caught:
        await client.call("users", "GET", "/users/1")
    assert caught.value.headers == {"Retry-After": passed_on}


async def test_half_open_admits_three_and_their_successes_close_it(instance: Instance, callee: Callee) -> None:
    now_ns = 0
    async with Client("orders", lambda _: [instance], clock=lambda: now_ns) as client:
        callee.answer = callee.status(500)
        await failures(client, 3)
        now_ns = 60 * 10**9 + 1
        callee.answer = callee.status(200)
        calls = [client.call("users", "GET", "/users/1") for _ in range(20)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(result, CallRefusedError) for result in results) == 17
        assert (await client.call("users", "GET", "/users/1")).status == 200


async def test_a_cancelled_call_gives_its_half_open_slot_back(instance: Instance, callee: Callee) -> None:
    now_ns = 0
    async with Client("orders", lambda _: [instance], clock=lambda: now_ns) as client:
        callee.answer = callee.status(500)
        await failures(client, 3)
        now_ns = 60 * 10**9 + 1

        async def silent(_: web.Request) -> web.StreamResponse:
            await asyncio.sleep(5)
            return web.Response()

        callee.answer = silent
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.call("users", "GET", "/users/1"), 0.2)
        now_ns += 60 * 10**9 + 1  # the cancelled call counted as a failure: open for another 60 s
        callee.answer = callee.status(200)
        for _ in range(4):
            assert (await client.call("users", "GET", "/users/1")).status == 200
