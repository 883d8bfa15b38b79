"""The world of a run on a Compose project: its servers, and room for copies of its services beside them."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from brownout.admission import PROCESSORS
from brownout.cells.compose import ComposeWorld, forget
from brownout.cells.composed import CELL, LISTENERS
from brownout.cells.project import project
from brownout.cells.toxiproxy import Toxiproxy
from brownout.stopping import unless_stopped
from brownout.topology import Topology
from brownout.undo import Supervisor
from brownout.world import Say

__all__ = ["hold_stack"]

PROJECT = "brownout"
"""The project's name, from `.env`; ``COMPOSE_PROJECT_NAME`` overrides it, as for Compose."""

COPY_BYTES = 160 << 20
"""What a copy may take of the memory: a service of the shop takes 100 MB, with its share of its servers' more."""

COPIES_A_PROCESSOR = 10
"""What a processor has time for: a container starts its program from nothing, with 4 s of a processor. With 64 places
on two processors every other scenario was INCONCLUSIVE."""

FEWEST = 8
"""Copies that there is room for in any case: the largest scenario has as many."""


@contextlib.asynccontextmanager
async def hold_stack(
    topology: Topology, log: Callable[[str], Path], say: Say, stop: asyncio.Event
) -> AsyncIterator[ComposeWorld]:
    """Hold a project that is up: nothing of it is changed, and no copy is left in the end, however that comes.

    Args:
        topology: what the project was made of.
        log: the file for the output of a service of that name.
        say: told each phase.
        stop: asks to stop.

    Raises:
        BrownoutError: there is no engine, or no such project.
        Stopped: ``stop`` was set before it was held.
    """
    async with AsyncExitStack() as stack:
        yield await unless_stopped(stack.enter_async_context(_stack(topology, log, say)), stop)


@contextlib.asynccontextmanager
async def _stack(topology: Topology, log: Callable[[str], Path], say: Say) -> AsyncIterator[ComposeWorld]:
    scratch = Path(tempfile.mkdtemp(prefix="brownout-"))
    name = os.environ.get("COMPOSE_PROJECT_NAME") or PROJECT
    most = min(len(LISTENERS), COPIES_A_PROCESSOR * PROCESSORS)
    places = max(FEWEST, min(most, _available_bytes() // COPY_BYTES))
    async with Supervisor(scratch) as supervisor, project(name, supervisor.journal) as there:
        world = ComposeWorld(topology, there, supervisor, log, places)
        await _clear(world)
        say("containers", f"room for {places} at a time", 1.0)
        yield world


async def _clear(world: ComposeWorld) -> None:
    """Remove what runs before may have left on the servers, if their watchdogs had died as well.

    Raises:
        CellError: a server does not run, or does not answer.
    """
    if consul := world.server("consul"):
        await forget(consul, f'cell in Meta and Meta.cell != "{CELL}"')
    address = world.server("toxiproxy")
    assert address  # noqa: S101  there always is one
    async with Toxiproxy(address) as toxiproxy:
        for proxy in await toxiproxy.proxies():
            if not proxy.name.startswith(f"{CELL}."):
                await toxiproxy.destroy(proxy.name)


def _available_bytes() -> int:
    """Of memory, for programs that are to be started: proc(5), /proc/meminfo."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
