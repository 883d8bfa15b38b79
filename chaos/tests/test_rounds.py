"""Rounds of a gate: what is INCONCLUSIVE is run again, a FAIL never, and the verdict tells of each time."""

import asyncio
from collections.abc import Iterator, Sequence

import msgspec
import pytest

from brownout.errors import CellError
from brownout.judge import repeated, settled
from brownout.promises.promise import Checked, NoEvidenceError, Trial
from brownout.recording import Recording
from brownout.rounds import rounds
from brownout.scenario import Scenario
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

PASS, FAIL, UNKNOWN = Ruling.PASS, Ruling.FAIL, Ruling.INCONCLUSIVE


class Known(Checked, frozen=True):
    """A promise that is kept once its recording has enough requests."""

    fewest: int = 1

    def examine(self, recording: Recording) -> Verdict:
        if (number := len(recording.history.requests("load"))) < self.fewest:
            raise NoEvidenceError(f"only {number} requests")
        return self.kept("enough requests")


class Performed:
    """Trials whose promises have the rulings of a table, one for each time; what was run is kept."""

    def __init__(self, **rulings: Sequence[Ruling]) -> None:
        self.rulings = rulings
        self.times: list[list[str]] = []

    async def __call__(self, trials: Sequence[Trial], attempt: int) -> Iterator[Verdict]:
        names = [promise.name for trial in trials for promise in trial.promises]
        self.times.append(names)
        return (Verdict(name, "1", self.rulings[name][attempt - 1], f"as in {attempt}") for name in names)

    def judged(self, retries: int) -> dict[str, tuple[Ruling, str]]:
        trials = [Trial(Scenario(name, "order", (), ()), (Known(name=name, clause="1"),)) for name in self.rulings]
        found = asyncio.run(rounds(trials, retries, self))
        return {name: (verdict.ruling, verdict.reason) for name, verdict in found.items()}


def test_what_is_inconclusive_is_run_again_and_the_last_verdict_holds() -> None:
    performed = Performed(kept=[PASS], unsure=[UNKNOWN, PASS], bad=[UNKNOWN, FAIL])
    assert performed.judged(1) == {
        "kept": (PASS, "as in 1"),
        "unsure": (PASS, "INCONCLUSIVE the 1st time: as in 1; PASS the 2nd: as in 2"),
        "bad": (FAIL, "INCONCLUSIVE the 1st time: as in 1; FAIL the 2nd: as in 2"),
    }
    assert performed.times == [["kept", "unsure", "bad"], ["unsure", "bad"]]


def test_a_fail_is_never_run_again() -> None:
    performed = Performed(broken=[FAIL])
    assert performed.judged(9) == {"broken": (FAIL, "as in 1")}
    assert performed.times == [["broken"]]


def test_what_is_inconclusive_by_the_systems_own_doing_is_never_run_again() -> None:
    times = []

    async def perform(_: Sequence[Trial], attempt: int) -> list[Verdict]:
        times.append(attempt)
        return [Verdict("slow", "1", UNKNOWN, "not steady in the end", final=True)]

    trial = Trial(Scenario("slow", "order", (), ()), (Known(name="slow", clause="1"),))
    found = asyncio.run(rounds([trial], 9, perform))
    assert found["slow"].reason == "not steady in the end"
    assert times == [1]


def test_a_round_that_cannot_be_run_to_its_end_takes_no_verdict_away() -> None:
    first = Performed(broken=[FAIL], unsure=[UNKNOWN])

    async def perform(trials: Sequence[Trial], attempt: int) -> Iterator[Verdict]:
        if attempt == 1:
            return await first(trials, attempt)
        raise ExceptionGroup("cells", [CellError("unsure_2", "not ready within 90 s")])

    trials = [Trial(Scenario(name, "order", (), ()), (Known(name=name, clause="1"),)) for name in first.rulings]
    found = asyncio.run(rounds(trials, 1, perform))
    assert {name: verdict.ruling for name, verdict in found.items()} == {"broken": FAIL, "unsure": UNKNOWN}
    assert found["unsure"].reason == "as in 1; it could not be run again: unsure_2: not ready within 90 s"


def test_without_leave_to_nothing_is_run_again() -> None:
    performed = Performed(unsure=[UNKNOWN])
    assert performed.judged(0) == {"unsure": (UNKNOWN, "as in 1")}
    assert performed.times == [["unsure"]]


def test_what_stays_inconclusive_is_so_in_the_end_and_tells_of_each_time() -> None:
    performed = Performed(unsure=[UNKNOWN] * 3)
    reason = "INCONCLUSIVE the 1st time: as in 1; INCONCLUSIVE the 2nd: as in 2; INCONCLUSIVE the 3rd: as in 3"
    assert performed.judged(2) == {"unsure": (UNKNOWN, reason)}


def test_a_ruling_stands_when_the_run_is_made_again_for_another_promise() -> None:
    scenario = Scenario("breaker", "order", (), ())
    both = Trial(scenario, (Known(name="breaker", clause="1"), Known(name="metric", clause="1")))
    performed = Performed(breaker=[FAIL, PASS], metric=[UNKNOWN, PASS])
    found = asyncio.run(rounds([both], 1, performed))
    assert (found["breaker"].ruling, found["metric"].ruling) == (FAIL, PASS)
    assert performed.times == [["breaker", "metric"], ["metric"]]


@pytest.mark.parametrize(("times", "told"), [(2, "2nd"), (3, "3rd"), (4, "4th"), (10, "10th")])
def test_times_are_told_as_people_count(times: int, told: str) -> None:
    before, now = Verdict("p", "1", UNKNOWN, "first"), Verdict("p", "1", PASS, "then")
    assert repeated(before, now, times).reason.endswith(f"; PASS the {told}: then")


def loaded(requests: int) -> Recording:
    story = Written()
    story.steady("before")
    for _ in range(requests):
        story.call("load", reaches=("orders",))
    story.end()
    return story.recording()


def test_recordings_of_several_times_are_judged_as_the_gate_judged_them() -> None:
    promise = Known(name="enough", clause="1", fewest=3)
    verdict = settled(promise, [loaded(1), loaded(2), loaded(3), None])
    assert verdict.ruling is PASS
    assert verdict.reason == (
        "INCONCLUSIVE the 1st time: only 1 requests; INCONCLUSIVE the 2nd: only 2 requests; "
        "PASS the 3rd: enough requests"
    )
    assert settled(promise, [loaded(3), None]) == msgspec.structs.replace(verdict, reason="enough requests", attempt=1)
    assert settled(promise, []).ruling is UNKNOWN
