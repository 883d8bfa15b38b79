"""The servers that a cell has to itself: started with it, stopped and started again by a fault, ended with it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from brownout.cell import Canary
from brownout.cells.canary import exchange
from brownout.cells.consul import Consul, Registration
from brownout.cells.wiring import Instance
from brownout.errors import FaultError, ServerError
from brownout.servers import OwnServer, Program
from brownout.servers.stage import Stage
from brownout.undo import Supervisor

__all__ = ["OwnServers", "aged", "own_servers", "scraped"]

AGE = 100
"""Writes that an agent has seen before its cell begins: a new one begins at an index of 15, so that one that takes its
place is behind it for as long as a scenario lasts, as it is behind one that had been up for days."""


class OwnServers:
    """Servers of one cell's own; implements `brownout.cell.Servers`.

    Args:
        cell: the cell's name.
        servers: by name.
    """

    def __init__(self, cell: str, servers: Mapping[str, OwnServer]) -> None:
        self._cell = cell
        self._servers = servers

    def addresses(self) -> dict[str, str]:
        """Where each listens, by its name."""
        return {name: server.address for name, server in self._servers.items()}

    async def stop(self, server: str) -> dict[str, Any]:
        """End a server at once, as a crash does; returns its exit code once it is gone.

        Raises:
            FaultError: it does not end, or the cell shares it with others.
        """
        try:
            return {"exit_code": await self._own(server).stop()}
        except ServerError as error:
            raise FaultError(f"{self._cell}/{server}", error.cause) from None

    async def start(self, server: str) -> dict[str, Any]:
        """Start a server again, at the same address; returns that once it answers.

        Raises:
            FaultError: it does not, or the cell shares it with others.
        """
        try:
            await self._own(server).start()
        except ServerError as error:
            raise FaultError(f"{self._cell}/{server}", error.cause, error.remedy) from None
        return {"address": self._own(server).address}

    async def canary(self, server: str, within_s: float) -> Canary:
        """Talk to a server at its own address."""
        return await exchange(self._own(server).address, server, "", within_s)

    def _own(self, server: str) -> OwnServer:
        if server not in self._servers:
            own = ", ".join(self._servers) or "none"
            raise FaultError(f"{self._cell}/{server}", f"is shared by all cells; this cell's own are {own}")
        return self._servers[server]


@asynccontextmanager
async def own_servers(
    cell: str,
    names: Iterable[str],
    programs: Mapping[str, Program],
    supervisor: Supervisor,
    log: Callable[[str], Path],
) -> AsyncIterator[OwnServers]:
    """Hold a cell's own servers open; they are processes of the run as all others, and end with it at the latest.

    Args:
        cell: the cell's name.
        names: those that it has to itself.
        programs: what `provide` returned.
        supervisor: starts them; their files are in its scratch folder.
        log: the file for the output of a process of that name.

    Raises:
        ServerError: one did not start.
    """
    stage = Stage(supervisor, supervisor.scratch / f"of-{cell}", lambda name: log(f"{cell}.{name}"))
    servers = {name: OwnServer(programs[name], stage) for name in names}
    if servers:
        stage.scratch.mkdir()
    try:
        await asyncio.gather(*(server.start() for server in servers.values()))
        if "consul" in servers:
            await aged(servers["consul"].address)
        yield OwnServers(cell, servers)
    finally:
        await asyncio.gather(*(server.stop() for server in servers.values()), return_exceptions=True)


async def aged(consul: str) -> None:
    """Have an agent count on to where one in use is; see `AGE`.

    Raises:
        CellError: it did not answer.
    """
    async with Consul(consul) as agent:
        await asyncio.gather(*(agent.put("brownout/age", str(number)) for number in range(AGE)))


@asynccontextmanager
async def scraped(consul: str, cell: str, instances: Iterable[Instance]) -> AsyncIterator[None]:
    """Hold instances in the registry that all cells share, where Prometheus looks; callers find them in their own.

    Args:
        consul: the shared agent.
        cell: the cell's name.
        instances: those that register at the cell's own.

    Raises:
        CellError: the agent did not answer.
    """
    known = [_registration(cell, each) for each in instances]
    async with Consul(consul) as agent:
        for instance in known:
            await agent.register(instance)
        yield
        for instance in known:
            await agent.deregister(instance.id)


def _registration(cell: str, instance: Instance) -> Registration:
    host, _, port = instance.listen.rpartition(":")
    return Registration(f"{cell}-{instance.name}", instance.service, host, int(port), {"cell": cell})
