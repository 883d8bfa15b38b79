"""What a request may be: how large its head and its body are, and of which type (RFC 9110, RFC 6585)."""

import asyncio
import contextlib
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brownout_shop.problems import Problem

__all__ = ["BODY_BYTES", "HEADER_BYTES", "TARGET_BYTES", "Limits"]

TARGET_BYTES = 8 * 1024  # a path and its query; as much as RFC 9110 asks of every server
HEADER_BYTES = 32 * 1024
BODY_BYTES = 1024 * 1024
LINGER_S = 5.0
"""How long who sends a body that is too large has for reading so; as nginx's lingering_timeout."""


class Limits:
    """The ASGI middleware: what is beyond is refused by its head, or else as soon as it has come too far.

    Args:
        app: what it surrounds.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _closing(receive, send)
        if refusal := _refusal(scope):
            await refusal.response()(scope, receive, send)
            return
        read_bytes = 0

        async def counted() -> Message:
            nonlocal read_bytes
            message = await receive()
            read_bytes += len(message.get("body", b""))
            if read_bytes > BODY_BYTES:
                raise HTTPException(413, _TOO_LARGE)  # the framework's own, which FastAPI lets through
            return message

        await self._app(scope, counted, send)


_TOO_LARGE = f"body: {BODY_BYTES} bytes at most"


def _closing(receive: Receive, send: Send) -> Send:
    """Return what sends an answer; a 413 is the connection's last one, which closes once the client has had its time.

    To close it on somebody who still sends would reset it, and the answer might be lost with it (RFC 9112, 9.6).
    """
    too_large = False

    async def sent(message: Message) -> None:
        nonlocal too_large
        if message["type"] == "http.response.start" and message["status"] == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            too_large = True
            MutableHeaders(scope=message)["Connection"] = "close"
        elif too_large:
            await send({**message, "more_body": True})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    while (await receive()).get("more_body"):
                        pass
            message = {"type": "http.response.body"}
        await send(message)

    return sent


def _refusal(scope: Scope) -> Problem | None:
    """Return what is wrong with a request's head, if anything is."""
    headers = Headers(scope=scope)
    if len(scope["raw_path"]) + len(scope["query_string"]) > TARGET_BYTES:
        return Problem(414, "target-too-long", f"path and query: {TARGET_BYTES} bytes at most")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES:
        return Problem(431, "headers-too-large", f"headers: {HEADER_BYTES} bytes at most")
    length = headers.get("Content-Length", "0")  # digits: the server has seen to it
    if int(length) > BODY_BYTES:
        return Problem(413, "too-large", _TOO_LARGE)
    if (int(length) or "Transfer-Encoding" in headers) and not _is_json(headers.get("Content-Type", "")):
        return Problem(415, "unsupported-media-type", "body: application/json")
    return None


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
