"""One Toxiproxy server, for a program that does many things at once.

All calls run in one thread, in order: a change whose caller was cancelled is over before the next one, which may
undo it, begins. What breaks something is in the journal before, and marked as undone there after.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from brownout.cell import Toxic
from brownout.cells import toxiproxy_calls as calls
from brownout.cells.toxiproxy_calls import ProxyState
from brownout.errors import BrownoutError, CellError, FaultError
from brownout.mending import Identity, Journal, Undo

__all__ = ["ProxyState", "Toxiproxy"]

API_TIMEOUT_S = 10.0
"""How long an answer may take; the usual one takes 2 ms, cutting 200 connections 40 ms."""

T = TypeVar("T")


class Toxiproxy:
    """One Toxiproxy server. Use it as a context manager, or close it: it has a thread of its own.

    Args:
        address: ``host:port`` of its API.
        timeout_s: longest wait for one answer of it.
        journal: what is broken is written there; None: nowhere, where nobody else is to undo it.
        process: the server's own, where it is known.
    """

    def __init__(
        self,
        address: str,
        timeout_s: float = API_TIMEOUT_S,
        *,
        journal: Journal | None = None,
        process: Identity | None = None,
    ) -> None:
        self.address = address
        self._journal = journal
        self._process = process
        self._worker = ThreadPoolExecutor(1, "toxiproxy", calls.bind, (address, timeout_s))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the thread go; it waits for the change under way, if any."""
        self._worker.shutdown(wait=True)

    async def create(self, name: str, listen: str, upstream: str) -> ProxyState:
        """Make a proxy.

        Args:
            name: parts of lower-case letters, digits, ``_`` and ``-``, joined by dots.
            listen: IP address and port; port 0 takes a free one, which is in the answer.
            upstream: ``host:port``.

        Raises:
            CellError: the name or address is no such, one of them is taken, or the server did something else.
        """
        calls.check(name, listen)
        return await self._do(CellError, name, partial(calls.create, name, listen, upstream))

    async def destroy(self, name: str) -> None:
        """Remove a proxy, if there is one, and cut its connections.

        Raises:
            CellError: the server refused or did not answer.
        """
        await self._do(CellError, name, partial(self._mending, name, partial(calls.destroy, name)))

    async def add(self, name: str, toxic: Toxic) -> dict[str, Any]:
        """Put a toxic on the answers that pass a proxy; returns it as the server has it.

        Raises:
            FaultError: the server refused, or has it with other attributes: then it is off again.
        """
        fault = self._undo("take-off", name, calls.name_of(toxic))
        return await self._do(FaultError, name, partial(self._breaking, fault, partial(calls.add, name, toxic)))

    async def remove(self, name: str, toxic: Toxic) -> None:
        """Take a toxic off, if it is on.

        Raises:
            FaultError: the server refused or still has it, or there is no such proxy.
        """
        fault = self._undo("take-off", name, calls.name_of(toxic))
        await self._do(FaultError, name, partial(self._undoing, fault, partial(calls.remove, name, fault.toxic)))

    async def switch(self, name: str, *, on: bool) -> ProxyState:
        """Let a proxy accept connections, or cut and refuse them; returns its state as read back.

        Raises:
            FaultError: the server refused, or the proxy is not as it was asked to be.
        """
        fault, change = self._undo("switch-on", name), partial(calls.switch, name, on=on)
        return await self._do(FaultError, name, partial(self._undoing if on else self._breaking, fault, change))

    async def heal(self, name: str) -> ProxyState:
        """Take all toxics off a proxy, whoever put them there, and switch it on; returns it as read back.

        Raises:
            FaultError: the server refused, or something is left.
        """
        return await self._do(FaultError, name, partial(self._mending, name, partial(calls.heal, name)))

    async def state(self, name: str) -> ProxyState:
        """One proxy as the server has it.

        Raises:
            FaultError: there is no such proxy, or no answer.
        """
        return await self._do(FaultError, name, partial(calls.state, name))

    async def proxies(self, prefix: str = "") -> list[ProxyState]:
        """All proxies whose names start with a prefix, such as ``c1.`` for a cell's.

        Raises:
            CellError: the server did not answer.
        """
        return await self._do(CellError, self.address, partial(calls.proxies, prefix))

    async def dirty(self, prefix: str = "") -> list[ProxyState]:
        """Those of :meth:`proxies` that are switched off or hold toxics."""
        return [proxy for proxy in await self.proxies(prefix) if proxy.dirty]

    async def carried(self, name: str) -> dict[str, int]:
        """Bytes received of the caller (``upstream``) and the callee (``downstream``) since the server's start.

        The server counts a connection's bytes when it closes. What it calls *sent* is not used: it leaves out
        connections that ended with an error, as most that are cut do.

        Raises:
            FaultError: the server counts none.
        """
        return await self._do(FaultError, name, partial(calls.carried, name))

    def _undo(self, how: str, name: str, toxic: str = "") -> Undo:
        return Undo(how, self._process, self.address, name, toxic)

    def _breaking(self, fault: Undo, work: Callable[[], T]) -> T:
        if self._journal:
            self._journal.begun(fault)
        return work()

    def _undoing(self, fault: Undo, work: Callable[[], T]) -> T:
        result = work()
        if self._journal:
            self._journal.undone(fault)
        return result

    def _mending(self, name: str, work: Callable[[], T]) -> T:
        result = work()
        if self._journal:
            self._journal.proxy_mended(self.address, name)
        return result

    async def _do(self, kind: type[BrownoutError], subject: str, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except calls.FAILURES as error:
            raise kind(subject, f"Toxiproxy at {self.address}: {error}", _remedy(error)) from error


def _remedy(error: Exception) -> str:
    text = str(error)
    if "address already in use" in text:
        return "let proxies listen below net.ipv4.ip_local_port_range: a port that is off can be taken meanwhile"
    if "404 page not found" in text:
        return "start it with -proxy-metrics"
    return ""
