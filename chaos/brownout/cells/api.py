"""The HTTP API of a server that the harness asks: one session, and every failure told as the server's."""

from types import TracebackType
from typing import Any, Self

import aiohttp

from brownout.errors import CellError

__all__ = ["Api"]

ANSWER_S = 30.0
"""Longest that an answer may take: thousands of spans, say, from a busy machine."""


class Api:
    """One server's HTTP API; a context manager, since it keeps connections.

    Args:
        name: what it is called in errors.
        address: its ``host:port``.
        within_s: longest that an answer may take.
    """

    def __init__(self, name: str, address: str, within_s: float = ANSWER_S) -> None:
        self.address = address
        self._name = name
        self._within_s = within_s

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self._within_s)
        self._session = aiohttp.ClientSession(f"http://{self.address}", timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, about: str = "", **more: Any) -> tuple[bytes, Any]:
        """The body and the headers of an answer in the 2xx range; ``about`` says in an error what was asked.

        Raises:
            CellError: the server did not answer, or refused.
        """
        try:
            async with self._session.request(method, path, **more) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise CellError(self._name, f"{self.address} does not answer: {error!r}") from error
        if not response.ok:
            said = body[:200].decode(errors="replace")
            raise CellError(self._name, f"{about or f'{method} {path}'}: status {response.status}, {said}")
        return body, response.headers
