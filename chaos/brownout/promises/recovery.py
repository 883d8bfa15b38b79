"""Recovery: after an outage of many edges at once everything is back, each edge in its own time."""

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from brownout.faults import Outage
from brownout.history import Outcome
from brownout.promises.evidence import edge_of, entered_at, phase, seconds, told, whole_window
from brownout.promises.promise import BrokenError, Count, NoEvidenceError, Positive, Stated, key
from brownout.promises.stages import carried_bytes
from brownout.recording import Recording
from brownout.scenario import Bytes, Hold, Load, Scenario, Seen, Step, Wait
from brownout.topology import Topology
from brownout.verdict import Figure, Verdict
from brownout.windows import Window

__all__ = ["Recovering", "Recovery"]

BEFORE_S = 2.0
TIMEOUT_S = 5.0
"""The client's own: a request that takes longer has not recovered."""


class Recovering(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One edge, and when it is back.

    Attributes:
        edge: what is cut.
        within_s: of the heal; from then on no request fails. An edge with a breaker has the 60 s for which it is
            open (clause 6.2), and what the trial takes.
        journey: what needs it; enters at the caller's own port. Empty where no request waits for the edge (the
            registry's, say): it is back when the callee's answers pass again, as its proxy counts them.
    """

    edge: str
    within_s: Positive
    journey: str = ""


class Recovery(Stated, frozen=True, kw_only=True, tag="recovery"):
    """Everything is back in its steady state soon after the faults' end.

    Attributes:
        cases: the edges, all cut at the same time and healed together.
        outage_s: for how long.
        rate: requests a second of each case's journey.
        in_a_row: requests that have to succeed before a case is believed to be back.
    """

    cases: Annotated[tuple[Recovering, ...], Meta(min_length=1)]
    outage_s: Positive = 10.0
    rate: Positive = 2.0
    in_a_row: Count = 5

    def scenario(self, topology: Topology) -> Scenario:
        """All loads, and in their midst all outages; the loads go on until each case has been seen to be back."""
        for index, case in enumerate(self.cases):
            with key(f"cases[{index}].edge"):
                edge = topology.edge(case.edge)
                if edge in (edge_of(other.edge) for other in self.cases[:index]):
                    raise ValueError(f"there is another case of {edge}")
        steps: tuple[Step, ...] = (Wait(BEFORE_S), self._outages(), *self._returns())
        for case in self._with_requests:
            steps = (Hold(Load(_phase(case), case.journey, self.rate, TIMEOUT_S), steps),)
        services = topology.reached_from({topology.entry, *(edge_of(case.edge).caller for case in self.cases)})
        return Scenario(self.name, self.journey, steps, services, environment=self.environment)

    @property
    def _with_requests(self) -> list[Recovering]:
        return [case for case in self.cases if case.journey]

    @property
    def _in_the_background(self) -> list[Recovering]:
        """The soonest first, as they are read."""
        return sorted((case for case in self.cases if not case.journey), key=lambda case: case.within_s)

    def _outages(self) -> Step:
        held: Step = Wait(self.outage_s)
        for case in reversed(self.cases):
            held = Hold(Outage(edge_of(case.edge)), (held,))
        return held

    def _returns(self) -> Iterator[Step]:
        """What each edge carries in its time, then a wait for each journey, and for some more requests of each."""
        healed = str(Outage(edge_of(self.cases[0].edge)))
        for case in self._in_the_background:
            yield Bytes(edge_of(case.edge))
        for case in self._in_the_background:
            yield Wait(case.within_s, since=healed)
            yield Bytes(edge_of(case.edge))
        for case in self._with_requests:
            yield Wait(case.within_s, since=healed, until=Seen("load", _phase(case), Outcome.OK))
        yield Wait((self.in_a_row + 1) / self.rate)

    def examine(self, recording: Recording) -> Verdict:
        """Case by case, all against the end of the last outage."""
        held = {case.edge: whole_window(recording, str(Outage(edge_of(case.edge)))) for case in self.cases}
        cut_ns = min(window.perhaps_ns[0] for window in held.values())  # a journey may well use several of the edges
        healed_ns = max(window.perhaps_ns[1] for window in held.values())
        for case in self._with_requests:
            self._was_cut(recording, case, cut_ns, held[case.edge])
        for case in self._in_the_background:
            _carries(recording, case)
        figures = [self._back(recording, case, healed_ns) for case in self._with_requests]
        count = len(self.cases)
        return self.kept(
            f"{count} of {count} edges were back in their time after {self.outage_s:g} s without all of them", *figures
        )

    def _back(self, recording: Recording, case: Recovering, healed_ns: int) -> Figure:
        """How long after the heal the last request failed, counted from when it was sent."""
        requests = phase(recording, _phase(case))
        after = [one for one in requests if one.sent_ns >= healed_ns]
        failed = [one for one in after if not one.ok]
        last_s = seconds(healed_ns, failed[-1].sent_ns) if failed else 0.0
        figure = Figure(f"{case.edge} last failed", last_s, "s after the heal", f"at most {case.within_s:g} s")
        if last_s > case.within_s:
            raise BrokenError(
                f"{case.edge}: {case.journey} ended with {told(failed[-1])} {last_s:.1f} s after the heal, "
                f"promised to be back within {case.within_s:g} s",
                failed[-1:],
                [figure],
            )
        row = len(after) - (after.index(failed[-1]) + 1 if failed else 0)
        if row < self.in_a_row:
            raise NoEvidenceError(
                f"{case.edge}: only {row} requests after the last failure, {self.in_a_row} are needed"
            )
        return figure

    def _was_cut(self, recording: Recording, case: Recovering, cut_ns: int, window: Window) -> None:
        """Make sure that the journey went well before the first outage, and was hit by its own."""
        requests = phase(recording, _phase(case))
        entered_at(requests, edge_of(case.edge).caller)
        before = [one for one in requests if (one.answered_ns or cut_ns) < cut_ns]
        if not before or not all(one.ok for one in before):
            good = sum(one.ok for one in before)
            raise NoEvidenceError(f"{case.edge}: {good} of {len(before)} requests succeeded before the outage")
        on_ns, off_ns = window.surely_ns
        during = [one for one in requests if one.sent_ns >= on_ns and (one.answered_ns or off_ns) < off_ns]
        if not any(not one.ok for one in during):
            raise NoEvidenceError(
                f"{case.edge}: no request of {case.journey} failed in the outage; it uses no such edge"
            )


def _carries(recording: Recording, case: Recovering) -> None:
    """Make sure that answers passed an edge again that no request waits for."""
    edge = edge_of(case.edge)
    if not carried_bytes(recording, edge, "downstream"):
        raise BrokenError(
            f"{edge} carried no answer within {case.within_s:g} s of the heal, promised to be back by then",
            recording.history.operations("lift", str(Outage(edge))),
        )


def _phase(case: Recovering) -> str:
    return f"over {case.edge}"
