"""The judge combines a promise's own check with the standing ones."""

import msgspec
import pytest

from brownout.history import Outcome
from brownout.judge import judged
from brownout.recording import Recording
from brownout.scenario import Scenario
from brownout.topology import Topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written


class Fixed(msgspec.Struct, frozen=True):
    """A promise whose check finds the same in every recording; an empty ruling makes it crash."""

    ruling: Ruling | None = Ruling.PASS
    name: str = "fixed"
    clause: str = "1"

    def scenario(self, topology: Topology) -> Scenario:
        return Scenario(self.name, "order", (), tuple(topology.services))

    def check(self, recording: Recording) -> Verdict:
        if self.ruling is None:
            return [][len(recording.spans)]
        return Verdict(self.name, self.clause, self.ruling, "as it found")


def run(*, well_after: bool = True, aborted: bool = False, starved: bool = False) -> Recording:
    story = Written()
    if starved:
        story.note("engine", "host", sampled_s=20.0, busy=0.9, stolen=0.6)
    story.steady("before")
    story.call("load", reaches=("orders",))
    if aborted:
        story.note("engine", "aborted", Outcome.FAILED, why="the machine slept")
    story.steady("after", *(() if well_after else (503, 503, 503)))
    story.note("engine", "clean", left=[])
    return story.recording()


@pytest.mark.parametrize("ruling", list(Ruling))
def test_with_all_evidence_the_promises_own_ruling_stands(ruling: Ruling) -> None:
    assert judged(Fixed(ruling), run()) == Verdict("fixed", "1", ruling, "as it found")


@pytest.mark.parametrize("ruling", list(Ruling))
def test_missing_evidence_overrules_every_ruling(ruling: Ruling) -> None:
    verdict = judged(Fixed(ruling), run(aborted=True))
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert verdict.reason == "the scenario was not finished: the machine slept"


def test_a_system_that_does_not_come_back_takes_a_pass_away() -> None:
    verdict = judged(Fixed(Ruling.PASS), run(well_after=False))
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert "not steady again at the end" in verdict.reason


def test_a_system_that_does_not_come_back_does_not_excuse_a_broken_promise() -> None:
    assert judged(Fixed(Ruling.FAIL), run(well_after=False)).ruling is Ruling.FAIL


def test_a_starved_host_takes_a_fail_away_and_says_what_was_seen() -> None:
    verdict = judged(Fixed(Ruling.FAIL), run(starved=True))
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert verdict.reason == (
        "the machine was starved: 60 % of its processors' time was given to others; it was seen that as it found"
    )


def test_a_starved_host_does_not_take_a_pass() -> None:
    assert judged(Fixed(Ruling.PASS), run(starved=True)).ruling is Ruling.PASS


def test_a_checker_that_crashes_is_inconclusive_and_says_so() -> None:
    verdict = judged(Fixed(None), run())
    assert (verdict.ruling, verdict.reason) == (
        Ruling.INCONCLUSIVE,
        "the checker crashed: IndexError: list index out of range",
    )


def test_without_a_recording_it_is_inconclusive() -> None:
    verdict = judged(Fixed(), None)
    assert (verdict.ruling, verdict.reason) == (
        Ruling.INCONCLUSIVE,
        "there is no recording: the run ended before it was whole",
    )
