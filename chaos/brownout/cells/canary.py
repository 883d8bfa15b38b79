"""One exchange with a callee through an address, on a connection of its own.

How what breaks looks from here, seen with the real Toxiproxy:

- proxy off (outage): the connection is refused → ``refused``.
- dead callee behind a proxy that is on: accepted, then ended without a byte → ``refused`` as well. The caller
  is turned away at once without an answer; called silence it would pass for a black hole after a millisecond.
  So a refusal alone does not prove that the *proxy* is off: its read-back does.
- reset or cut in the midst of the answer: ``refused``.
- black hole: accepted, and nothing until the time is up → not refused, not answered. Toxiproxy's ``timeout`` drops what
  the callee says, but passes on that it hung up: a callee that closes after its answer looks like a dead one. So the
  fault holds that back as well.
- any whole answer, a 503 of /health too, is an answer: who speaks is reached.
"""

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable

import aiohttp

from brownout.cell import Canary
from brownout.errors import CellError
from brownout.servers.kafka import api_versions

__all__ = ["exchange"]

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL manual, message formats: SSLRequest
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""RFC 9113, 3.4: how a client begins, with no settings of its own."""

_CONSUL_PATH = "/v1/status/leader"


async def exchange(address: str, protocol: str, path: str, within_s: float) -> Canary:
    """Ask a callee something harmless and see what comes of it.

    Args:
        address: ``host:port``, a proxy's or the callee's own.
        protocol: ``http``, ``grpc``, ``postgres``, ``consul`` or ``kafka``.
        path: what is asked over HTTP, the callee's health path.
        within_s: how long to wait for the whole answer.

    Raises:
        CellError: no canary speaks this protocol.
    """
    speak = _speaker(address, protocol, path)
    begun_s = time.monotonic()
    try:
        async with asyncio.timeout(within_s):
            await speak()
    except TimeoutError:
        return Canary()
    except (OSError, EOFError, aiohttp.ClientError):
        return Canary(refused=True)
    return Canary(answered_s=time.monotonic() - begun_s)


def _speaker(address: str, protocol: str, path: str) -> Callable[[], Awaitable[None]]:
    match protocol:
        case "http":
            return lambda: _http(f"http://{address}{path}")
        case "consul":
            return lambda: _http(f"http://{address}{_CONSUL_PATH}")
        case "grpc":
            return lambda: _first_bytes(address, _HTTP2_PREFACE, 9)  # the head of the server's own settings
        case "postgres":
            return lambda: _first_bytes(address, _SSL_REQUEST, 1)  # comes before any log-in
        case "kafka":
            return lambda: api_versions(address)
    raise CellError(address, f"no canary speaks {protocol!r}", "http, grpc, postgres, consul and kafka are known")


async def _http(url: str) -> None:
    """Get a page and hang up: asked to, a callee would do it, which ends even a black hole's silence."""
    async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as answer:
        await answer.read()


async def _first_bytes(address: str, question: bytes, count: int) -> None:
    """Ask, and wait for the first bytes of the answer."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(question)
        await reader.readexactly(count)
    finally:
        writer.close()
