"""The gate: every promise of a contract put to the test, each scenario in a cell of its own, and judged."""

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest

from brownout.admission import Admission
from brownout.archive import Archive
from brownout.cells.grafana import Grafana
from brownout.clock import steady_clock
from brownout.engine import run
from brownout.errors import CellError
from brownout.journeys import Journey
from brownout.judge import judged
from brownout.promises.promise import Checked, Trial, trials
from brownout.recording import Recording
from brownout.rounds import rounds
from brownout.timing import Timing
from brownout.topology import Topology
from brownout.verdict import Verdict
from brownout.workload.driver import HttpDriver
from brownout.world import Hold, Say, World, hold_world, watched

__all__ = ["run_gate"]

NEVER = 1_000_000
"""Collections of younger garbage until that of the old."""


async def run_gate(
    promises: tuple[Checked, ...],
    topology: Topology,
    journeys: Mapping[str, Journey],
    archive: Archive,
    stop: asyncio.Event,
    say: Say,
    retries: int = 0,
    hold: Hold = hold_world,
    grafana: str = "",
) -> tuple[tuple[Verdict, ...], Timing]:
    """Run what the archive's promises need, and judge their recordings; the verdicts are in the archive's order.

    Args:
        promises: all that there are: one of the archive may read the run of one that is not.
        topology: what the scenarios are run on.
        journeys: by name.
        archive: names what is to be judged, and keeps what happens.
        stop: asks the run to stop.
        say: told each phase.
        retries: how many times more what is INCONCLUSIVE is run; the last verdict holds. A FAIL is never run again.
        hold: what the cells are held in: processes of this machine, or the containers of `brownout.stack`.
        grafana: ``host:port`` of a Grafana that is told when what was broken; empty: none is.

    Raises:
        BrownoutError: it could not be run to the end; everything that it started has been ended.
        Stopped: ``stop`` was set.
    """
    begun_s = time.monotonic()
    gate = _Gate(trials(promises, topology, archive.promises), journeys, archive, say, grafana)
    with _unhurried():
        async with hold(topology, archive.log, say, stop) as world:
            verdicts = await watched(gate.everything(world, retries), world, stop)
    archive.add_verdicts(verdicts)
    return verdicts, Timing(gate.first_s - begun_s, gate.longest_s, time.monotonic() - begun_s)


@contextlib.contextmanager
def _unhurried() -> Iterator[None]:
    """Leave what has become old to the garbage collector's next life: the recordings.

    To look through all of them took up to 0.4 s, again and again, in which the harness did not see what it measures.
    """
    before = gc.get_threshold()
    gc.set_threshold(*before[:2], NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class _Gate:
    """The trials of one run."""

    def __init__(
        self, tried: tuple[Trial, ...], journeys: Mapping[str, Journey], archive: Archive, say: Say, grafana: str
    ) -> None:
        self._tried = _mixed(tried)
        self._journeys = journeys
        self._archive = archive
        self._say = say
        self._grafana = grafana
        self._admission = Admission()
        self._judged, self._of = 0, len(tried)
        self.first_s = 0.0
        self.longest_s = 0.0

    async def everything(self, world: World, retries: int) -> tuple[Verdict, ...]:
        """Put all to the test, and what is INCONCLUSIVE again."""
        async with HttpDriver() as driver:
            found = await rounds(self._tried, retries, partial(self._together, world, driver))
        return tuple(found[name] for name in self._archive.promises)

    async def _together(
        self, world: World, driver: HttpDriver, tried: Sequence[Trial], attempt: int
    ) -> Iterator[Verdict]:
        """Put some to the test at the same time, as far as there is room for them."""
        self._judged, self._of = 0, len(tried)
        self._count(0)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(world, driver, trial, attempt)) for trial in tried]
        return (verdict for task in tasks for verdict in task.result())

    async def _one(self, world: World, driver: HttpDriver, trial: Trial, attempt: int) -> tuple[Verdict, ...]:
        recording = await self._recording(world, driver, trial, attempt)
        verdicts = await asyncio.to_thread(_settle, self._archive, trial, recording, attempt)
        await self._annotate(recording)
        self._say(trial.scenario.name, ", ".join(verdict.ruling for verdict in verdicts), 1.0)
        self._count(1)
        return verdicts

    async def _annotate(self, recording: Recording) -> None:
        """Tell Grafana; what it shows judges nothing, so one that is away is no reason to stop."""
        if not self._grafana:
            return
        try:
            async with Grafana(self._grafana) as grafana:
                await grafana.annotate(recording)
        except CellError as error:
            self._say("grafana", str(error), None)

    def _count(self, more: int) -> None:
        self._judged += more
        self._say("gate", f"{self._judged} of {self._of} scenarios judged", self._judged / self._of)

    async def _recording(self, world: World, driver: HttpDriver, trial: Trial, attempt: int) -> Recording:
        scenario = trial.scenario
        cell_name = scenario.name if attempt == 1 else f"{scenario.name}_{attempt}"  # its databases are still there

        def tell(phase: str) -> None:
            self._say(scenario.name, phase, None)

        async with contextlib.AsyncExitStack() as stack:
            async with self._admission.starting():
                tell("starting its cell")
                cell = await stack.enter_async_context(
                    world.cell(
                        cell_name,
                        scenario.services,
                        instances=scenario.instances,
                        environment=scenario.environment,
                        private=scenario.private,
                    )
                )
            started_s = time.monotonic()
            self.first_s = self.first_s or started_s
            with self._archive.recorder(scenario.name, steady_clock(), attempt) as recorder:
                header = world.topology.deadline_header
                recording = await run(
                    scenario, cell, self._journeys, driver, recorder, deadline_header=header, say=tell
                )
            self.longest_s = max(self.longest_s, time.monotonic() - started_s)
            return recording


def _mixed(tried: Sequence[Trial]) -> list[Trial]:
    """The order to start in: the longest first, and after each a short one.

    Long scenarios mostly wait, and have their busiest time in the end; started one after another they would have it
    all at once, after a time in which the machine was idle. Short ones have no time to wait.
    """
    by_length = sorted(tried, key=lambda trial: trial.scenario.most_s(), reverse=True)
    half = (len(by_length) + 1) // 2
    pairs = zip_longest(by_length[:half], by_length[half:])
    return [trial for pair in pairs for trial in pair if trial]


def _settle(archive: Archive, trial: Trial, recording: Recording, attempt: int) -> tuple[Verdict, ...]:
    archive.add_telemetry(recording, attempt)
    return tuple(judged(promise, recording) for promise in trial.promises)
