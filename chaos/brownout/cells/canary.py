"""One exchange with a callee through an address, on a connection of its own.

How what breaks looks from here, seen with the real Toxiproxy:

- proxy off (outage): the connection is refused → ``refused``.
- dead callee behind a proxy that is on: accepted, then ended without a byte → ``refused`` as well. The caller
  is turned away at once without an answer; called silence it would pass for a black hole after a millisecond.
  So a refusal alone does not prove that the *proxy* is off: its read-back does.
- reset or cut in the midst of the answer: ``refused``.
- black hole: accepted, and nothing until the time is up → not refused, not answered. Toxiproxy drops what the
  callee says, but passes on that it hung up: a callee that closes after its answer looks like a dead one.
- any whole answer, a 503 of /health too, is an answer: who speaks is reached.
"""

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable

import aiohttp

from brownout.cell import Canary
from brownout.errors import CellError

__all__ = ["exchange"]

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL manual, message formats: SSLRequest
_CONSUL_PATH = "/v1/status/leader"


async def exchange(address: str, protocol: str, path: str, within_s: float) -> Canary:
    """Ask a callee something harmless and see what comes of it.

    Args:
        address: ``host:port``, a proxy's or the callee's own.
        protocol: ``http``, ``postgres`` or ``consul``.
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
        case "postgres":
            return lambda: _postgres(address)
    raise CellError(address, f"no canary speaks {protocol!r}", "http, postgres and consul are known")


async def _http(url: str) -> None:
    """Get a page and hang up: asked to, a callee would do it, which ends even a black hole's silence."""
    async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as answer:
        await answer.read()


async def _postgres(address: str) -> None:
    """Ask whether TLS is spoken: the one byte of the answer comes before any log-in."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(_SSL_REQUEST)
        await reader.readexactly(1)
    finally:
        writer.close()
