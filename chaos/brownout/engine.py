"""The engine: performs a scenario in a cell and returns its recording."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from brownout.cell import Cell, Fault
from brownout.errors import BrownoutError
from brownout.history import Event, Outcome, Recorder
from brownout.journeys import Journey, Request
from brownout.recording import Recording, Series
from brownout.scenario import (
    LONGEST_S,
    Bytes,
    Calls,
    Forget,
    Hold,
    Load,
    Lookup,
    Messages,
    Publish,
    Put,
    Scenario,
    Select,
    Step,
    Wait,
    Watch,
    name_of,
)
from brownout.workload.beside import Beside
from brownout.workload.driver import Driver
from brownout.workload.pulse import pulse
from brownout.workload.traffic import Traffic

__all__ = ["run"]

STEADY_CALLS = 3
"""Calls of the steady journey that have to succeed in a row before and after."""

RECOVERY_S = 15.0
"""How long the steady state may take to come back after the last step."""

READ_EVERY_S = 0.5
"""From one reading of rows or messages to the next, while they are waited for."""


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
    limit = asyncio.timeout(LONGEST_S)
    try:
        async with limit, pulse(recorder, cell.processes.waited_s):
            await performance.whole()
    except Exception as error:  # noqa: BLE001 - whatever it was, the run says nothing, and has to say so
        why = f"longer than {LONGEST_S:g} s" if limit.expired() else _told(error)
        recorder.note("engine", "aborted", Outcome.FAILED, why=why)
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
        end_ns = recorder.now_ns()
        spans, series = await cell.telemetry.collect(begin_ns, end_ns, traces)
        queried = await _queried(scenario, cell, recorder, begin_ns, end_ns)
    except Exception as error:  # noqa: BLE001 - same
        recorder.note("engine", "aborted", Outcome.FAILED, why=_told(error))
        spans, series, queried = [], [], {}
    return Recording(scenario.name, cell.name, recorder.history, spans, series, queried)


async def _queried(
    scenario: Scenario, cell: Cell, recorder: Recorder, begin_ns: int, end_ns: int
) -> dict[str, list[Series]]:
    """What the scenario's queries come to; one that fails says so, and takes nothing from the others."""
    queried: dict[str, list[Series]] = {}
    for query in scenario.queries:
        try:
            queried[query] = await cell.telemetry.evaluate(query, begin_ns, end_ns)
        except BrownoutError as error:
            recorder.note("query", query, Outcome.FAILED, why=str(error))
    return queried


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
        for journey in self._scenario.journeys():
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
        name = name_of(step)
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
            case Select() | Messages():
                await self._read(step)
            case Put() | Publish() | Forget() | Lookup():
                await self._done_beside(step)
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

    async def _read(self, step: Select | Messages) -> None:
        """Read once, or until what was answered before is there: the last reading is the one that is kept."""
        begun = self._recorder.begin("select" if isinstance(step, Select) else "messages", step.name)
        wanted = step.until.values(self._recorder.history) if step.until else set()
        last_ns = begun.at_ns + int(step.within_s * 1e9)
        while True:
            last = self._recorder.now_ns() >= last_ns
            rows = await self._rows(step)
            missing = wanted - set(_words(rows))
            if last or not missing:
                break
            await asyncio.sleep(READ_EVERY_S)
        self._recorder.end(begun, Outcome.FAILED if missing else Outcome.OK, rows=rows)

    async def _done_beside(self, step: Put | Publish | Forget | Lookup) -> None:
        """What is done at the servers themselves, past all proxies."""
        match step:
            case Put():
                begun = self._recorder.begin("put", step.key, value=step.value)
                await self._cell.configuration.put(step.key, step.value)
                said: dict[str, Any] = {}
            case Publish():
                begun = self._recorder.begin("publish", step.topic, value=step.value)
                said = {"messages": await self._cell.stores.publish(step.topic, step.value)}
            case Forget():
                begun = self._recorder.begin("forget", step.service)
                said = {"instances": await self._cell.registry.forget(step.service)}
            case Lookup():
                begun = self._recorder.begin("lookup", step.service)
                said = {"instances": await self._cell.registry.passing(step.service)}
        self._recorder.end(begun, Outcome.OK, **said)

    async def _rows(self, step: Select | Messages) -> list[dict[str, Any]]:
        if isinstance(step, Select):
            return await self._cell.stores.select(step.service, step.sql)
        return await self._cell.stores.messages(step.topic)

    @asynccontextmanager
    async def _held(self, what: Fault | Load | Watch) -> AsyncIterator[None]:
        if isinstance(what, Load):
            async with self._traffic.load(what):
                yield
        elif isinstance(what, Watch):
            async with Beside() as beside:
                beside.begin(self._watch(what))
                yield
        else:
            async with self._fault(what):
                yield

    @asynccontextmanager
    async def _fault(self, fault: Fault) -> AsyncIterator[None]:
        """Hold a fault, with its entry, its canary and its end in the history: surely on, and perhaps on."""
        held = AsyncExitStack()
        await self._recorded("fault", fault, held.enter_async_context(fault.injected(self._cell)))
        try:
            async with Beside() as beside:
                canary = beside.begin(self._canary(fault))
                yield
                await canary
        finally:
            await self._recorded("lift", fault, held.aclose())

    async def _recorded(self, actor: str, fault: Fault, doing: Awaitable[dict[str, Any] | None]) -> None:
        begun = self._recorder.begin(actor, str(fault))
        try:
            said = await doing
        except Exception as error:
            self._recorder.end(begun, Outcome.FAILED, error=_told(error))
            raise
        self._recorder.end(begun, Outcome.OK, **(said or {}))

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
            begun = self._recorder.begin("watch", watch.name, due_ns=due_ns)
            answer = await self._driver.send(url, request, watch.timeout_s)
            self._recorder.end(begun, answer.outcome, **answer.detail)
            due_ns = max(due_ns + int(watch.every_s * 1e9), self._recorder.now_ns())
            await asyncio.sleep(max(0, due_ns - self._recorder.now_ns()) / 1e9)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, BrownoutError) else f"{type(error).__name__}: {error}"


def _words(value: Any) -> Iterator[str]:
    """Every single value in rows, tables within tables included, as text."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _words(part)
    else:
        yield str(value)
