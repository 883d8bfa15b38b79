"""The world of a run: the real servers and what starts processes, held open behind a watchdog."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Protocol, TypeVar

from brownout.cell import Cell
from brownout.cells.kafka import ListenerPool
from brownout.cells.local import World as LocalWorld
from brownout.cells.starter import starter
from brownout.errors import BrownoutError, ProcessError
from brownout.servers import provide, running
from brownout.stopping import Stopped, unless_stopped
from brownout.topology import Topology
from brownout.undo import Starter, Supervisor

__all__ = ["Hold", "Say", "World", "hold_world", "watched"]

T = TypeVar("T")

Say = Callable[[str, str, float | None], None]
"""Told what a subject is doing, and the fraction done where it is known."""


class World(Protocol):
    """What all cells of a run share."""

    @property
    def topology(self) -> Topology:
        """The system's table."""

    @property
    def supervisor(self) -> Supervisor:
        """Undoes what a runner leaves behind."""

    @property
    def starter(self) -> Starter:
        """With it, the services are lost."""

    def cell(
        self,
        name: str,
        services: tuple[str, ...],
        *,
        instances: Mapping[str, int] | None = None,
        environment: Mapping[str, Mapping[str, str]] | None = None,
        private: tuple[str, ...] = (),
    ) -> AbstractAsyncContextManager[Cell]:
        """Hold a cell open; it is ready when every instance is.

        Raises:
            BrownoutError: a part of it could not be started.
        """


Hold = Callable[[Topology, Callable[[str], Path], Say, asyncio.Event], AbstractAsyncContextManager[World]]
"""Holds a world open: `hold_world`, or `brownout.stack.hold_stack`."""


@contextlib.asynccontextmanager
async def hold_world(
    topology: Topology, log: Callable[[str], Path], say: Say, stop: asyncio.Event
) -> AsyncIterator[LocalWorld]:
    """Hold the real servers open, behind a watchdog that is started first.

    Args:
        topology: names the servers.
        log: the file for the output of a process of that name.
        say: told each phase.
        stop: asks to stop while they are made and started.

    Raises:
        BrownoutError: a server can neither be found nor built, or does not start.
        Stopped: ``stop`` was set before all were ready.
    """
    async with AsyncExitStack() as stack:
        yield await unless_stopped(stack.enter_async_context(_world(topology, log, say)), stop)


@contextlib.asynccontextmanager
async def _world(topology: Topology, log: Callable[[str], Path], say: Say) -> AsyncIterator[LocalWorld]:
    programs = await provide(say, topology.servers())
    scratch = Path(tempfile.mkdtemp(prefix="brownout-"))
    async with Supervisor(scratch) as supervisor:
        say("servers", "starting", None)
        async with (
            starter(topology, supervisor, log) as services,  # it loads while the servers start
            running(programs, supervisor, scratch, log) as servers,
        ):
            say("servers", "ready", 1.0)
            listeners = ListenerPool(servers.kafka.listeners if servers.kafka else ())
            yield LocalWorld(topology, servers, programs, supervisor, services, listeners, log)


async def watched(work: Awaitable[T], world: World, stop: asyncio.Event) -> T:
    """The result of some work, unless the run is stopped or its watchdog or launcher goes away before.

    A stop ends all processes first and unwinds the work afterwards: nothing that a fault would put back in order
    outlives the run, so there is no reason to wait for it.

    Raises:
        Stopped: ``stop`` was set first.
        ProcessError: the watchdog or the launcher went away first.
        BrownoutError: the first failure of the work.
    """
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    losing = [asyncio.ensure_future(parent.lost.wait()) for parent in (world.supervisor, world.starter)]
    await asyncio.wait({working, stopping, *losing}, return_when=asyncio.FIRST_COMPLETED)
    for waiting in (stopping, *losing):
        waiting.cancel()
    if not working.done():
        try:
            await world.supervisor.end()
        finally:
            working.cancel()
            await asyncio.wait([asyncio.gather(working, return_exceptions=True)], timeout=1)
        if stop.is_set():
            raise Stopped
        gone = "watchdog" if world.supervisor.lost.is_set() else "launcher"
        raise ProcessError(gone, "it has gone, and the run with it")
    try:
        return working.result()
    except BaseExceptionGroup as group:
        raise _first(group) from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    for error in group.exceptions:
        found = _first(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, BrownoutError):
            return found
    return group.exceptions[0]
