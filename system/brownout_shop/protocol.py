"""HTTP/1.1 as uvicorn speaks it, but what cannot be parsed is answered as a problem, and no head grows without end."""

from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from brownout_shop.limits import HEADER_BYTES, TARGET_BYTES
from brownout_shop.problems import MEDIA_TYPE, Problem

__all__ = ["Protocol"]


class Protocol(HttpToolsProtocol):
    """A connection."""

    _head_bytes: int | None = None
    """How much has come of a head that is not complete; None between heads."""

    def data_received(self, data: bytes) -> None:
        """Parse what has come; a head that never ends would fill the memory."""
        super().data_received(data)
        if self._head_bytes is None:
            return
        self._head_bytes += len(data)
        if self._head_bytes > TARGET_BYTES + HEADER_BYTES:
            self._refuse(Problem(431, "headers-too-large", f"headers: {HEADER_BYTES} bytes at most"))

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Leave the rest to the application."""
        self._head_bytes = None
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(Problem(400, "no-http", msg))

    def _refuse(self, problem: Problem) -> None:
        """Answer beside the application, which knows nothing of the request, and close."""
        self._head_bytes = None
        body = bytes(problem.response().body)
        head = (
            f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}",
            f"Content-Type: {MEDIA_TYPE}",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        self.transport.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        self.transport.close()
