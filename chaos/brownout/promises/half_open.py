"""A breaker on trial: fewer successes than it asks for do not close it, and one failure opens it again."""

from brownout.faults import Outage, Terminated
from brownout.history import Operation
from brownout.promises.evidence import edge_of, entered_at, phase, seconds, seen_at, told, traces_at
from brownout.promises.promise import BrokenError, Count, NoEvidenceError, Positive, Stated, key
from brownout.promises.stages import OPEN, carried_bytes, failures, in_one_window, passed
from brownout.promises.timing import SIDE, at_once
from brownout.promises.trips import Trips
from brownout.recording import Recording
from brownout.scenario import Bytes, Calls, Hold, Scenario, Wait, Watch
from brownout.topology import Edge, Topology
from brownout.verdict import Figure, Verdict

__all__ = ["HalfOpen"]

MARGIN_S = 0.5
REFUSED_CALLS = 5
EVERY_S = 0.5
REFUSED_WITHIN_S = 1.0


class HalfOpen(Stated, frozen=True, kw_only=True, tag="half-open"):
    """A callee that fails again is spared again (clause 6.2; the semantics of sony/gobreaker).

    That it opens again is seen for two seconds; for how long a breaker is open `circuit-breaker` shows.

    The journey is the one of the edge's `circuit-breaker`: a single request at the caller's own port that calls the
    callee once. In the end the caller is asked to end and started again, or its breaker would stay open.

    Attributes:
        edge: whose breaker it is.
        trips: when it opens.
        open_s: how long it refuses, counted from the call that tripped it.
        half_open_requests: successes on trial that close it; two at least, for one of them is made here.
    """

    edge: str
    trips: Trips
    open_s: Positive
    half_open_requests: Count

    def scenario(self, topology: Topology) -> Scenario:
        """A trip, the open time, one success on trial and one failure, and calls on the healthy edge after it."""
        edge = self._edge_in(topology)
        side = Watch(SIDE, edge.service, topology.services[edge.service].health, every_s=EVERY_S, aside=True)
        again = Hold(side, (Calls("again", self.journey, REFUSED_CALLS, every_s=EVERY_S),))
        steps = (
            Wait(self.trips.interval_s + MARGIN_S),
            Hold(Outage(edge), (Calls("trip", self.journey, self.trips.requests),)),
            Calls(OPEN, self.journey),
            Wait(self.open_s + MARGIN_S, since="trip"),
            Calls("trial", self.journey),
            Bytes(edge),
            Hold(Outage(edge), (Calls("failing", self.journey),)),
            again,
            Bytes(edge),
            Hold(Terminated(edge.caller), ()),
        )
        services = topology.reached_from({edge.caller})
        return Scenario(self.name, self.journey, steps, services, environment=self.environment)

    def _edge_in(self, topology: Topology) -> Edge:
        with key("edge"):
            edge = topology.edge(self.edge)
            topology.service(edge.service)
        with key("half_open_requests"):
            if self.half_open_requests == 1:
                raise ValueError("one success closes such a breaker: circuit-breaker shows all of it")
        return edge

    def examine(self, recording: Recording) -> Verdict:
        """It was open, let one call pass, saw one fail, and lets none pass any more."""
        edge = edge_of(self.edge)
        trip = failures(recording, edge, "trip", self.trips.requests)
        entered_at(trip, edge.caller)
        in_one_window(recording, trip, self.trips.interval_s)
        (refusal,) = phase(recording, OPEN, 1)
        if refusal.ok:
            raise NoEvidenceError(f"{len(trip)} failures in a row did not trip it: circuit-breaker tells of that")
        _, refused = passed(recording, edge, "trial", 1)
        if refused:
            after_s = seconds(trip[-1].answered_ns or trip[-1].sent_ns, refused.sent_ns)
            raise BrokenError(
                f"a call on trial ended with {told(refused)} {after_s:.1f} s after the trip, promised to pass",
                [refused],
            )
        (failing,) = failures(recording, edge, "failing", 1)
        if told(failing) == told(refusal):
            raise NoEvidenceError(f"a failure and a refusal both end with {told(refusal)}: nobody knows which it was")
        calls = phase(recording, "again", REFUSED_CALLS)
        slowest = self._nothing_passed(recording, edge, failing, refusal, calls)
        return self.kept(
            f"after 1 success and 1 failure on trial {len(calls)} of {len(calls)} calls were refused in "
            f"{seconds(calls[0].sent_ns, calls[-1].sent_ns):.1f} s on the healthy edge",
            Figure("refused again", len(calls), "calls", f"all of {len(calls)}"),
            *slowest,
        )

    def _nothing_passed(
        self, recording: Recording, edge: Edge, failing: Operation, refusal: Operation, calls: list[Operation]
    ) -> tuple[Figure, ...]:
        """Every call was refused, at once and as while it was open, and the edge carried nothing."""
        if first := next((call for call in calls if call.ok), None):
            raise BrokenError(
                f"a call reached {edge.service} {seconds(failing.sent_ns, first.sent_ns):.1f} s after a failure on "
                f"trial, promised to open again for {self.open_s:g} s",
                [first, failing],
            )
        seen_at(recording, calls, edge.caller)
        if other := next((call for call in calls if told(call) != told(refusal)), None):
            raise NoEvidenceError(f"a call ended with {told(other)}, refused ones with {told(refusal)}")
        if not any(one.ok for one in recording.history.operations("watch", SIDE)):
            raise NoEvidenceError(f"{edge.service} itself did not answer on the side")
        if carried := carried_bytes(recording, edge):
            if recording.traced and not traces_at(recording, calls, edge.service):
                raise NoEvidenceError(f"{edge} carried {carried} bytes, and no call has a span of {edge.service}")
            raise BrokenError(f"{edge} carried {carried} bytes of calls that were to be refused", calls[:1])
        return at_once(recording, calls, REFUSED_WITHIN_S)
