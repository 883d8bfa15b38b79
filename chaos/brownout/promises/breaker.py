"""The circuit breaker of an edge: when it trips, how long it refuses, what it lets through on trial, that it closes."""

from collections.abc import Sequence

from brownout.faults import Latency, Outage
from brownout.history import Operation
from brownout.promises.evidence import (
    at_once,
    edge_of,
    entered_at,
    phase,
    requests_at,
    seconds,
    told,
    traces_at,
)
from brownout.promises.promise import BrokenError, Count, NoEvidenceError, Positive, Stated, key
from brownout.promises.trips import Trips
from brownout.recording import Recording
from brownout.scenario import Bytes, Calls, Hold, Scenario, Step, Wait, Watch
from brownout.topology import Edge, Topology
from brownout.verdict import Figure, Verdict

__all__ = ["CircuitBreaker"]

MARGIN_S = 0.5
"""Kept from the documented times on either side: no call is sent while the state may be either."""

REFUSED_WITHIN_S = 1.0
"""A refusal takes milliseconds; a second allows for a busy machine and is far below any time-out."""

TRIAL_LATENCY_MS = 2000
"""Held on the edge while the trial calls are under way, so that all calls come before the first one's end."""

TRIAL_CALLS = 20
CLOSED_CALLS = 10


