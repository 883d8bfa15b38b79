"""The gate: every promise of a contract put to the test at the same time, each in a cell of its own, and judged."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from brownout.archive import Archive
from brownout.cells.local import World, local_cell
from brownout.clock import steady_clock
from brownout.engine import run
from brownout.errors import BrownoutError, ProcessError
from brownout.journeys import Journey
from brownout.judge import judged
from brownout.promises.promise import Promise
from brownout.recording import Recording
from brownout.servers import provide, running
from brownout.topology import Topology
from brownout.undo.supervisor import Supervisor
from brownout.verdict import Verdict
from brownout.workload.driver import HttpDriver

__all__ = ["Say", "Stopped", "Timing", "hold_world", "run_gate", "watched"]

T = TypeVar("T")

Say = Callable[[str, str, float | None], None]
"""Told what a subject is doing, and the fraction done where it is known."""


class Stopped(BaseException):
    """The run was asked to stop; everything it started has been ended."""


class Timing(msgspec.Struct):
    """How long a gate took, in seconds: from its call to its first step, its longest scenario, and to its end."""

    prepared_s: float = 0.0
    longest_s: float = 0.0
    whole_s: float = 0.0


async def run_gate(
    promises: tuple[Promise, ...],
    topology: Topology,
    journeys: Mapping[str, Journey],
    archive: Archive,
    stop: asyncio.Event,
    say: Say,
) -> tuple[tuple[Verdict, ...], Timing]:
    """Run all scenarios of a contract and judge their recordings.

    Raises:
        BrownoutError: it could not be run to the end; everything that it started has been ended.
        Stopped: ``stop`` was set.
    """
    begun_s = time.monotonic()
    timing = Timing()
    barrier = asyncio.Barrier(len(promises))

    async def everything(world: World) -> tuple[Verdict, ...]:
        async with HttpDriver() as driver, asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(world, promise, driver)) for promise in promises]
        return tuple(task.result() for task in tasks)

    async def one(world: World, promise: Promise, driver: HttpDriver) -> Verdict:
        scenario = promise.scenario(topology)

        def tell(phase: str, fraction: float | None = None) -> None:
            say(promise.name, phase, fraction)

        tell("starting its cell")
        async with local_cell(
            world,
            scenario.name,
            scenario.services,
            instances=scenario.instances,
            environment=scenario.environment,
        ) as cell:
            tell("cell ready")
            await barrier.wait()
            timing.prepared_s = timing.prepared_s or time.monotonic() - begun_s
            started_s = time.monotonic()
            with archive.recorder(scenario.name, steady_clock()) as recorder:
                recording = await run(
                    scenario,
                    cell,
                    journeys,
                    driver,
                    recorder,
                    deadline_header=topology.deadline_header,
                    say=tell,
                )
            timing.longest_s = max(timing.longest_s, time.monotonic() - started_s)
        verdict = await asyncio.to_thread(_settle, archive, promise, recording)
        tell(verdict.ruling, 1.0)
        return verdict

    async with hold_world(topology, archive.log, say) as world:
        verdicts = await watched(everything(world), world.supervisor, stop)
    archive.add_verdicts(verdicts)
    timing.whole_s = time.monotonic() - begun_s
    return verdicts, timing


def _settle(archive: Archive, promise: Promise, recording: Recording) -> Verdict:
    archive.add_telemetry(recording)
    return judged(promise, recording)


@contextlib.asynccontextmanager
async def hold_world(topology: Topology, log: Callable[[str], Path], say: Say) -> AsyncIterator[World]:
    """Hold the real servers open, behind a watchdog that is started first.

    Raises:
        BrownoutError: a server can neither be found nor built, or does not start.
    """
    programs = await provide(say)
    scratch = Path(tempfile.mkdtemp(prefix="brownout-"))
    async with Supervisor(scratch) as supervisor:
        say("servers", "starting", None)
        async with running(programs, supervisor, scratch, log) as servers:
            say("servers", "ready", 1.0)
            yield World(topology, servers, supervisor, log)


async def watched(work: Awaitable[T], supervisor: Supervisor, stop: asyncio.Event) -> T:
    """The result of some work, unless the run is stopped or its watchdog goes away before.

    A stop ends all processes first and unwinds the work afterwards: nothing that a fault would put back in order
    outlives the run, so there is no reason to wait for it.

    Raises:
        Stopped: ``stop`` was set first.
        ProcessError: the watchdog went away first.
        BrownoutError: the first failure of the work.
    """
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    losing = asyncio.ensure_future(supervisor.lost.wait())
    await asyncio.wait({working, stopping, losing}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    losing.cancel()
    if not working.done():
        try:
            await supervisor.end()
        finally:
            working.cancel()
            await asyncio.wait([asyncio.gather(working, return_exceptions=True)], timeout=1)
        raise Stopped if stop.is_set() else ProcessError("watchdog", "it has gone, and the run with it")
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
