"""The HTTP driver: sends one request and says how it ended."""

import errno
import re
import resource
from math import inf
from typing import Any, Protocol, Self

import aiohttp
import msgspec

from brownout.errors import BrownoutError
from brownout.history import Outcome
from brownout.journeys import Request, Response

__all__ = ["Answer", "Driver", "HttpDriver"]

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL})
"""Why a connection may not even be tried: the harness or its machine has no more to give."""

SECONDS = re.compile("[0-9]{1,9}")
"""What a Retry-After says that is no date (RFC 9110)."""

MOST_TEXT = 2_000
"""Characters of an answer that is no JSON which are kept."""


class Answer(msgspec.Struct, frozen=True):
    """How a request ended, for the history (`outcome`, `detail`) and for the journey (`response`)."""

    outcome: Outcome
    detail: dict[str, Any]
    response: Response


class Driver(Protocol):
    """Sends a request to an address."""

    async def send(self, url: str, request: Request, timeout_s: float) -> Answer:
        """Send and wait for the answer; never raises for what the system does.

        Raises:
            BrownoutError: nothing could be sent, for want of something on the harness's own side.
        """


class HttpDriver:
    """Driver over HTTP/1.1, a connection for each request.

    A fresh connection makes every request's fate its own, and `_once` keeps it so: a client repeats by itself what
    was sent on a connection that is closed, and a request would be counted once and sent twice. Entering allows
    this process as many descriptors as it may have.
    """

    async def __aenter__(self) -> Self:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False, middlewares=(_once,))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(self, url: str, request: Request, timeout_s: float) -> Answer:
        """Send and wait for the answer; a time-out or a cut is UNKNOWN, a refused connection FAILED.

        Raises:
            BrownoutError: there is no descriptor or no port left to connect from.
        """
        try:
            async with self._session.request(
                request.method,
                url + request.path,
                json=request.json,
                headers=request.headers,
                timeout=aiohttp.ClientTimeout(total=timeout_s, ceil_threshold=inf),  # or 10.2 s would be 11
            ) as response:
                return _answered(response.status, await response.read(), response.headers.get("Retry-After", ""))
        except aiohttp.ClientConnectorError as error:
            if error.errno in OURS:
                raise BrownoutError("harness", f"cannot connect: {error.strerror}") from error
            return _unanswered(Outcome.FAILED, f"refused: {error.strerror or error}")
        except TimeoutError:
            return _unanswered(Outcome.UNKNOWN, f"no answer within {timeout_s:g} s")
        except _CutError as error:
            return _unanswered(Outcome.UNKNOWN, f"cut: {error}")
        except aiohttp.ClientError as error:
            return _unanswered(Outcome.UNKNOWN, f"cut: {type(error).__name__} {error}".strip())


class _CutError(aiohttp.ClientError):
    """The connection was lost; told so that the client does not see a reason to try again."""


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request, and not a second time: aiohttp would repeat a GET whose connection is lost, a new one too."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _CutError(f"{type(error).__name__} {error}".strip()) from error


def _answered(status: int, raw: bytes, retry_after: str = "") -> Answer:
    body = _body(raw)
    outcome = Outcome.OK if 200 <= status < 300 else Outcome.FAILED  # noqa: PLR2004 - HTTP's own numbers
    detail = {"status": status, "body": body}
    if SECONDS.fullmatch(retry_after):
        detail["retry_after_s"] = int(retry_after)
    return Answer(outcome, detail, Response(status, body))


def _unanswered(outcome: Outcome, error: str) -> Answer:
    return Answer(outcome, {"error": error}, Response(0))


def _body(raw: bytes) -> Any:
    """The JSON that it is, decoded by what writes it down: only what a recording can hold; or else the text."""
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return raw[:MOST_TEXT].decode(errors="replace")
