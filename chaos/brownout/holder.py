"""The holder of a running system: starts it, and keeps it up until it is asked to end."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from brownout.cells.local import LocalCell, World, local_cell
from brownout.held import Held
from brownout.live import State, claimed, write_state
from brownout.mending import began_at
from brownout.topology import Topology, read_topology
from brownout.workload.driver import HttpDriver
from brownout.world import Say, hold_world, watched

__all__ = ["hold_system"]

CELL = "up"
"""The cell's name."""


async def hold_system(
    topology: Path, runs: Path, stop: asyncio.Event, say: Say, ready: Callable[[State], None]
) -> None:
    """Start the whole system and hold it up until it is stopped.

    Args:
        topology: the file that says how it is wired.
        runs: the folder below which its state and logs go, in ``up``.
        stop: asks it to end.
        say: told each phase until it is up.
        ready: told once everything is.

    Raises:
        BrownoutError: one is up already, this one could not be started, or it lost its watchdog.
        Stopped: ``stop`` was set; nothing of it is left.
    """
    system = read_topology(topology)
    with claimed(runs) as folder:
        state = _beginning(topology, system)
        write_state(folder, state)
        async with hold_world(system, lambda name: folder / f"{name}.log", say, stop) as world:
            state = msgspec.structs.replace(state, control=str(world.supervisor.scratch / "control.sock"))
            write_state(folder, state)

            def up(cell: LocalCell) -> None:
                whole = _with_addresses(state, cell, world)
                write_state(folder, whole)
                ready(whole)

            await watched(_hold_cell(world, state.control, say, up), world, stop)


async def _hold_cell(world: World, control: str, say: Say, up: Callable[[LocalCell], None]) -> None:
    services = tuple(world.topology.services)
    say(CELL, f"starting {len(services)} services", None)
    async with (
        local_cell(world, CELL, services) as cell,
        HttpDriver() as driver,
        Held(cell, world.topology, driver).listening(control),
    ):
        say(CELL, "ready", 1.0)
        up(cell)
        await asyncio.Event().wait()


def _beginning(topology: Path, system: Topology) -> State:
    return State(os.getpid(), began_at(os.getpid()) or 0, str(topology.absolute()), system.entry)


def _with_addresses(state: State, cell: LocalCell, world: World) -> State:
    names = ("toxiproxy", "consul", "jaeger", "prometheus")
    return msgspec.structs.replace(
        state,
        addresses={name: cell.url(name) for name in world.topology.services},
        servers={name: f"http://{getattr(world.servers, name)}" for name in names},
    )
