"""The circuit breaker of an edge: when it trips, how long it refuses, what it lets through on trial, that it closes."""

from collections.abc import Sequence

from brownout.faults import Latency, Outage, Terminated
from brownout.history import Operation
from brownout.promises.evidence import (
    edge_of,
    entered_at,
    phase,
    requests_at,
    seconds,
    seen_at,
    told,
    traces_at,
)
from brownout.promises.promise import BrokenError, Count, NoEvidenceError, Positive, Stated, key
from brownout.promises.stages import OPEN, carried_bytes, failures, in_one_window, passed, within_window
from brownout.promises.timing import SIDE, at_once
from brownout.promises.trips import Trips
from brownout.recording import Recording
from brownout.scenario import Bytes, Calls, Hold, Scenario, Step, Wait, Watch
from brownout.topology import Edge, Topology
from brownout.verdict import Figure, Verdict

__all__ = ["CircuitBreaker"]

MARGIN_S = 0.5
"""Kept from the documented times on either side: no call is sent while the state may be either."""

LAST_MARGIN_S = 1.5
"""Before the end of the open time, when the last refusal is asked for: its answer has to come before that end."""

REFUSED_WITHIN_S = 1.0
"""A refusal takes milliseconds; a second allows for a busy machine and is far below any time-out."""

TRIAL_LATENCY_MS = 2000
"""Held on the edge while the trial calls are under way, so that all calls come before the first one's end."""

SLOW_SHARE = 0.9
"""A call waited for the latency if it took so much of it, as the fault's own canary counts."""

TRIAL_CALLS = 20
CLOSED_CALLS = 10
"""Where no trip follows that needs another number of successes."""


