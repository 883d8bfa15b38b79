"""The blast radius of an edge: while it is cut, what needs it fails, and nothing else does."""

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from brownout.faults import Outage
from brownout.history import Operation
from brownout.promises.evidence import edge_of, entered_at, phase, seconds, told, whole_window
from brownout.promises.promise import BrokenError, Count, NoEvidenceError, Positive, Stated, key
from brownout.promises.timing import Timing
from brownout.recording import Recording
from brownout.scenario import Calls, Hold, Scenario, Step, Wait
from brownout.topology import Edge, Topology
from brownout.verdict import Figure, Verdict

__all__ = ["Isolated", "Isolation"]


class Isolated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One edge, who feels its outage and who must not.

    Attributes:
        edge: what is cut.
        spares: journeys that go on.
        hits: the journey that needs the edge, a single request at the caller's own port; empty where no request waits
            for the edge, and its outage is to be felt by nobody.
        settle_s: how soon after the heal the hit journey succeeds again, and the next edge may be cut. Give it 13 s
            (clause 6.5) where the outage makes the caller unwell, for the registry may have noticed.
    """

    edge: str
    spares: Annotated[tuple[str, ...], Meta(min_length=1)]
    hits: str = ""
    settle_s: Positive = 2.0


class Isolation(Stated, frozen=True, kw_only=True, tag="isolation"):
    """A fault in one service stays in it (clause 2).

    Each edge is cut for a single call that it hits. The call enters at the edge's own caller, so no other breaker
    sees it fail; and one failure trips no breaker that asks for 3 requests and a ratio of 0.6 (clause 6.2), whatever
    went before. Two could: with a success that happens to share their window they are 2 of 3. So no case disturbs
    the next.

    Attributes:
        cases: the edges, cut one after another.
        calls: of each journey that is spared.
        within_s: of each call that is spared.
    """

    cases: Annotated[tuple[Isolated, ...], Meta(min_length=1)]
    calls: Count = 3
    within_s: Positive = 3.0

    def scenario(self, topology: Topology) -> Scenario:
        """One outage after another, with a call of the journey it hits, and several of each that it spares."""
        edges: list[Edge] = []
        for index, case in enumerate(self.cases):
            with key(f"cases[{index}].edge"):
                edge = topology.edge(case.edge)
                if edge in edges:
                    raise ValueError(f"there is another case of {edge}")
            edges.append(edge)
        steps = tuple(step for case in self.cases for step in self._steps(case))
        return Scenario(self.name, self.journey, steps, tuple(topology.services), environment=self.environment)

    def _steps(self, case: Isolated) -> Iterator[Step]:
        hit = (Calls(_hit(case), case.hits),) if case.hits else ()
        spared = (Calls(_spared(case, journey), journey, self.calls) for journey in case.spares)
        yield Hold(Outage(edge_of(case.edge)), (*hit, *spared))
        yield Wait(case.settle_s)
        if case.hits:
            yield Calls(_again(case), case.hits)

    def examine(self, recording: Recording) -> Verdict:
        """Case by case."""
        spared = [call for case in self.cases for call in self._one(recording, case)]
        count, felt = len(self.cases), sum(bool(case.hits) for case in self.cases)
        return self.kept(
            f"{count} of {count} edges cut one after another: what needs them failed in {felt} of {felt} cases, "
            f"{len(spared)} of {len(spared)} calls of what does not went on",
            Figure("slowest spared", max(call.duration_s for call in spared), "s", f"at most {self.within_s:g} s"),
        )

    def _one(self, recording: Recording, case: Isolated) -> list[Operation]:
        """The spared calls of a case, all of them as promised."""
        edge = edge_of(case.edge)
        on_ns, off_ns = whole_window(recording, str(Outage(edge))).surely_ns
        hit = phase(recording, _hit(case), 1) if case.hits else []
        entered_at(hit, edge.caller)
        if hit and hit[0].ok:
            raise NoEvidenceError(f"{case.hits} succeeded during the outage of {edge}: it does not need the edge")
        spared: list[Operation] = []
        for journey in case.spares:
            calls = phase(recording, _spared(case, journey))
            self._goes_on(recording, edge, journey, calls)
            if len(calls) < self.calls:
                raise NoEvidenceError(f"only {len(calls)} requests of {journey} during the outage of {edge}")
            spared += calls
        if any(call.sent_ns < on_ns or (call.answered_ns or off_ns) > off_ns for call in [*hit, *spared]):
            raise NoEvidenceError(f"a call was under way when {edge} was cut or healed")
        self._again(recording, case)
        return spared

    def _goes_on(self, recording: Recording, edge: Edge, journey: str, calls: list[Operation]) -> None:
        """None may fail, and none be late: every single one counts."""
        if lost := [call for call in calls if not call.ok]:
            raise BrokenError(
                f"{edge} cut: {journey} ended with {told(lost[0])}, promised to go on without the edge", lost
            )
        if late := Timing(recording).late(calls, self.within_s):
            raise BrokenError(
                f"{edge} cut: {journey} took {late[0].duration_s:.1f} s, promised {self.within_s:g} s without the edge",
                late,
            )

    def _again(self, recording: Recording, case: Isolated) -> None:
        if not case.hits:
            return
        again = phase(recording, _again(case), 1)[0]
        if not again.ok:
            healed_ns = whole_window(recording, str(Outage(edge_of(case.edge)))).perhaps_ns[1]
            raise BrokenError(
                f"{case.edge} healed: {case.hits} still ended with {told(again)} "
                f"{seconds(healed_ns, again.sent_ns):.1f} s later, promised within {case.settle_s:g} s",
                [again],
            )


def _hit(case: Isolated) -> str:
    return f"hit: {case.edge}"


def _spared(case: Isolated, journey: str) -> str:
    return f"spared: {case.edge}: {journey}"


def _again(case: Isolated) -> str:
    return f"again: {case.edge}"
