"""Services on loopback, and wires between them and their servers, which break at a chosen piece of what passes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from fastapi import APIRouter

from brownout_shop.application import application
from brownout_shop.middleware import Drain
from brownout_shop.serve import _listening
from brownout_shop.service import Service
from brownout_shop.settings import Settings
from brownout_shop.telemetry.health import Health


class Fuse:
    """Counts the pieces that pass over its wires, and cuts the connection that would carry a certain one."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._kills = False
        self.blown = self.dead = False

    def arm(self, pieces: int, *, kills: bool) -> None:
        """Let so many pieces pass and not the next; `kills` lets none pass after it, on any wire."""
        self._left, self._kills, self.blown = pieces, kills, False

    def mend(self) -> None:
        self._left, self.dead = None, False

    def passes(self) -> bool:
        if self._left == 0:
            self._left, self.blown, self.dead = None, True, self._kills
            return False
        if self._left is not None:
            self._left -= 1
        return not self.dead


class Wire:
    """A relay to a port on loopback; what is not let through cuts the connection in both directions."""

    def __init__(self, to_port: int, fuse: Fuse) -> None:
        self.to_port, self._fuse = to_port, fuse
        self.requests, self.answers = asyncio.Event(), asyncio.Event()
        """Cleared, they hold back what the client, and the server, says."""
        self.requests.set()
        self.answers.set()
        self.port = self._open = 0

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator["Wire"]:
        async with await asyncio.start_server(self._relay, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
            self.requests.set()
            self.answers.set()
            await until(lambda: not self._open)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
        await asyncio.gather(
            self._pump(reader, to_writer, writer, self.requests), self._pump(to_reader, writer, to_writer, self.answers)
        )
        self._open -= 1

    async def _pump(
        self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, back: asyncio.StreamWriter, gate: asyncio.Event
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(2**16):
                await gate.wait()
                if not self._fuse.passes():
                    back.transport.abort()
                    to.transport.abort()
                to.write(piece)
                await to.drain()
        to.close()


@contextlib.asynccontextmanager
async def served(name: str, router: APIRouter) -> AsyncIterator[int]:
    """A service of these routes; its port."""
    health = Health(consul=lambda: True, has_instance=lambda _: True)
    settings = Settings(cell="c1", instance=f"{name}-0", listen="127.0.0.1:0", consul_url="", otlp_url="")
    with _listening(application(name, Service(router), health, Drain()), settings) as listening:
        yield listening.listener.getsockname()[1]
        await listening.finish(1)


async def until(true: Callable[[], object], within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.01)
