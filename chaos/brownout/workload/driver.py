"""The HTTP driver: sends one request and says how it ended."""

import json
from math import inf
from typing import Any, Protocol, Self

import aiohttp
import msgspec

from brownout.history import Outcome
from brownout.journeys import Request, Response

__all__ = ["Answer", "Driver", "HttpDriver"]

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
        """Send and wait for the answer; never raises for what the system does."""


class HttpDriver:
    """Driver over HTTP/1.1, a connection for each request.

    A fresh connection makes every request's fate its own: with kept ones, a client repeats by itself what was sent
    on a connection that has just been closed, and a request would be counted once and sent twice.
    """

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(self, url: str, request: Request, timeout_s: float) -> Answer:
        """Send and wait for the answer; a time-out or a cut is UNKNOWN, a refused connection FAILED."""
        try:
            async with self._session.request(
                request.method,
                url + request.path,
                json=request.json,
                headers=request.headers,
                timeout=aiohttp.ClientTimeout(total=timeout_s, ceil_threshold=inf),  # or 10.2 s would be 11
            ) as response:
                return _answered(response.status, await response.read())
        except aiohttp.ClientConnectorError as error:
            return _unanswered(Outcome.FAILED, f"refused: {error.strerror or error}")
        except TimeoutError:
            return _unanswered(Outcome.UNKNOWN, f"no answer within {timeout_s:g} s")
        except aiohttp.ClientError as error:
            return _unanswered(Outcome.UNKNOWN, f"cut: {type(error).__name__} {error}".strip())


def _answered(status: int, raw: bytes) -> Answer:
    body = _body(raw)
    outcome = Outcome.OK if 200 <= status < 300 else Outcome.FAILED  # noqa: PLR2004 - HTTP's own numbers
    return Answer(outcome, {"status": status, "body": body}, Response(status, body))


def _unanswered(outcome: Outcome, error: str) -> Answer:
    return Answer(outcome, {"error": error}, Response(0))


def _body(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw[:MOST_TEXT].decode(errors="replace")
