"""The world of a run on a Compose project: its servers, and its services standing still while there are cells."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from brownout.cells.compose import ComposeWorld
from brownout.cells.composed import composed, container_of
from brownout.cells.containers import project
from brownout.stopping import unless_stopped
from brownout.topology import Topology
from brownout.undo import Supervisor
from brownout.world import Say

__all__ = ["hold_stack"]

PROJECT = "brownout"
"""The project's name, from `.env`; ``COMPOSE_PROJECT_NAME`` overrides it, as for Compose."""


@contextlib.asynccontextmanager
async def hold_stack(
    topology: Topology, log: Callable[[str], Path], say: Say, stop: asyncio.Event
) -> AsyncIterator[ComposeWorld]:
    """Hold a project that is up: its own services are stopped, and started again in the end, however that comes.

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
    name = os.environ.get("COMPOSE_PROJECT_NAME", PROJECT)
    async with Supervisor(scratch) as supervisor, project(name, supervisor.journal) as there:
        say("containers", "stopping the services", None)
        every = [there[container_of(each.service, each.number)] for each in composed(topology).instances]
        own = [each for each in every if each.runs]
        try:
            await asyncio.gather(*(each.stop() for each in own))
            say("containers", "ready", 1.0)
            yield ComposeWorld(topology, there, supervisor, log)
        finally:
            await asyncio.gather(*(each.start() for each in own))
