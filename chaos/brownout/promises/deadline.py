"""The deadline of an edge: how a call ends that its callee answers too late, and what the breaker makes of it."""

from typing import Annotated

from msgspec import Meta

from brownout.faults import Latency
from brownout.history import Operation
from brownout.promises.evidence import edge_of, entered_at, phase, requests_at, seconds, told, whole_window
from brownout.promises.promise import BrokenError, Count, NoEvidenceError, Positive, Stated, Status, key
from brownout.promises.timing import Timing
from brownout.recording import Recording
from brownout.scenario import Calls, Hold, Load, Scenario, Step, Wait
from brownout.topology import Edge, Topology
from brownout.verdict import Figure, Verdict

__all__ = ["Deadline"]

LOAD_S = 6.0
"""Beyond the deadline: results of older windows come while there are requests enough in a new one."""

TRIPPING_LOAD_S = 15.0
"""Long enough for the successes before the load to leave any breaker's window of 10 s (clause 6.2)."""

FEWEST_CALLS = 3
AFTERWARDS = 3
MARGIN_S = 0.5


class Deadline(Stated, frozen=True, kw_only=True, tag="deadline"):
    """A call is given up when its time is over, whatever the callee does (clauses 3.1 and 6.2).

    The documents' own numbers have a consequence: a call that ends by its time-out of 10 s has outlived the
    breaker's window of 10 s, its failure is dropped, and the breaker never trips. Shorter deadlines do trip it.

    Attributes:
        edge: what is slow.
        latency_ms: how slow; more than the deadline.
        ends_after_s: when a call is given up.
        status: what the caller's caller is told then.
        tolerance_s: how far from ``ends_after_s`` is still right.
        deadline_ms: what the harness says of its own patience in the topology's deadline header; 0: nothing.
        trips_for_s: how long the breaker refuses afterwards; 0: it does not trip.
    """

    edge: str
    latency_ms: Count
    ends_after_s: Positive
    status: Status
    tolerance_s: Positive = 0.5
    deadline_ms: Annotated[int, Meta(ge=0)] = 0
    trips_for_s: Annotated[float, Meta(ge=0)] = 0.0

    def scenario(self, topology: Topology) -> Scenario:
        """A call a second while the edge is slow, then a few on the healthy edge."""
        edge = self._edge_in(topology)
        load_s = TRIPPING_LOAD_S if self.trips_for_s else self.ends_after_s + LOAD_S
        beyond_s = self.latency_ms / 1000 - self.ends_after_s
        slow = Load("slow", self.journey, rate=1.0, timeout_s=self._patience_s, deadline_ms=self.deadline_ms)
        steps: tuple[Step, ...] = (
            Hold(Latency(edge, self.latency_ms), (Hold(slow, (Wait(max(load_s, beyond_s + 1)),)),)),
            Calls("afterwards", self.journey, AFTERWARDS),
        )
        if self.trips_for_s:
            steps = (*steps, Wait(self.trips_for_s + MARGIN_S, since="slow"))
        services = topology.reached_from({edge.caller})
        return Scenario(self.name, self.journey, steps, services, environment=self.environment)

    @property
    def _patience_s(self) -> float:
        """The client's own time-out: beyond everything that is judged."""
        return max(self.latency_ms / 1000, self.ends_after_s + self.tolerance_s) + 4

    def _edge_in(self, topology: Topology) -> Edge:
        with key("edge"):
            edge = topology.edge(self.edge)
        with key("latency_ms"):
            if self.latency_ms / 1000 <= self.ends_after_s + self.tolerance_s:
                raise ValueError("must be longer than ends_after_s, or nothing is given up")
        with key("deadline_ms"):
            if self.deadline_ms and not topology.deadline_header:
                raise ValueError("the topology names no deadline_header to send it in")
        return edge

    def examine(self, recording: Recording) -> Verdict:
        """Each call under the latency, then those after it."""
        edge = edge_of(self.edge)
        given_up = self._given_up(recording, edge)
        self._afterwards(recording, edge)
        longest = max(call.duration_s for call in given_up)
        then = f"was open afterwards, {self.trips_for_s:g} s" if self.trips_for_s else "did not trip"
        bound = f"{self.ends_after_s:g} ± {self.tolerance_s:g} s"
        return self.kept(
            f"{len(given_up)} of {len(given_up)} calls ended with {self.status} after {self.ends_after_s:g} s "
            f"under {self.latency_ms} ms of latency; the breaker {then}",
            Figure("shortest", min(call.duration_s for call in given_up), "s", bound),
            Figure("longest", longest, "s", bound),
        )

    def _given_up(self, recording: Recording, edge: Edge) -> list[Operation]:
        """The calls that had to wait for the slow edge; where the breaker trips, the first of them."""
        calls = phase(recording, "slow")
        entered_at(calls, edge.caller)
        on_ns, off_ns = whole_window(recording, str(Latency(edge, self.latency_ms))).surely_ns
        if len(calls) < FEWEST_CALLS:
            raise NoEvidenceError(f"only {len(calls)} calls were made under the latency")
        if any(call.sent_ns < on_ns or (call.answered_ns or off_ns) > off_ns for call in calls):
            raise NoEvidenceError("a call was under way when the latency was put on or lifted")
        if all(call.ok and call.duration_s < self.latency_ms / 1000 for call in calls):
            raise NoEvidenceError(f"no call was slowed by {self.latency_ms} ms on {edge}: the journey does not use it")
        if self.trips_for_s:
            calls = [call for call in calls if not self._refused(call, calls[0])]
        otherwise = [call for call in calls if call.status != self.status or self._too_soon(call)]
        latest_s = self.ends_after_s + self.tolerance_s
        for wrong in otherwise or Timing(recording).late(calls, latest_s):
            raise BrokenError(
                f"call {calls.index(wrong) + 1} ended with {told(wrong)} after {wrong.duration_s:.2f} s, "
                f"promised {self.status} after {self.ends_after_s:g} s",
                [wrong],
                [Figure("took", wrong.duration_s, "s", f"{self.ends_after_s:g} ± {self.tolerance_s:g} s")],
            )
        return calls

    def _too_soon(self, call: Operation) -> bool:
        return call.duration_s < self.ends_after_s - self.tolerance_s

    def _refused(self, call: Operation, first: Operation) -> bool:
        """Sent when results were in, failed, and too soon to have waited for the callee."""
        known = call.sent_ns > (first.answered_ns or call.sent_ns)
        return known and not call.ok and self._too_soon(call)

    def _afterwards(self, recording: Recording, edge: Edge) -> None:
        calls = phase(recording, "afterwards", AFTERWARDS)
        wrong = [call for call in calls if call.ok == bool(self.trips_for_s)]
        if not self.trips_for_s and wrong:
            raise BrokenError(
                f"a call on the healthy edge ended with {told(wrong[0])}, promised to pass: the breaker is not to trip",
                wrong,
            )
        if self.trips_for_s and (wrong or requests_at(recording, calls, edge.service)):
            first = wrong[0] if wrong else calls[0]
            sent_s = seconds(calls[0].sent_ns, first.sent_ns)
            raise BrokenError(
                f"a call reached {edge.service} {sent_s:.1f} s after the lift, promised a tripped breaker", [first]
            )
