"""The HTTP driver tells an answer, a refusal and an open question apart."""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from brownout.errors import BrownoutError
from brownout.history import Outcome
from brownout.journeys import Request
from brownout.workload.driver import HttpDriver, _answered


@pytest.fixture
async def driver() -> AsyncIterator[HttpDriver]:
    async with HttpDriver() as opened:
        yield opened


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        status = int(request.query.get("status", "200"))
        return web.json_response({"method": request.method, "said": await request.text()}, status=status)

    async def stall(_: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def text(_: web.Request) -> web.Response:
        return web.Response(text="x" * 5_000)

    app = web.Application()
    app.router.add_route("*", "/", answer)
    app.router.add_get("/stall", stall)
    app.router.add_get("/cut", cut)
    app.router.add_get("/text", text)
    async with TestServer(app) as server:
        yield f"http://{server.host}:{server.port}"


async def test_a_2xx_answer_is_ok_with_its_body(driver: HttpDriver, url: str) -> None:
    answer = await driver.send(url, Request("shop", "POST", "/", json={"sku": 1}), timeout_s=5)
    assert answer.outcome is Outcome.OK
    assert answer.detail == {"status": 200, "body": {"method": "POST", "said": '{"sku": 1}'}}
    assert (answer.response.status, answer.response.body) == (200, answer.detail["body"])


@pytest.mark.parametrize("status", [404, 503])
async def test_any_other_answer_is_a_failure(driver: HttpDriver, url: str, status: int) -> None:
    answer = await driver.send(url, Request("shop", "GET", f"/?status={status}"), timeout_s=5)
    assert answer.outcome is Outcome.FAILED
    assert answer.detail["status"] == status


async def test_no_answer_in_time_is_an_open_question(driver: HttpDriver, url: str) -> None:
    answer = await driver.send(url, Request("shop", "GET", "/stall"), timeout_s=0.1)
    assert answer.outcome is Outcome.UNKNOWN
    assert answer.detail == {"error": "no answer within 0.1 s"}
    assert answer.response.status == 0


async def test_a_connection_that_is_cut_is_an_open_question(driver: HttpDriver, url: str) -> None:
    answer = await driver.send(url, Request("shop", "GET", "/cut"), timeout_s=5)
    assert answer.outcome is Outcome.UNKNOWN
    assert str(answer.detail["error"]).startswith("cut: ")


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_a_request_whose_connection_is_cut_is_not_sent_again(driver: HttpDriver, method: str) -> None:
    taken = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        taken += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        answer = await driver.send(f"http://127.0.0.1:{port}", Request("shop", method, "/"), timeout_s=5)
    assert (answer.outcome, taken) == (Outcome.UNKNOWN, 1)


async def test_a_refused_connection_is_a_failure(driver: HttpDriver) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    answer = await driver.send(f"http://127.0.0.1:{port}", Request("shop", "GET", "/"), timeout_s=5)
    assert answer.outcome is Outcome.FAILED
    assert str(answer.detail["error"]).startswith("refused: ")


async def test_a_long_text_is_kept_only_in_part(driver: HttpDriver, url: str) -> None:
    answer = await driver.send(url, Request("shop", "GET", "/text"), timeout_s=5)
    assert answer.detail["body"] == "x" * 2_000


@pytest.mark.parametrize(
    "raw",
    [b'"\\ud800"', b"NaN", b"[1e999]", b"9" * 40, b"[" * 100_000, b'"\xff"', b"", b'{"a": [1, null]}'],
    ids=["half a character", "NaN", "too large", "many digits", "deep", "no UTF-8", "empty", "JSON"],
)
def test_whatever_is_answered_can_be_recorded_and_is_read_back(raw: bytes) -> None:
    detail = _answered(200, raw).detail
    assert msgspec.json.decode(msgspec.json.encode(detail)) == detail


@pytest.mark.parametrize(
    ("header", "detail"),
    [("60", {"retry_after_s": 60}), ("", {}), ("Wed, 21 Oct 2015 07:28:00 GMT", {}), ("-1", {}), ("9" * 40, {})],
)
def test_when_to_come_again_is_recorded_in_seconds(header: str, detail: dict[str, int]) -> None:
    assert _answered(503, b"", header).detail == {"status": 503, "body": "", **detail}


async def test_the_harness_own_want_of_descriptors_is_no_refusal(driver: HttpDriver, url: str) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = [os.open(os.devnull, os.O_RDONLY)]  # the lowest free number, or one above it
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare[0] + 1, limits[1]))
    try:
        while True:
            spare.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        with pytest.raises(BrownoutError, match="harness: cannot connect: Too many open files"):
            await driver.send(url, Request("shop", "GET", "/"), timeout_s=5)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in spare:
            os.close(descriptor)


async def test_a_driver_may_open_as_many_sockets_as_the_machine_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
    async with HttpDriver():
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