class CircuitBreaker(Stated, frozen=True, kw_only=True, tag="circuit-breaker"):
    """A caller stops calling a callee that keeps failing (clause 6.2; the semantics of sony/gobreaker).

    The journey has to be one request at the caller's own port that calls the callee once, and that fails when the
    callee does.

    Attributes:
        edge: whose breaker it is.
        trips: when it opens.
        open_s: how long it refuses, counted from the call that tripped it.
        half_open_requests: calls on trial that are let through afterwards.
    """

    edge: str
    trips: Trips
    open_s: Positive
    half_open_requests: Count

    def scenario(self, topology: Topology) -> Scenario:
        """Failures just below the boundary, then exactly at it; the open time on a healthy edge; the trial."""
        edge = self._edge_in(topology)
        side = Watch("side", edge.callee, topology.services[edge.callee].health, every_s=1.0, aside=True)
        passing, failing = self.trips.boundary()
        silence = Wait(self.trips.interval_s + MARGIN_S)
        steps = (
            silence,
            *self._script(edge, "below", passing, failing - 1),
            self._calls("below: after", 1),
            silence,
            *self._script(edge, "trip", passing, failing),
            Bytes(edge),
            Hold(
                side,
                (
                    self._calls("open", self._open_calls, every_s=1.0),
                    Wait(self.open_s - MARGIN_S, since="trip: failing"),
                    self._calls("open: last", 1),
                ),
            ),
            Bytes(edge),
            Wait(self.open_s + MARGIN_S, since="trip: failing"),
            Hold(Latency(edge, TRIAL_LATENCY_MS), (self._calls("half-open", self._trial_calls, together=True),)),
            self._calls("closed", CLOSED_CALLS, together=True),
        )
        services = topology.reached_from({edge.caller})
        return Scenario(self.name, self.journey, steps, services, environment=self.environment)

    def _edge_in(self, topology: Topology) -> Edge:
        with key("edge"):
            edge = topology.edge(self.edge)
            topology.service(edge.callee)
        with key("open_s"):
            if self.open_s <= 2 * MARGIN_S:
                raise ValueError(f"times of {2 * MARGIN_S:g} s and less cannot be measured")
        return edge

    @property
    def _open_calls(self) -> int:
        return max(1, int(self.open_s - 2))

    @property
    def _trial_calls(self) -> int:
        return max(TRIAL_CALLS, 2 * self.half_open_requests)

    def _calls(self, name: str, count: int, *, every_s: float = 0.0, together: bool = False) -> Calls:
        return Calls(name, self.journey, count, every_s=every_s, together=together)

    def _script(self, edge: Edge, stage: str, passing: int, failing: int) -> tuple[Step, ...]:
        """Successes, then failures; none where none are asked for."""
        steps: list[Step] = []
        if passing:
            steps.append(self._calls(f"{stage}: passing", passing))
        if failing:
            steps.append(Hold(Outage(edge), (self._calls(f"{stage}: failing", failing),)))
        return tuple(steps)

    def examine(self, recording: Recording) -> Verdict:
        """Stage by stage, in the order in which they were performed."""
        edge = edge_of(self.edge)
        passing, failing = self.trips.boundary()
        self._not_below(recording, edge, passing, failing - 1)
        trip = self._stage(recording, edge, "trip", passing, failing)[-1]
        slowest, last = self._open(recording, edge, trip)
        self._half_open(recording, edge, trip)
        self._closed(recording, edge)
        calls, trial = self._open_calls + 1, self._trial_calls
        for_s = seconds(trip.sent_ns, last.sent_ns)
        return self.kept(
            f"tripped by call {passing + failing}, refused {calls} of {calls} in {for_s:.1f} s while nothing "
            f"reached {edge.callee}, half-open let {self.half_open_requests} of {trial} pass, closed",
            Figure("refused", calls, "calls", f"all of {calls}"),
            slowest,
            Figure("half-open let pass", self.half_open_requests, "calls", f"exactly {self.half_open_requests}"),
        )

    def _stage(self, recording: Recording, edge: Edge, stage: str, passing: int, failing: int) -> list[Operation]:
        """The calls of one window, which the script has to have met: successes, then failures, after a silence."""
        good = phase(recording, f"{stage}: passing", passing) if passing else []
        bad = phase(recording, f"{stage}: failing", failing) if failing else []
        calls = [*good, *bad]
        if not calls:
            return calls
        entered_at(calls, edge.caller)
        self._fits_window(recording, calls)
        if lost := [call for call in good if not call.ok]:
            raise NoEvidenceError(f"a call failed with {told(lost[0])} before the outage")
        if served := [call for call in bad if call.ok]:
            raise NoEvidenceError(
                f"{len(served)} of {len(bad)} calls succeeded during the outage of {edge}: "
                "the journey does not use the edge"
            )
        unseen = {call.trace_id for call in good} - traces_at(recording, good, edge.callee)
        if unseen:
            raise NoEvidenceError(f"{len(unseen)} calls that passed show no span of {edge.callee}")
        return calls

    def _fits_window(self, recording: Recording, calls: list[Operation]) -> None:
        first, last = calls[0], calls[-1]
        before = [one.answered_ns or one.sent_ns for one in recording.history.requests() if one.sent_ns < first.sent_ns]
        silent_s = seconds(max(before), first.sent_ns) if before else float("inf")
        if silent_s <= self.trips.interval_s:
            raise NoEvidenceError(f"only {silent_s:.1f} s of silence before the first call of a window")
        took_s = seconds(first.sent_ns, last.answered_ns or last.sent_ns)
        if took_s >= self.trips.interval_s:
            raise NoEvidenceError(f"the calls of one window took {took_s:.1f} s: the machine is too slow")

    def _not_below(self, recording: Recording, edge: Edge, passing: int, failing: int) -> None:
        calls = self._stage(recording, edge, "below", passing, failing)
        after = phase(recording, "below: after", 1)[0]
        if calls and not after.ok:
            raise BrokenError(
                f"{failing} failures in {len(calls)} calls: the next call, on the healthy edge, ended with "
                f"{told(after)}; promised to trip {self.trips} and not before",
                [after],
            )

    def _open(self, recording: Recording, edge: Edge, trip: Operation) -> tuple[Figure, Operation]:
        """While it is open every call is refused, and none reaches the callee, which answers others meanwhile."""
        calls = phase(recording, "open", self._open_calls) + phase(recording, "open: last", 1)
        end_ns = trip.sent_ns + int(self.open_s * 1e9)
        late = [call for call in calls if (call.answered_ns or end_ns) >= end_ns]
        if first := next((call for call in calls if call not in late and call.ok), None):
            raise self._passed(recording, edge, trip, calls, first)
        if late:
            raise NoEvidenceError(f"{len(late)} calls that were due while it was open came later: a slow machine")
        self._side_answered(recording, edge, calls)
        seen_by_caller = traces_at(recording, calls, edge.caller)
        if len(seen_by_caller) < len(calls):
            raise NoEvidenceError(f"{len(calls) - len(seen_by_caller)} refused calls have no span of {edge.caller}")
        self._nothing_reached(recording, edge, trip, calls)
        return at_once(calls, REFUSED_WITHIN_S), calls[-1]

    def _nothing_reached(self, recording: Recording, edge: Edge, trip: Operation, calls: list[Operation]) -> None:
        """Both counts have to say so: spans of the callee, and bytes on the edge."""
        reached = traces_at(recording, calls, edge.callee)
        carried = _carried(recording, edge)
        if bool(reached) != bool(carried):
            raise NoEvidenceError(
                f"the counts disagree: {len(reached)} refused calls have spans of {edge.callee}, "
                f"and {edge} carried {carried} bytes"
            )
        if first := next((call for call in calls if call.trace_id in reached), None):
            raise self._passed(recording, edge, trip, calls, first)

    def _passed(
        self, recording: Recording, edge: Edge, trip: Operation, calls: list[Operation], first: Operation
    ) -> BrokenError:
        passing, failing = self.trips.boundary()
        number, after_s = calls.index(first) + 1, seconds(trip.sent_ns, first.sent_ns)
        reached = bool(traces_at(recording, [first], edge.callee))
        did = f"reached {edge.callee}" if reached else f"was answered {told(first)}"
        if number == 1:
            return BrokenError(
                f"{failing} failures in {passing + failing} calls did not trip it: the next call {did}; "
                f"promised to trip {self.trips}",
                [first, trip],
            )
        return BrokenError(f"call {number} {did} {after_s:.1f} s after the trip, promised {self.open_s:g} s", [first])

    def _side_answered(self, recording: Recording, edge: Edge, calls: Sequence[Operation]) -> None:
        answers = [one for one in recording.history.operations("watch", "side") if one.completed is not None]
        if not answers:
            raise NoEvidenceError(f"nobody asked {edge.callee} on the side while it was open")
        if silent := [answer for answer in answers if not answer.ok]:
            after_s = seconds(calls[0].sent_ns, silent[0].sent_ns)
            raise NoEvidenceError(
                f"{edge.callee} itself gave {told(silent[0])} on the side, {after_s:.1f} s after the first refusal"
            )

    def _half_open(self, recording: Recording, edge: Edge, trip: Operation) -> None:
        """Of many calls at once exactly the promised number reaches the callee, and succeeds."""
        calls = phase(recording, "half-open", self._trial_calls)
        passed = [call for call in calls if call.ok]
        since_s = seconds(trip.answered_ns or trip.sent_ns, calls[0].sent_ns)
        if since_s < self.open_s:
            raise NoEvidenceError(f"the trial calls came after {since_s:.1f} s, before the {self.open_s:g} s were over")
        if passed and calls[-1].sent_ns >= min(call.answered_ns or 0 for call in passed):
            raise NoEvidenceError("a trial call was sent after another had ended: the machine is too slow")
        if len(traces_at(recording, calls, edge.caller)) < len(calls):
            raise NoEvidenceError(f"not all trial calls have a span of {edge.caller}")
        reached = requests_at(recording, calls, edge.callee)
        if reached < len(passed):
            raise NoEvidenceError(f"{len(passed)} trial calls passed, only {reached} have a span of {edge.callee}")
        if not reached:
            raise BrokenError(
                f"{since_s:.1f} s after the trip no call was let through, promised after {self.open_s:g} s", calls[:1]
            )
        if not reached == len(passed) == self.half_open_requests:
            raise BrokenError(
                f"half-open let {reached} of {len(calls)} calls reach {edge.callee}, {len(passed)} succeeded; "
                f"promised exactly {self.half_open_requests}",
                passed,
            )

    def _closed(self, recording: Recording, edge: Edge) -> None:
        calls = phase(recording, "closed", CLOSED_CALLS)
        if lost := [call for call in calls if not call.ok]:
            raise BrokenError(
                f"{len(lost)} of {len(calls)} calls failed after {self.half_open_requests} successes on trial, "
                f"the first with {told(lost[0])}; promised to close {edge}",
                lost,
            )


def _carried(recording: Recording, edge: Edge) -> int:
    """Bytes that the edge carried between its two readings.

    Raises:
        NoEvidenceError: it was not read twice, or had carried nothing before, when calls had passed.
    """
    totals = [
        event.detail.get("upstream", 0) + event.detail.get("downstream", 0)
        for event in recording.history.alone("bytes", str(edge))
    ]
    if len(totals) != 2:  # noqa: PLR2004 - before and after
        raise NoEvidenceError(f"the bytes of {edge} were read {len(totals)} times instead of twice")
    if not totals[0]:
        raise NoEvidenceError(f"{edge} carried no bytes when calls passed: they go another way, or are not counted")
    return int(totals[1] - totals[0])