class CircuitBreaker(Stated, frozen=True, kw_only=True, tag="circuit-breaker"):
    """A caller stops calling a callee that keeps failing (clause 6.2; the semantics of sony/gobreaker).

    The journey has to be one request at the caller's own port that calls the callee once, and that fails when the
    callee does; where the system sends no spans nothing else may use the edge meanwhile, and a refusal does not look
    like another failure. In the end the caller is asked to end and started again, or its breaker would stay open.

    Attributes:
        edge: whose breaker it is.
        trips: when it opens.
        open_s: how long it refuses, counted from the call that tripped it.
        half_open_requests: calls on trial that are let through afterwards.
        retry_after: whether each refusal says, in seconds, when it may be tried again.
    """

    edge: str
    trips: Trips
    open_s: Positive
    half_open_requests: Count
    retry_after: bool = False

    def scenario(self, topology: Topology) -> Scenario:
        """What must not trip it, what just does, the open time on a healthy edge, the trial, and a trip by the ratio.

        Each number has its stage: `below` the trip there are too few calls, then too small a share of failures; the
        fewest calls trip it, spread over nearly all of a window; closed again, the exact share trips it.
        """
        edge = self._edge_in(topology)
        trips, below = self.trips, self.trips.below()
        silence = Wait(trips.interval_s + MARGIN_S)
        steps = (
            silence,
            *self._failures(edge, "too few", trips.too_few),
            self._calls("below: passing", below.passing),
            *self._failures(edge, "below: failing", below.failing),
            self._calls("below: after", trips.requests),
            silence,
            *self._failures(edge, "trip", trips.requests, every_s=self._spread_s),
            *self._open_steps(edge, topology.services[edge.service].health),
            Wait(self.open_s + MARGIN_S, since="trip"),
            Hold(Latency(edge, TRIAL_LATENCY_MS), (self._calls("half-open", self._trial_calls, together=True),)),
            self._calls("closed", self._closed_calls, together=True),
            *self._again_steps(edge),
        )
        services = topology.reached_from({edge.caller})
        return Scenario(self.name, self.journey, steps, services, environment=self.environment)

    def _edge_in(self, topology: Topology) -> Edge:
        with key("edge"):
            edge = topology.edge(self.edge)
            topology.service(edge.service)
        with key("open_s"):
            if self.open_s <= 2 * MARGIN_S:
                raise ValueError(f"times of {2 * MARGIN_S:g} s and less cannot be measured")
        return edge

    @property
    def _spread_s(self) -> float:
        """From one call of the trip to the next."""
        return max(0.0, self.trips.interval_s - 2 * MARGIN_S) / max(1, self.trips.too_few)

    @property
    def _open_calls(self) -> int:
        return max(1, int(self.open_s - 2))

    @property
    def _trial_calls(self) -> int:
        return max(TRIAL_CALLS, 2 * self.half_open_requests)

    @property
    def _closed_calls(self) -> int:
        reached = self.trips.reached()
        return reached.passing if reached else CLOSED_CALLS

    def _calls(self, name: str, count: int, *, every_s: float = 0.0, together: bool = False) -> Calls:
        return Calls(name, self.journey, count, every_s=every_s, together=together)

    def _failures(
        self, edge: Edge, stage: str, count: int, *, every_s: float = 0.0, together: bool = False
    ) -> tuple[Step, ...]:
        """Calls during an outage; none where none are asked for."""
        return (Hold(Outage(edge), (self._calls(stage, count, every_s=every_s, together=together),)),) if count else ()

    def _open_steps(self, edge: Edge, health: str) -> tuple[Step, ...]:
        """Calls on the healthy edge until shortly before it may be half-open, between two counts of bytes."""
        side = Watch(SIDE, edge.service, health, every_s=1.0, aside=True)
        calls = (
            self._calls(OPEN, self._open_calls, every_s=1.0),
            Wait(self.open_s - min(LAST_MARGIN_S, self.open_s / 4), since="trip"),
            self._calls("open: last", 1),
        )
        return Bytes(edge), Hold(side, calls), Bytes(edge)

    def _again_steps(self, edge: Edge) -> tuple[Step, ...]:
        """The trip by the ratio, in the window that closing has opened; and a caller with a new breaker."""
        reached = self.trips.reached()
        if reached is None:
            return ()
        restart = Hold(Terminated(edge.caller), ())
        return *self._failures(edge, "again", reached.failing, together=True), self._calls("again: after", 1), restart

    def examine(self, recording: Recording) -> Verdict:
        """Stage by stage, in the order in which they were performed."""
        edge = edge_of(self.edge)
        below = self._not_below(recording, edge)
        trip = failures(recording, edge, "trip", self.trips.requests)
        in_one_window(recording, trip, self.trips.interval_s)
        refusals, last = self._open(recording, edge, trip)
        self._half_open(recording, edge, trip[-1])
        self._closed(recording, edge)
        again = self._again(recording, edge)
        calls, trial = self._open_calls + 1, self._trial_calls
        return self.kept(
            f"{below}; tripped by call {len(trip)} after {_spread_of(trip):.1f} s, refused {calls} of {calls} in "
            f"{seconds(trip[-1].sent_ns, last.sent_ns):.1f} s while nothing reached {edge.service}, "
            f"half-open let {self.half_open_requests} of {trial} pass, closed{again}",
            Figure("refused", calls, "calls", f"all of {calls}"),
            *refusals,
            Figure("half-open let pass", self.half_open_requests, "calls", f"exactly {self.half_open_requests}"),
        )

    def _not_below(self, recording: Recording, edge: Edge) -> str:
        """Neither too few calls nor too small a share of failures trips it."""
        script, few = self.trips.below(), self.trips.too_few
        first = failures(recording, edge, "too few", few)
        passing, refused = passed(recording, edge, "below: passing", script.passing)
        entered_at([*first, *passing], edge.caller)
        if refused:
            raise self._too_soon(first, passing, refused)
        failing = failures(recording, edge, "below: failing", script.failing)
        failed, window = [*first, *failing], [*first, *passing, *failing]
        in_one_window(recording, window, self.trips.interval_s)
        after, refused = passed(recording, edge, "below: after", self.trips.requests)
        if refused:
            raise self._too_soon(failed, [*window, *after], refused)
        return f"not tripped by {len(failed)} failures in {len(window)} calls"

    def _too_soon(self, failed: list[Operation], calls: list[Operation], refused: Operation) -> Exception:
        """A call on the healthy edge was refused: what came before has tripped it, if there was anything."""
        before = [*failed, *(call for call in calls if call.sent_ns < refused.sent_ns and call not in failed)]
        if not failed:
            return NoEvidenceError(f"a call failed with {told(refused)} before the outage")
        return BrokenError(
            f"{len(failed)} failures in {len(before)} calls: the next call, on the healthy edge, ended with "
            f"{told(refused)}; promised to trip {self.trips} and not before",
            [refused],
        )

    def _open(self, recording: Recording, edge: Edge, trip: list[Operation]) -> tuple[tuple[Figure, ...], Operation]:
        """While it is open every call is refused, and none reaches the callee, which answers others meanwhile."""
        calls = phase(recording, OPEN, self._open_calls) + phase(recording, "open: last", 1)
        end_ns = trip[-1].sent_ns + int(self.open_s * 1e9)
        late = [call for call in calls if (call.answered_ns or end_ns) >= end_ns]
        if first := next((call for call in calls if call not in late and call.ok), None):
            raise self._passed(recording, edge, trip, calls, first)
        if late:
            raise NoEvidenceError(f"{len(late)} calls that were due while it was open came later: a slow machine")
        self._side_answered(recording, edge, calls)
        seen_at(recording, calls, edge.caller)
        self._nothing_reached(recording, edge, trip, calls)
        if self.retry_after:
            self._says_when(trip[-1], calls)
        return at_once(recording, calls, REFUSED_WITHIN_S), calls[-1]

    def _says_when(self, trip: Operation, calls: Sequence[Operation]) -> None:
        """Each refusal tells what is left of the open time, which began during the last call of the trip.

        It is told in whole seconds, rounded up, and the answer's own time is the client's to add.
        """
        for call in calls:
            if (told_s := call.retry_after_s) is None:
                raise BrokenError(f"a refusal did not say when to come again: {told(call)}", [call])
            sent_s, answered_s = (
                seconds(trip.sent_ns, at_ns or call.sent_ns) for at_ns in (call.sent_ns, call.answered_ns)
            )
            latest_s = seconds(trip.sent_ns, trip.answered_ns or trip.sent_ns) + self.open_s - sent_s + 1
            if not self.open_s - answered_s <= told_s <= latest_s:
                raise BrokenError(
                    f"{sent_s:.1f} s after the trip a refusal said to come again in {told_s} s, "
                    f"promised what is left of {self.open_s:g} s",
                    [call],
                )

    def _nothing_reached(self, recording: Recording, edge: Edge, trip: list[Operation], calls: list[Operation]) -> None:
        """Both counts have to say so: spans of the callee, where there are any, and bytes on the edge."""
        reached = traces_at(recording, calls, edge.service)
        carried = carried_bytes(recording, edge)
        if carried and not recording.traced:
            raise BrokenError(
                f"{edge} carried {carried} bytes while all of {len(calls)} calls were refused, promised none", calls[:1]
            )
        if bool(reached) != bool(carried):
            raise NoEvidenceError(
                f"the counts disagree: {len(reached)} refused calls have spans of {edge.service}, "
                f"and {edge} carried {carried} bytes"
            )
        if first := next((call for call in calls if call.trace_id in reached), None):
            raise self._passed(recording, edge, trip, calls, first)

    def _passed(
        self, recording: Recording, edge: Edge, trip: list[Operation], calls: list[Operation], first: Operation
    ) -> BrokenError:
        number, after_s = calls.index(first) + 1, seconds(trip[-1].sent_ns, first.sent_ns)
        reached = bool(traces_at(recording, [first], edge.service))
        did = f"reached {edge.service}" if reached else f"was answered {told(first)}"
        if number == 1:
            return BrokenError(
                f"{len(trip)} failures in {len(trip)} calls over {_spread_of(trip):.1f} s did not trip it: "
                f"the next call {did}; promised to trip {self.trips} within {self.trips.interval_s:g} s",
                [first, trip[-1]],
            )
        return BrokenError(f"call {number} {did} {after_s:.1f} s after the trip, promised {self.open_s:g} s", [first])

    def _side_answered(self, recording: Recording, edge: Edge, calls: Sequence[Operation]) -> None:
        answers = [one for one in recording.history.operations("watch", SIDE) if one.completed is not None]
        if not answers:
            raise NoEvidenceError(f"nobody asked {edge.service} on the side while it was open")
        if silent := [answer for answer in answers if not answer.ok]:
            after_s = seconds(calls[0].sent_ns, silent[0].sent_ns)
            raise NoEvidenceError(
                f"{edge.service} itself gave {told(silent[0])} on the side, {after_s:.1f} s after the first refusal"
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
        seen_at(recording, calls, edge.caller)
        reached = _let_through(recording, calls, edge)
        if reached < len(passed):
            raise NoEvidenceError(f"{len(passed)} trial calls passed, only {reached} have a span of {edge.service}")
        if not reached:
            raise BrokenError(
                f"{since_s:.1f} s after the trip no call was let through, promised after {self.open_s:g} s", calls[:1]
            )
        if not reached == len(passed) == self.half_open_requests:
            raise BrokenError(
                f"half-open let {reached} of {len(calls)} calls reach {edge.service}, {len(passed)} succeeded; "
                f"promised exactly {self.half_open_requests}",
                passed,
            )

    def _closed(self, recording: Recording, edge: Edge) -> None:
        calls = phase(recording, "closed", self._closed_calls)
        if lost := [call for call in calls if not call.ok]:
            raise BrokenError(
                f"{len(lost)} of {len(calls)} calls failed after {self.half_open_requests} successes on trial, "
                f"the first with {told(lost[0])}; promised to close {edge}",
                lost,
            )

    def _again(self, recording: Recording, edge: Edge) -> str:
        """The exact share of failures trips it, in the window that began when it closed."""
        script = self.trips.reached()
        if script is None:
            return ""
        failing = failures(recording, edge, "again", script.failing)
        trial = phase(recording, "half-open", self._trial_calls)
        closed_ns = min(call.answered_ns or call.sent_ns for call in trial if call.ok)
        within_window(closed_ns, failing, self.trips.interval_s)
        _, refused = passed(recording, edge, "again: after", 1)
        told_as = f"{script.failing} failures in {script.calls} calls"
        if refused is None:
            raise BrokenError(
                f"{told_as} did not trip it: the next call reached {edge.service}; promised to trip {self.trips}",
                [*phase(recording, "again: after", 1), failing[-1]],
            )
        if refused.status is None:
            raise NoEvidenceError(f"after {told_as} nobody answered: {told(refused)}")
        return f", tripped by {told_as}"


def _let_through(recording: Recording, calls: Sequence[Operation], edge: Edge) -> int:
    """How many trial calls reached the callee: by its spans, or else by the latency, which a refusal does not wait for.

    Raises:
        NoEvidenceError: one succeeded without the latency.
    """
    if recording.traced:
        return requests_at(recording, calls, edge.service)
    slow = [call for call in calls if call.duration_s >= SLOW_SHARE * TRIAL_LATENCY_MS / 1000]
    if quick := [call for call in calls if call.ok and call not in slow]:
        raise NoEvidenceError(f"{len(quick)} trial calls succeeded without the latency of {edge}")
    return len(slow)


def _spread_of(calls: Sequence[Operation]) -> float:
    """The seconds from the first call to the last."""
    return seconds(calls[0].sent_ns, calls[-1].sent_ns)
