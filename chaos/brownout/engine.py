"""The engine: performs a scenario in a cell and returns its recording."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from brownout.cell import Cell, Fault
from brownout.errors import BrownoutError
from brownout.history import Event, Outcome, Recorder
from brownout.journeys import Journey, Request
from brownout.recording import Recording
from brownout.scenario import Bytes, Calls, Hold, Load, Scenario, Step, Wait, Watch
from brownout.workload.driver import Driver
from brownout.workload.traffic import Traffic

__all__ = ["LONGEST_S", "run"]

LONGEST_S = 150.0
"""No scenario lasts longer; one that would is ended, and its recording says so."""

STEADY_CALLS = 3
"""Calls of the steady journey that have to succeed in a row before and after."""

RECOVERY_S = 15.0
"""How long the steady state may take to come back after the last step."""


async def run(
    scenario: Scenario,
    cell: Cell,
    journeys: Mapping[str, Journey],
    driver: Driver,
    recorder: Recorder,
    *,
    deadline_header: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> Recording:
    """Perform a scenario: steady before, the steps, every fault lifted, steady after, all telemetry collected.

    What goes wrong on the way is written into the history and judged there; it raises nothing but cancellation.

    Args:
        scenario: what to do.
        cell: where to do it; ready and clean.
        journeys: by name; all that the scenario names.
        driver: sends requests.
        recorder: where everything is written as it happens.
        deadline_header: see `Topology`.
        say: told each phase as it begins, for the terminal.
    """
    traffic = Traffic(journeys, cell.url, driver, recorder, deadline_header=deadline_header, seed=scenario.seed)
    performance = _Performance(scenario, cell, traffic, driver, recorder, say)
    begin_ns = recorder.now_ns()
    try:
        async with asyncio.timeout(LONGEST_S):
            await performance.whole()
    except TimeoutError:
        recorder.note("engine", "aborted", Outcome.FAILED, why=f"longer than {LONGEST_S:g} s")
    except BrownoutError as error:
        recorder.note("engine", "aborted", Outcome.FAILED, why=str(error))
    return await _recording(scenario, cell, recorder, begin_ns, say)


async def _recording(
    scenario: Scenario, cell: Cell, recorder: Recorder, begin_ns: int, say: Callable[[str], None]
) -> Recording:
    """Heal what is left, prove the cell clean, and collect what the observing servers know."""
    say("collecting")
    try:
        left = await cell.heal()
        recorder.note("engine", "clean", Outcome.FAILED if left else Outcome.OK, left=left)
        traces = frozenset(event.trace_id for event in recorder.history if event.trace_id)
        spans, series = await cell.telemetry.collect(begin_ns, recorder.now_ns(), traces)
    except BrownoutError as error:
        recorder.note("engine", "aborted", Outcome.FAILED, why=str(error))
        spans, series = [], []
    return Recording(scenario.name, cell.name, recorder.history, spans, series)


class _Performance:
    """One run of a scenario under way."""

    def __init__(
        self,
        scenario: Scenario,
        cell: Cell,
        traffic: Traffic,
        driver: Driver,
        recorder: Recorder,
        say: Callable[[str], None],
    ) -> None:
        self._scenario = scenario
        self._cell = cell
        self._traffic = traffic
        self._driver = driver
        self._recorder = recorder
        self._say = say
        self._ended_ns: dict[str, int] = {}

    async def whole(self) -> None:
        for journey in _journeys_of(self._scenario):
            await self._traffic.arrange(journey)
        await self._step(Calls("before", self._scenario.steady, STEADY_CALLS, every_s=0.1))
        await self._all(self._scenario.steps)
        await self._recovered()

    async def _recovered(self) -> None:
        """Call the steady journey until it succeeds several times in a row, or its time is up."""
        self._say("after")
        call = Calls("after", self._scenario.steady)
        last_ns = self._recorder.now_ns() + int(RECOVERY_S * 1e9)
        in_a_row = 0
        while in_a_row < STEADY_CALLS and self._recorder.now_ns() < last_ns:
            operations = await self._traffic.calls(call)
            in_a_row = in_a_row + 1 if all(operation.ok for operation in operations) else 0
            await asyncio.sleep(0.2)

    async def _all(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            await self._step(step)

    async def _step(self, step: Step) -> None:
        name = _name(step)
        self._say(name)
        begun = self._recorder.begin("step", name)
        match step:
            case Wait():
                await self._wait(step, begun)
            case Calls():
                await self._traffic.calls(step)
            case Bytes():
                carried = await self._cell.network.carried_bytes(step.edge)
                self._recorder.note("bytes", str(step.edge), Outcome.OK, **carried)
            case Hold():
                async with self._held(step.what):
                    await self._all(step.steps)
        self._ended_ns[name] = self._recorder.end(begun, Outcome.OK).at_ns

    async def _wait(self, wait: Wait, begun: Event) -> None:
        since_ns = self._ended_ns[wait.since] if wait.since else begun.at_ns
        until_ns = since_ns + int(wait.seconds * 1e9)
        if wait.until is None:
            await asyncio.sleep(max(0, until_ns - self._recorder.now_ns()) / 1e9)
            return
        read = begun.index
        while self._recorder.now_ns() < until_ns:
            events = self._recorder.history.events
            if any(wait.until.matches(event) for event in events[read:]):
                return
            read = len(events)
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def _held(self, what: Fault | Load | Watch) -> AsyncIterator[None]:
        if isinstance(what, Load):
            async with _background(self._traffic.load(what)):
                yield
        elif isinstance(what, Watch):
            async with _background(self._watch(what)):
                yield
        else:
            async with self._fault(what):
                yield

    @asynccontextmanager
    async def _fault(self, fault: Fault) -> AsyncIterator[None]:
        """Hold a fault, with its entry, its canary and its end in the history: surely on, and perhaps on."""
        entering = self._recorder.begin("fault", str(fault))
        lifting: Event | None = None
        try:
            async with fault.injected(self._cell) as said:
                self._recorder.end(entering, Outcome.OK, **said)
                canary = asyncio.create_task(self._canary(fault))
                try:
                    yield
                    await canary
                finally:
                    canary.cancel()
                    await asyncio.wait([canary])
                    lifting = self._recorder.begin("lift", str(fault))
        except BrownoutError as error:
            self._recorder.end(lifting or entering, Outcome.FAILED, error=str(error))
            raise
        if lifting is not None:
            self._recorder.end(lifting, Outcome.OK)

    async def _canary(self, fault: Fault) -> None:
        begun = self._recorder.begin("canary", str(fault))
        try:
            bite = await fault.bites(self._cell)
        except asyncio.CancelledError:
            self._recorder.end(begun, Outcome.UNKNOWN, seen="the fault was lifted before it was known")
            raise
        except BrownoutError as error:
            self._recorder.end(begun, Outcome.UNKNOWN, seen=str(error))
            return
        outcome = Outcome.OK if bite.bit else Outcome.FAILED
        self._recorder.end(begun, outcome, seen=bite.seen, **bite.detail)

    async def _watch(self, watch: Watch) -> None:
        request = Request(watch.service, "GET", watch.path)
        url = self._cell.side_url(watch.service) if watch.aside else self._cell.url(watch.service)
        due_ns = self._recorder.now_ns()
        while True:
            begun = self._recorder.begin("watch", watch.name)
            answer = await self._driver.send(url, request, watch.timeout_s)
            self._recorder.end(begun, answer.outcome, **answer.detail)
            due_ns = max(due_ns + int(watch.every_s * 1e9), self._recorder.now_ns())
            await asyncio.sleep(max(0, due_ns - self._recorder.now_ns()) / 1e9)


@asynccontextmanager
async def _background(work: Any) -> AsyncIterator[None]:
    """Do something beside the steps; end it with them, and let its own failure be theirs."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


def _name(step: Step) -> str:
    match step:
        case Calls():
            return step.phase
        case Wait():
            return f"wait {step.seconds:g} s"
        case Bytes():
            return f"bytes of {step.edge}"
        case Hold(what=Load() as load):
            return load.phase
        case Hold(what=Watch() as watch):
            return f"watch {watch.name}"
        case Hold():
            return str(step.what)


def _journeys_of(scenario: Scenario) -> list[str]:
    names = [scenario.steady]

    def visit(steps: tuple[Step, ...]) -> None:
        for step in steps:
            if isinstance(step, Calls):
                names.append(step.journey)
            elif isinstance(step, Hold):
                if isinstance(step.what, Load):
                    names.append(step.what.journey)
                visit(step.steps)

    visit(scenario.steps)
    return list(dict.fromkeys(names))
