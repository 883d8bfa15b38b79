"""What a connection bears: requests behind each other, and requests that never end."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from fastapi import APIRouter, Request

from brownout_shop import limits, protocol
from wires import served, until

SHORT_S = 0.3
JSON = b"Content-Type: application/json\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


class Peer:
    """A client that says what it likes, and the server's router, whose answers can be held back."""

    def __init__(self) -> None:
        self.router = APIRouter()
        self.read: list[int] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.router.add_api_route("/bodies", self._take, methods=["POST"])
        self.router.add_api_route("/early", self._ignore, methods=["POST"])
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def _take(self, request: Request) -> int:
        self.read.append(len(await request.body()))
        await self.answers.wait()
        return self.read[-1]

    async def _ignore(self) -> None:
        """Answer before the body is there."""

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator["Peer"]:
        async with served("x", self.router) as port:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
            yield self
            self.writer.close()

    def say(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))

    async def answer(self) -> tuple[int, bytes]:
        """The next answer's status and body."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: "))
        return int(head.split(b" ")[1]), await self.reader.readexactly(int(length.split()[1]))

    async def hung_up(self) -> bool:
        """Whether the server closes, without another word."""
        return not await asyncio.wait_for(self.reader.read(), 10)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Peer().connected() as peer:
        yield peer


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "REQUEST_WITHIN_S", SHORT_S)


def post(length: int, path: bytes = b"/bodies") -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n" % (path, JSON, length)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"HELO mail.example.com\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: \0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: x\r\n y\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 60_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 10_000, 431),
        (b"GET /" + b"a" * 60_000, 431),
    ],
    ids=lambda value: str(value[:50]) if isinstance(value, bytes) else str(value),
)
async def test_what_is_not_http_is_told_so(peer: Peer, sent: bytes, status: int) -> None:
    peer.say(sent)
    answered, body = await peer.answer()
    assert (answered, json.loads(body)["status"]) == (status, status)
    assert await peer.hung_up()


async def test_a_head_that_begins_behind_a_long_body_is_not_charged_for_it(peer: Peer) -> None:
    peer.say(post(60_000), b" " * 60_000, GET[:30])
    assert await peer.answer() == (200, b"60000")
    peer.say(GET[30:])
    assert (await peer.answer())[0] == 200


@pytest.mark.parametrize(
    ("behind", "status"), [(b"HELO\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nA: " + b"a" * 60_000, 431)]
)
async def test_what_is_due_is_answered_before_a_refusal(peer: Peer, behind: bytes, status: int) -> None:
    peer.answers.clear()
    peer.say(post(2), b"{}", post(3), b"{ }", behind)
    await until(lambda: peer.read)
    await asyncio.sleep(0.05)  # the refusal has had its chance
    peer.answers.set()
    assert [await peer.answer() for _ in range(2)] == [(200, b"2"), (200, b"3")]
    assert (await peer.answer())[0] == status
    assert await peer.hung_up()


async def test_a_body_that_breaks_off_in_nonsense_is_refused_after_what_is_due(peer: Peer) -> None:
    peer.answers.clear()
    chunked = b"POST /bodies HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\nnonsense\r\n" % JSON
    peer.say(post(2), b"{}", chunked)
    await until(lambda: peer.read)
    peer.answers.set()
    assert await peer.answer() == (200, b"2")
    assert (await peer.answer())[0] == 400
    assert await peer.hung_up()
    assert peer.read == [2]


@pytest.mark.parametrize("sent", [GET[:30], post(9) + b"{", post(9)])
@pytest.mark.usefixtures("impatient")
async def test_half_a_request_is_408_in_the_end(peer: Peer, sent: bytes) -> None:
    peer.say(GET)
    assert (await peer.answer())[0] == 200
    peer.say(sent)
    status, body = await peer.answer()
    assert (status, json.loads(body)["type"]) == (408, "urn:brownout-shop:problem:request-timeout")
    assert await peer.hung_up()


@pytest.mark.usefixtures("impatient")
async def test_who_says_nothing_is_told_nothing(peer: Peer) -> None:
    assert await peer.hung_up()


@pytest.mark.usefixtures("impatient")
async def test_the_rest_of_a_body_that_is_answered_already_is_not_waited_for_either(peer: Peer) -> None:
    peer.say(post(9, b"/early"), b"{")
    assert (await peer.answer())[0] == 200
    assert await peer.hung_up()


@pytest.mark.usefixtures("impatient")
async def test_between_two_requests_there_is_more_time(peer: Peer) -> None:
    for _ in range(2):
        peer.say(GET)
        assert (await peer.answer())[0] == 200
        await asyncio.sleep(2 * SHORT_S)


@pytest.mark.usefixtures("impatient")
async def test_what_waits_behind_a_slow_answer_is_not_late(peer: Peer) -> None:
    peer.answers.clear()
    peer.say(post(2), b"{}", GET[:30])
    await asyncio.sleep(2 * SHORT_S)
    peer.answers.set()
    assert await peer.answer() == (200, b"2")
    peer.say(GET[30:])
    assert (await peer.answer())[0] == 200


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_that_is_too_large_is_answered_and_not_read_for_ever(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, *, chunked: bool
) -> None:
    monkeypatch.setattr(limits, "LINGER_S", SHORT_S)
    much = 4 * limits.BODY_BYTES
    head = b"POST /bodies HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n" % JSON
    peer.say(head + b"%x\r\n" % much if chunked else post(much), b" " * (much // 2))
    status, _ = await peer.answer()  # though the half of it is unread when it is given
    assert status == 413
    assert await peer.hung_up()
    assert not peer.read


@pytest.mark.parametrize(
    ("hosts", "version", "status"), [(0, b"1.1", 400), (2, b"1.1", 400), (1, b"1.1", 200), (0, b"1.0", 200)]
)
async def test_a_request_names_one_host(peer: Peer, hosts: int, version: bytes, status: int) -> None:
    peer.say(b"GET /health HTTP/%s\r\n" % version, b"Host: x\r\n" * hosts, b"\r\n")
    assert (await peer.answer())[0] == status
