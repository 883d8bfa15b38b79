"""A server that one cell has to itself: it may be stopped, and is started again at the same address."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping

from brownout.errors import ServerError
from brownout.servers import consul, postgres
from brownout.servers.ports import held_ports
from brownout.servers.program import Program
from brownout.servers.stage import Stage, persistently
from brownout.undo import Process

__all__ = ["OWN", "OwnServer"]

OWN: Mapping[str, tuple[Callable[[Program, Stage, int], Awaitable[Process]], signal.Signals]] = {
    "consul": (consul.serve, consul.STOP),
    "postgres": (postgres.serve, postgres.STOP),
}
"""How each that a cell may have is started at a port, and what ends it."""

STOP_S = 10.0
"""Longest that an end may take: Postgres gives its processes 5 s."""


class OwnServer:
    """One server at one address, started and stopped as often as is wanted.

    Args:
        program: what to start; of those in ``OWN``.
        stage: where; what the server keeps on disk stays there while it is stopped.

    Attributes:
        address: ``127.0.0.1:port``; nobody else takes it while this process lives, see `held_ports`.
    """

    def __init__(self, program: Program, stage: Stage) -> None:
        self._program = program
        self._stage = stage
        self._serve, self._stop = OWN[program.name]
        (self._port,) = held_ports(1)
        self._process: Process | None = None
        self.address = f"127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start it, unless it runs; returns once it answers.

        Raises:
            ServerError: it cannot be started.
        """
        if self._process is None or self._process.returncode is not None:
            self._process = await persistently(lambda: self._serve(self._program, self._stage, self._port))

    async def stop(self) -> int:
        """End it at once, as a crash would, if it runs; returns its exit code once it is gone.

        Raises:
            ServerError: it never was started, or does not end in time.
        """
        if self._process is None:
            raise ServerError(self._program.name, "was never started")
        self._process.signal(self._stop)
        try:
            async with asyncio.timeout(STOP_S):
                return await self._process.wait()
        except TimeoutError:
            raise ServerError(self._program.name, f"has not ended within {STOP_S:g} s of its signal") from None
