"""What a request may be: how large its head and its body are, and of which type (RFC 9110, RFC 6585)."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brownout_shop.problems import Problem

__all__ = ["BODY_BYTES", "HEADER_BYTES", "TARGET_BYTES", "Limits"]

TARGET_BYTES = 8 * 1024  # a path and its query; as much as RFC 9110 asks of every server
HEADER_BYTES = 32 * 1024
BODY_BYTES = 1024 * 1024


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
