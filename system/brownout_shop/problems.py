"""How every error is answered: a problem document (RFC 9457)."""

import json
import logging
from collections.abc import Mapping
from http import HTTPMethod, HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

__all__ = [
    "ALLOW",
    "CHALLENGE",
    "MEDIA_TYPE",
    "RETRY_AFTER",
    "URN",
    "Problem",
    "answer_problems",
    "detail_of",
    "documented",
    "word_of",
]

URN = "urn:brownout-shop:problem:"
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "Retry-After"
ALLOW = "Allow"
CHALLENGE = "WWW-Authenticate"
AGAIN_AFTER_S = 10  # as often Consul looks whether what was lost is back
TOLD = 10
"""So many of the faults of a request are told, not all of a million."""

_WORDS = {401: "unauthorized", 404: "not-found", 405: "method-not-allowed", 413: "too-large"}
_SECONDS = {RETRY_AFTER: {"required": True, "schema": {"type": "integer", "minimum": 1}}}
_HEADERS = {401: {CHALLENGE: {"required": True, "schema": {"type": "string"}}}, 429: _SECONDS, 503: _SECONDS}
_DOCUMENT = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}

log = logging.getLogger(__name__)


class Problem(Exception):  # noqa: N818 - RFC 9457's own word
    """An answer that is not a success.

    Args:
        status: the HTTP status.
        word: the stable last word of its ``type``, such as ``breaker-open``.
        detail: what happened, for people.
        headers: further headers of the answer; a 503 always says when to come again, a 401 how to prove who one is.
    """

    def __init__(self, status: int, word: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {word}: {detail}")
        self.status = status
        self.word = word
        self.detail = detail
        self.headers = dict(headers or {})
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.headers.setdefault(RETRY_AFTER, str(AGAIN_AFTER_S))
        if status == HTTPStatus.UNAUTHORIZED:
            self.headers.setdefault(CHALLENGE, "Bearer")

    def response(self) -> Response:
        """Return the answer."""
        title = self.word.replace("-", " ")
        document = {"type": URN + self.word, "title": title, "status": self.status, "detail": self.detail}
        return Response(json.dumps(document), self.status, self.headers, MEDIA_TYPE)


def word_of(body: bytes) -> str:
    """Return the last word of a problem document's type, or nothing if `body` is none of ours."""
    return str(_ours(body).get("type", "")).removeprefix(URN)


def detail_of(body: bytes) -> str:
    """Return what a problem document says for people, or nothing if `body` is none of ours."""
    return str(_ours(body).get("detail", ""))


def _ours(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    ours = isinstance(document, dict) and str(document.get("type")).startswith(URN)
    return document if ours else {}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what a route's OpenAPI says of the problems that it answers."""
    content = {MEDIA_TYPE: {"schema": _DOCUMENT}}
    told: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        told[status] = {"description": HTTPStatus(status).phrase, "content": content}
        if status in _HEADERS:
            told[status]["headers"] = _HEADERS[status]
    return told


def answer_problems(app: FastAPI) -> None:
    """Make `app` answer every error as a problem: ours, the framework's, and those nobody foresaw."""

    @app.exception_handler(Problem)
    async def ours(_: Request, problem: Problem) -> Response:
        return problem.response()

    @app.exception_handler(HTTPException)
    async def frameworks(request: Request, error: HTTPException) -> Response:
        if error.status_code == HTTPStatus.BAD_REQUEST:
            # FastAPI's, for JSON that the parser gave up on: too deep, no Unicode, a number of too many digits.
            return Problem(422, "invalid", "body: cannot be read").response()
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            error.headers = {ALLOW: ", ".join(_allowed(request))}
        word = _WORDS.get(error.status_code, "invalid")
        return Problem(error.status_code, word, str(error.detail), error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        # Where and what, but never the input: it may be a password.
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:TOLD])
        return Problem(422, "invalid", wrong).response()

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> Response:
        log.error("unforeseen error", exc_info=error)
        return Problem(500, "internal", "an error that nobody foresaw").response()


def _allowed(request: Request) -> list[str]:
    """Return the methods of a path: the framework names only those of the first of its routes."""
    return [
        method.value
        for method in HTTPMethod
        if any(
            route.matches({**request.scope, "method": method.value})[0] is Match.FULL for route in request.app.routes
        )
    ]
