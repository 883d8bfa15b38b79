"""What one user does: a generator that yields requests and is sent responses, free of I/O."""

from collections.abc import Callable, Generator, Mapping
from random import Random
from typing import Any

import msgspec

__all__ = [
    "Act",
    "Arrange",
    "Journey",
    "Request",
    "Response",
    "journey",
    "requests_journey",
    "with_headers",
]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One HTTP request to a service of the system, at that service's own port.

    Attributes:
        service: who is asked.
        method: the HTTP method.
        path: path and query.
        json: the body, sent as JSON; None sends none.
        headers: further headers.
    """

    service: str
    method: str
    path: str
    json: Any = None
    headers: dict[str, str] = {}


class Response(msgspec.Struct, frozen=True):
    """An answer: its status, 0 where none came, and its body as parsed JSON or text."""

    status: int
    body: Any = None


Arrange = Callable[[Random], Generator[Request, Response, Any]]
Act = Callable[[Any, Random], Generator[Request, Response, None]]


class Journey(msgspec.Struct, frozen=True):
    """What a user does again and again, and what has to be there before.

    Attributes:
        act: the requests under judgement; given what ``arrange`` returned and a seeded random source.
        arrange: done once in a run, before any fault; returns what ``act`` needs.
    """

    act: Act
    arrange: Arrange | None = None


def journey(arrange: Arrange | None = None) -> Callable[[Act], Journey]:
    """Make a journey of a generator function: ``@journey(arrange=customer)``."""
    return lambda act: Journey(act, arrange)


def requests_journey(requests: tuple[Request, ...]) -> Journey:
    """The journey that sends the same requests each time, as a contract lists them."""

    def act(_: Any, __: Random) -> Generator[Request, Response, None]:
        for request in requests:
            yield request

    return Journey(act)


def with_headers(request: Request, headers: Mapping[str, str]) -> Request:
    """The same request with further headers."""
    return msgspec.structs.replace(request, headers={**request.headers, **headers})
