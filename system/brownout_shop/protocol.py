"""HTTP/1.1 as uvicorn speaks it, but what cannot be parsed is answered as a problem, and nothing comes without end."""

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from brownout_shop.limits import HEADER_BYTES, TARGET_BYTES
from brownout_shop.problems import MEDIA_TYPE, Problem

__all__ = ["Protocol"]

PIECE_BYTES = 4096
REQUEST_WITHIN_S = 20.0
"""How long a request may be on its way, its head and its body: as long as Apache gives a head (mod_reqtimeout's 20 s).
It is twice what our own callers wait (clause 3.1), so none of them hears of it; 1 MB of body needs 0.4 Mbit/s."""


class Protocol(HttpToolsProtocol):
    """A connection."""

    _head_bytes: int | None = None
    """How much has come of a head that is not complete; None between heads."""
    _refusal: Problem | None = None
    """What is the last answer, once those that are due have been given."""
    _late: asyncio.TimerHandle
    """What ends the wait for the rest of a request, or for a first one."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Wait for a request."""
        super().connection_made(transport)
        self._late = self.loop.call_later(REQUEST_WITHIN_S, self._time_is_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._late.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, in pieces: where in one a head began is not known, so as much of it is not counted."""
        for start in range(0, len(data), PIECE_BYTES):
            if self._refusal:
                return
            piece = data[start : start + PIECE_BYTES]
            super().data_received(piece)
            if self._head_bytes is not None:
                self._head_bytes += len(piece)
                if self._head_bytes > TARGET_BYTES + HEADER_BYTES:  # it would fill the memory
                    self._refuse(Problem(431, "headers-too-large", f"headers: {HEADER_BYTES} bytes at most"))

    def on_message_begin(self) -> None:
        """Begin to count, and to wait for the end."""
        self._head_bytes = -PIECE_BYTES
        self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Leave the rest to the application.

        Raises:
            ValueError: an HTTP/1.1 request names no host, or several (RFC 9112, 3.2); it is answered as no HTTP.
        """
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            raise ValueError("one Host")
        self._head_bytes = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait no longer."""
        self._late.cancel()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on to the next request, or to the refusal."""
        super().on_response_complete()
        if not self._late.cancelled():  # the rest of the next one may have been here, unread
            self._wait()
        self._end()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(Problem(400, "no-http", msg))

    def _wait(self) -> None:
        self._late.cancel()
        self._late = self.loop.call_later(REQUEST_WITHIN_S, self._time_is_up)

    def _time_is_up(self) -> None:
        if self.cycle is None and self._head_bytes is None:
            self.transport.close()
        elif not self._is_due():  # before its answer is out nothing more is read
            self._refuse(Problem(408, "request-timeout", f"request: complete within {REQUEST_WITHIN_S:g} s"))

    def _refuse(self, problem: Problem) -> None:
        """Let `problem` be the last answer; the application knows nothing of the request, or never gets all of it."""
        self._refusal = problem
        self._end()

    def _is_due(self) -> bool:
        """Return whether requests that have come in full wait for their answers, or one is being answered."""
        last = self.cycle
        begun = last is not None and not last.response_complete and (last.response_started or not last.more_body)
        return bool(self.pipeline) or begun

    def _end(self) -> None:
        """Answer beside the application, as soon as no answer is due, and close."""
        if self._refusal is None or self._is_due() or self.transport.is_closing():
            return
        if self._head_bytes is not None or self.cycle is None or not self.cycle.response_started:
            self.transport.write(_answer(self._refusal))
        self.transport.close()


def _answer(problem: Problem) -> bytes:
    body = bytes(problem.response().body)
    head = (
        f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}",
        f"Content-Type: {MEDIA_TYPE}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
