"""What is broken by hand in a running system: held open until it is healed, at the word of whoever asks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from brownout.cell import Bite
from brownout.cells.local import LocalCell
from brownout.control import Answer, Heal, Inject, Injected, Lifted, Look, Refused, Request, Standing
from brownout.errors import BrownoutError, FaultError
from brownout.faults.spoken import Spoken, spoken_fault, target
from brownout.journeys import Request as HttpRequest
from brownout.topology import Topology
from brownout.workload.driver import Answer as HttpAnswer
from brownout.workload.driver import HttpDriver

__all__ = ["Held"]

HEALTH_S = 6.0
"""How long a service may take to say how it is; clause 6.5 grants the check of each part 2 s."""


class Held:
    """What is broken by hand in a cell, held open until it is healed; serves the holder's socket.

    Args:
        cell: what is broken.
        topology: its table.
        driver: asks its services how they are.
    """

    def __init__(self, cell: LocalCell, topology: Topology, driver: HttpDriver) -> None:
        self._cell = cell
        self._topology = topology
        self._driver = driver
        self._faults: dict[str, tuple[Spoken, AsyncExitStack]] = {}
        self._changing = asyncio.Lock()

    @asynccontextmanager
    async def listening(self, path: str) -> AsyncIterator[None]:
        """Take requests at a Unix socket; on leaving, what is left of faults is lifted as far as it can be."""
        server = await asyncio.start_unix_server(self._serve, path)
        try:
            yield
        finally:
            server.close()
            for _, open_fault in self._faults.values():
                with contextlib.suppress(BrownoutError):  # after a stop there is nothing left to be put in order
                    await open_fault.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def tell(answer: Answer) -> None:
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()

        try:
            with contextlib.suppress(ConnectionError):  # whoever asked has gone
                try:
                    request = msgspec.json.decode(await reader.readline(), type=Request)
                    await self._do(request, tell, reader)
                except BrownoutError as error:
                    await tell(Refused.of(error))
                except msgspec.MsgspecError as error:
                    await tell(Refused("request", str(error), ""))
        finally:
            writer.close()

    async def _do(
        self, request: Request, tell: Callable[[Answer], Awaitable[None]], asker: asyncio.StreamReader
    ) -> None:
        match request:
            case Inject(words=words, lasting=lasting):
                await self._inject(spoken_fault(words, self._topology), lasting, tell, asker)
            case Heal():
                await tell(await self._heal())
            case Look():
                await tell(await self._look())

    async def _inject(
        self,
        fault: Spoken,
        lasting: bool,  # noqa: FBT001  it is a request's own field
        tell: Callable[[Answer], Awaitable[None]],
        asker: asyncio.StreamReader,
    ) -> None:
        """Put a fault in force; one that does not last, or that nobody heard of, ends with its asker."""
        await self._enter(fault)
        lasts = False
        try:
            bite = await self._bite(fault)
            lasts = lasting and not asker.at_eof()
            await tell(Injected(str(fault), bite.bit, bite.seen))
            if not lasting:
                await asker.read()
        finally:
            if not lasts:
                await self._lift(fault)
        if not lasts:
            await tell(Lifted((str(fault),)))

    async def _enter(self, fault: Spoken) -> None:
        """Hold a fault open, where nothing is broken yet: lifting the second fault would lift the first.

        Raises:
            FaultError: something is, or it could not be put in force.
        """
        subject = target(fault)
        async with self._changing:
            broken = [str(self._faults[subject][0])] if subject in self._faults else []
            if not broken and subject not in self._topology.services:
                broken = await self._cell.network.broken(self._topology.edge(subject))
            if broken:
                raise FaultError(subject, f"is broken already: {'; '.join(broken)}", "brownout heal lifts it")
            async with AsyncExitStack() as opening:
                await opening.enter_async_context(fault.injected(self._cell))
                self._faults[subject] = fault, opening.pop_all()

    async def _bite(self, fault: Spoken) -> Bite:
        try:
            return await fault.bites(self._cell)
        except BrownoutError as error:
            return Bite(bit=False, seen=f"it could not be looked at: {error}")

    async def _lift(self, fault: Spoken) -> None:
        """Lift one fault, unless it was lifted meanwhile."""
        async with self._changing:
            if (held := self._faults.get(target(fault))) and held[0] is fault:
                del self._faults[target(fault)]
                await held[1].aclose()

    async def _heal(self) -> Lifted:
        """Lift everything, ours first and then what others have put there, and read back that nothing is left.

        Raises:
            FaultError: something is; it was tried on all.
        """
        async with self._changing:
            lifted, failures = [], []
            while self._faults:
                _, (fault, open_fault) = self._faults.popitem()
                try:
                    await open_fault.aclose()
                    lifted.append(str(fault))
                except BrownoutError as error:
                    failures.append(str(error))
            lifted += await self._cell.heal()
            if left := failures + await self._cell.network.broken():
                raise FaultError("heal", f"something is left: {'; '.join(left)}")
            return Lifted(tuple(lifted))

    async def _look(self) -> Standing:
        names = tuple(self._topology.services)
        words = await asyncio.gather(*(self._health(name) for name in names))
        held = tuple(str(fault) for fault, _ in self._faults.values())
        return Standing(dict(zip(names, words, strict=True)), held, tuple(await self._cell.network.broken()))

    async def _health(self, service: str) -> str:
        request = HttpRequest(service, "GET", self._topology.services[service].health)
        return _in_words(await self._driver.send(self._cell.url(service), request, HEALTH_S))


def _in_words(answer: HttpAnswer) -> str:
    """What a service says of itself, in a word, and which of its parts are DOWN."""
    status, body = answer.response.status, answer.response.body
    if not status:
        return f"no answer ({answer.detail['error']})"
    if not isinstance(body, dict) or "status" not in body:
        return "UP" if answer.outcome == "OK" else f"status {status}"
    down = [str(part) for part, word in body.items() if word == "DOWN" and part != "status"]
    return f"{body['status']}: {', '.join(down)} DOWN" if down else str(body["status"])
