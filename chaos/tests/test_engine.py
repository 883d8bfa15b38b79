"""The engine performs a scenario and writes everything down, in a cell without a system."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from brownout.cell import Bite, Cell
from brownout.cells.fake import FakeCell, FakeNetwork, FakeProcesses, FakeStores, FakeTelemetry
from brownout.clock import steady_clock
from brownout.engine import run
from brownout.errors import BrownoutError, FaultError
from brownout.faults import Latency, Outage, Terminated
from brownout.history import Outcome, Recorder
from brownout.journeys import Request, Response, requests_journey
from brownout.recording import Recording, Series
from brownout.scenario import (
    Answered,
    Bytes,
    Calls,
    Hold,
    Load,
    Messages,
    Put,
    Scenario,
    Seen,
    Select,
    Step,
    Wait,
    Watch,
)
from brownout.topology import Edge
from brownout.workload.driver import Answer

EDGE = Edge("orders", "users")
JOURNEYS = {"order": requests_journey((Request("orders", "POST", "/orders", json={}),))}
OK = Answer(Outcome.OK, {"status": 200}, Response(200))
BAD = Answer(Outcome.FAILED, {"status": 502}, Response(502))


class Scripted:
    """A driver that answers as it is told."""

    def __init__(self, answer: Callable[[Request], Answer], delay_s: float = 0.0) -> None:
        self._answer = answer
        self._delay_s = delay_s
        self.sent: list[Request] = []

    async def send(self, url: str, request: Request, timeout_s: float) -> Answer:
        assert url.startswith("http://")
        assert timeout_s > 0
        self.sent.append(request)
        await asyncio.sleep(self._delay_s)
        return self._answer(request)


def a_cell(stores: FakeStores | None = None, telemetry: FakeTelemetry | None = None) -> FakeCell:
    processes = FakeProcesses(orders=1, users=2)
    return FakeCell(FakeNetwork(EDGE), processes, telemetry or FakeTelemetry(), stores=stores)


async def perform(
    *steps: Step,
    cell: FakeCell | None = None,
    driver: Scripted | None = None,
    deadline_header: str = "",
    queries: tuple[str, ...] = (),
) -> Recording:
    return await run(
        Scenario("story", "order", steps, ("orders",), queries=queries),
        cell or a_cell(),
        JOURNEYS,
        driver or Scripted(lambda _: OK),
        Recorder(steady_clock()),
        deadline_header=deadline_header,
    )


def aborted(recording: Recording) -> list[Any]:
    return [event.detail["why"] for event in recording.history.alone("engine", "aborted")]


async def test_a_run_is_steady_before_and_after() -> None:
    recording = await perform()
    assert [o.ok for o in recording.history.requests("before")] == [True] * 3
    assert [o.ok for o in recording.history.requests("after")] == [True] * 3
    assert recording.history.alone("engine", "clean")[0].outcome is Outcome.OK
    assert aborted(recording) == []


async def test_every_request_starts_a_trace_of_its_own() -> None:
    driver = Scripted(lambda _: OK)
    recording = await perform(Calls("burst", "order", 20, together=True), driver=driver)
    traces = [o.trace_id for o in recording.history.requests("burst")]
    assert len(set(traces)) == 20
    headers = [r.headers["traceparent"] for r in driver.sent]
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", header) for header in headers)
    assert set(traces) <= {header.split("-")[1] for header in headers}


async def test_scripted_calls_keep_their_distance() -> None:
    recording = await perform(Calls("slowly", "order", 3, every_s=0.1))
    sent = [o.sent_ns for o in recording.history.requests("slowly")]
    assert all(later - sooner >= 0.09e9 for sooner, later in pairwise(sent))


async def test_the_deadline_travels_in_the_header_that_the_topology_names() -> None:
    driver = Scripted(lambda _: OK)
    await perform(Calls("hurried", "order", deadline_ms=500), driver=driver, deadline_header="X-Timeout-Ms")
    assert [r.headers.get("X-Timeout-Ms") for r in driver.sent].count("500") == 1


async def test_load_arrives_at_its_rate_whatever_becomes_of_those_before() -> None:
    slow = Scripted(lambda _: OK, delay_s=0.3)
    recording = await perform(Hold(Load("load", "order", rate=50), (Wait(0.5),)), driver=slow)
    arrivals = recording.history.operations("load", "load")
    assert 20 <= len(arrivals) <= 27
    assert all(o.ok for o in arrivals)


async def test_a_fault_is_read_back_bites_and_is_lifted() -> None:
    cell = a_cell()
    recording = await perform(Hold(Outage(EDGE), (Calls("broken", "order"),)), cell=cell)
    (fault,), (canary,) = recording.history.operations("fault"), recording.history.operations("canary")
    (lift,) = recording.history.operations("lift")
    (call,) = recording.history.requests("broken")
    assert fault.completed is not None
    assert fault.completed.detail == {"enabled": False}
    assert canary.ok
    assert lift.ok
    assert fault.answered_ns is not None
    assert fault.answered_ns <= call.sent_ns <= lift.sent_ns
    assert not cell.network.off


async def test_a_fault_that_cannot_be_put_in_force_ends_the_run_and_says_so() -> None:
    elsewhere = Edge("orders", "nowhere")
    recording = await perform(Hold(Latency(elsewhere, 100), (Calls("never", "order"),)))
    (fault,) = recording.history.operations("fault")
    assert fault.outcome is Outcome.FAILED
    assert recording.history.requests("never") == []
    assert aborted(recording) == ["orders -> nowhere: no such edge in this cell"]


class Toothless(Outage, frozen=True):
    """An outage whose canary sees nothing of it."""

    async def bites(self, cell: Cell) -> Bite:
        return Bite(bit=await cell.heal() == [], seen="answered after 0.001 s")


async def test_a_fault_that_does_not_bite_is_recorded_as_such() -> None:
    recording = await perform(Hold(Toothless(EDGE), (Wait(0.05),)))
    (canary,) = recording.history.operations("canary")
    assert canary.outcome is Outcome.FAILED


class Sticky(Outage, frozen=True):
    """An outage that cannot be lifted."""

    @asynccontextmanager
    async def injected(self, cell: Cell) -> AsyncIterator[dict[str, Any]]:
        yield await cell.network.switch(self.edge, on=False)
        raise FaultError(str(self.edge), "the proxy does not answer")


async def test_a_fault_that_cannot_be_lifted_is_healed_in_the_end_and_named() -> None:
    cell = a_cell()
    recording = await perform(Hold(Sticky(EDGE), ()), cell=cell)
    (clean,) = recording.history.alone("engine", "clean")
    assert clean.outcome is Outcome.FAILED
    assert clean.detail["left"] == ["orders -> users switched off"]
    assert aborted(recording) == ["orders -> users: the proxy does not answer"]


async def test_a_terminated_instance_is_seen_to_end_and_is_started_again() -> None:
    cell = a_cell()
    recording = await perform(Hold(Terminated("users", 1), ()), cell=cell)
    (canary,) = recording.history.operations("canary")
    assert canary.completed is not None
    assert canary.completed.detail["exit_code"] == 0
    assert cell.processes.exit_codes["users", 1] is None


async def test_a_wait_ends_when_what_it_waits_for_is_seen() -> None:
    up = Seen("watch", "health", Outcome.OK, {"body": {"status": "UP"}})
    told = Answer(Outcome.OK, {"status": 200, "body": {"status": "UP", "database": "UP"}}, Response(200))
    watch = Watch("health", "orders", "/health", every_s=0.05)
    recording = await perform(Hold(watch, (Wait(10, until=up),)), driver=Scripted(lambda _: told))
    (wait,) = [o for o in recording.history.operations("step") if o.invoked.action.startswith("wait")]
    assert wait.duration_s < 2


async def test_a_wait_may_count_from_the_end_of_an_earlier_step() -> None:
    recording = await perform(Calls("trip", "order"), Wait(0.2), Wait(0.3, since="trip"), Calls("next", "order"))
    (trip,), (later,) = recording.history.requests("trip"), recording.history.requests("next")
    assert trip.answered_ns is not None
    assert 0.29e9 <= later.sent_ns - trip.answered_ns <= 0.45e9


async def test_bytes_are_noted_for_the_edge() -> None:
    recording = await perform(Bytes(EDGE))
    (noted,) = recording.history.alone("bytes", "orders -> users")
    assert noted.detail == {"upstream": 0, "downstream": 0}


async def test_a_system_that_is_not_steady_afterwards_is_asked_until_the_time_is_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("brownout.engine.RECOVERY_S", 0.5)
    recording = await perform(driver=Scripted(lambda _: BAD))
    after = recording.history.requests("after")
    assert len(after) >= 2
    assert not any(o.ok for o in after)


async def test_a_run_that_is_too_long_is_ended_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brownout.engine.LONGEST_S", 0.3)
    cell = a_cell()
    recording = await perform(Hold(Outage(EDGE), (Wait(30),)), cell=cell)
    assert aborted(recording) == ["longer than 0.3 s"]
    assert not cell.network.off


TABLE = ("mailer", "SELECT id FROM mail")
PLACED = Answer(Outcome.OK, {"status": 201, "body": {"id": 7}}, Response(201, {"id": 7}))


async def test_a_key_is_written_and_the_history_says_when_and_what() -> None:
    cell = a_cell()
    recording = await perform(Put("mailer/rate", "5"), cell=cell)
    (write,) = recording.history.operations("put", "mailer/rate")
    assert write.ok
    assert write.invoked.detail == {"value": "5"}
    assert cell.configuration.values == {"mailer/rate": "5"}


async def test_rows_are_read_as_they_are_when_nothing_is_waited_for() -> None:
    cell = a_cell(FakeStores({TABLE: [{"id": "7"}]}))
    recording = await perform(Select("mail", *TABLE), cell=cell)
    (reading,) = recording.history.operations("select", "mail")
    assert reading.ok
    assert reading.completed is not None
    assert reading.completed.detail == {"rows": [{"id": "7"}]}


async def test_rows_are_read_again_until_everything_answered_before_is_among_them() -> None:
    rows: list[dict[str, Any]] = []
    asyncio.get_running_loop().call_later(1.2, rows.append, {"id": "7"})
    steps = Calls("placed", "order"), Select("mail", *TABLE, until=Answered("placed", "id"), within_s=10)
    recording = await perform(*steps, cell=a_cell(FakeStores({TABLE: rows})), driver=Scripted(lambda _: PLACED))
    (reading,) = recording.history.operations("select", "mail")
    assert reading.ok
    assert 0.4 <= reading.duration_s < 5


async def test_what_does_not_come_is_waited_for_no_longer_than_its_bound() -> None:
    steps = Calls("placed", "order"), Messages("mail", "mail", until=Answered("placed", "id"), within_s=0.3)
    cell = a_cell(FakeStores(messages={"mail": [{"key": "8", "value": {"id": 8}, "headers": {}}]}))
    recording = await perform(*steps, cell=cell, driver=Scripted(lambda _: PLACED))
    (reading,) = recording.history.operations("messages", "mail")
    assert reading.outcome is Outcome.FAILED
    assert 0.3 <= reading.duration_s < 5
    assert aborted(recording) == []


async def test_an_answer_is_found_inside_a_message() -> None:
    steps = Calls("placed", "order"), Messages("mail", "mail", until=Answered("placed", "id"), within_s=60)
    cell = a_cell(FakeStores(messages={"mail": [{"key": None, "value": {"orders": [{"id": "7"}]}, "headers": {}}]}))
    recording = await perform(*steps, cell=cell, driver=Scripted(lambda _: PLACED))
    assert recording.history.operations("messages", "mail")[0].ok


@pytest.mark.parametrize("phase", ["placed", None])
@pytest.mark.parametrize(("to", "outcome"), [("POST /orders", Outcome.FAILED), ("GET", Outcome.OK)])
async def test_only_answers_that_are_meant_are_waited_for(phase: str | None, to: str, outcome: Outcome) -> None:
    steps = Calls("placed", "order"), Messages("mail", "mail", until=Answered(phase, "id", to))
    recording = await perform(*steps, driver=Scripted(lambda _: PLACED))
    assert recording.history.operations("messages", "mail")[0].outcome is outcome


async def test_a_table_that_is_not_there_ends_the_run_and_says_so() -> None:
    recording = await perform(Select("mail", *TABLE))
    assert aborted(recording) == ["mailer: no such table: SELECT id FROM mail"]


async def test_queries_are_answered_once_the_run_is_over() -> None:
    telemetry = FakeTelemetry(queried={"up": [Series({}, [(0.0, 1.0)])]})
    recording = await perform(cell=a_cell(telemetry=telemetry), queries=("up",))
    assert recording.queried == {"up": [Series({}, [])]}  # its one point is not of this time


async def test_a_query_that_is_refused_is_noted_and_spoils_nothing() -> None:
    telemetry = FakeTelemetry(queried={"up": []})
    recording = await perform(cell=a_cell(telemetry=telemetry), queries=("u(p", "up"))
    (noted,) = recording.history.alone("query", "u(p")
    assert (noted.outcome, noted.detail) == (Outcome.FAILED, {"why": "prometheus: u(p: unknown"})
    assert recording.queried == {"up": []}
    assert aborted(recording) == []


class Slowing(Scripted):
    """A driver that is quick until the system was seen to be steady, and slow ever after."""

    async def send(self, url: str, request: Request, timeout_s: float) -> Answer:
        self._delay_s = 20 if len(self.sent) >= 3 else 0
        return await super().send(url, request, timeout_s)


@pytest.mark.parametrize("held_s", [30, 0.1])  # it is ended within the load, or while that winds down
async def test_a_run_that_is_too_long_leaves_no_request_under_way(
    monkeypatch: pytest.MonkeyPatch, held_s: float
) -> None:
    monkeypatch.setattr("brownout.engine.LONGEST_S", 1)
    begun_s = time.monotonic()
    load = Hold(Load("load", "order", rate=20), (Wait(held_s),))
    recording = await perform(load, driver=Slowing(lambda _: OK))
    assert time.monotonic() - begun_s < 5
    assert recording.history.requests("load")
    assert aborted(recording) == ["longer than 1 s"]
    assert len(asyncio.all_tasks()) == 1


async def test_a_time_out_of_another_making_is_not_called_the_runs_own() -> None:
    def expire(_: Request) -> Answer:
        raise TimeoutError("the proxy is silent")

    recording = await perform(driver=Scripted(expire))
    assert aborted(recording) == ["TimeoutError: the proxy is silent"]


async def test_whatever_breaks_the_engine_ends_the_run_and_is_named() -> None:
    recording = await perform(Wait(1, since="nothing"))
    assert aborted(recording) == ["KeyError: 'nothing'"]
    assert recording.history.alone("engine", "clean")[0].outcome is Outcome.OK


class Exhausted(Scripted):
    """A driver that has nothing left to send the fifth request with."""

    async def send(self, url: str, request: Request, timeout_s: float) -> Answer:
        if len(self.sent) == 4:
            raise BrownoutError("harness", "cannot connect: Too many open files")
        return await super().send(url, request, timeout_s)


async def test_of_calls_sent_together_none_is_under_way_once_the_harness_has_given_up() -> None:
    driver = Exhausted(lambda _: OK, delay_s=0.1)
    recording = await perform(Calls("together", "order", 3, together=True), driver=driver)
    assert aborted(recording) == ["harness: cannot connect: Too many open files"]
    assert len(recording.history.requests("together")) >= 2
    assert len(asyncio.all_tasks()) == 1


async def test_a_fault_that_was_lifted_is_so_although_a_step_within_it_failed() -> None:
    elsewhere = Latency(Edge("orders", "nowhere"), 100)
    recording = await perform(Hold(Outage(EDGE), (Hold(elsewhere, ()),)))
    (lift,) = recording.history.operations("lift")
    assert (lift.invoked.action, lift.outcome) == (str(Outage(EDGE)), Outcome.OK)


async def test_a_watch_says_when_each_question_was_due() -> None:
    recording = await perform(Hold(Watch("health", "orders", "/health", every_s=0.1), (Wait(0.35),)))
    asked = recording.history.operations("watch", "health")
    assert len(asked) >= 3
    for one in asked:
        assert 0 <= one.sent_ns - one.invoked.detail["due_ns"] < 0.1e9


def late_s(recording: Recording) -> list[float]:
    return [event.detail["late_s"] for event in recording.history.alone("engine", "late")]


async def test_a_harness_that_is_held_up_says_for_how_long() -> None:
    def stall(_: Request) -> Answer:
        time.sleep(0.4)  # as a starved machine would, all at once
        return OK

    noted = late_s(await perform(driver=Scripted(stall)))
    assert len(noted) >= 2
    assert 0.3 <= noted[-1] < 2


async def test_a_harness_that_kept_time_says_so() -> None:
    assert len(late_s(await perform(Wait(0.3)))) >= 1


async def test_what_became_of_the_processors_time_is_noted_each_second() -> None:
    recording = await perform(Wait(1.2))
    (sample, *_) = recording.history.alone("engine", "host")
    assert sample.detail["sampled_s"] >= 1
    assert 0 <= sample.detail["stolen"] <= 1
    assert 0 <= sample.detail["busy"] <= 1
    assert sample.detail["kept_waiting"] == {}
