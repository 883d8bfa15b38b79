"""A request's body: I-JSON (RFC 7493), which nobody can read in two ways."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

__all__ = ["Body", "Router", "read_json"]


class Body(BaseModel, extra="forbid"):
    """What a body may say, and no more: a misspelt field would be taken for one that was left out."""


class Router(APIRouter):
    """The routes of a service; what FastAPI would let through, such as a lone surrogate, is 422 for all of them."""

    def __init__(self) -> None:
        super().__init__(route_class=_Route)


class _Request(Request):
    async def json(self) -> Any:
        return read_json(await self.body())


class _Route(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            return await handle(_Request(request.scope, request.receive))

        return handled


def read_json(body: bytes) -> Any:
    """Return what a body says.

    Raises:
        ValueError: it is no I-JSON: not UTF-8, a key twice, not a number, half of a surrogate pair.
        RecursionError: it is nested too deeply.
    """
    value = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_number)
    if b"\\u" in body:
        json.dumps(value, ensure_ascii=False).encode()  # fails for a lone surrogate, as whoever writes it would
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key twice")
    return members


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")
