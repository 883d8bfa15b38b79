"""The graceful end of an instance: what it has accepted it finishes, in time, and nobody is cut off."""

from typing import Annotated

import msgspec
from msgspec import Meta

from brownout.faults import Latency, Terminated
from brownout.history import Operation, Outcome
from brownout.promises.evidence import (
    edge_of,
    entered_at,
    needs_spans,
    phase,
    seconds,
    told,
    traces,
    traces_at,
    whole_window,
)
from brownout.promises.promise import BrokenError, Count, NoEvidenceError, Positive, Stated, key
from brownout.promises.timing import Timing
from brownout.recording import Recording
from brownout.scenario import Hold, Load, Scenario, Seen, Wait
from brownout.topology import Topology
from brownout.verdict import Figure, Verdict
from brownout.windows import Window

__all__ = ["GracefulShutdown", "Sorted"]

BEFORE_S = 3.0
AFTER_S = 1.0
FEWEST_IN_FLIGHT = 5

REFUSED_WITHIN_S = 1.0
"""A refusal comes at once; what is refused after a while has been taken."""

UNAVAILABLE = 503
"""HTTP's own word for "not now", with which a service may refuse."""

INSTANCE = "service.instance.id"
"""The resource attribute by which a span tells its instance (OpenTelemetry's semantic conventions)."""


class Sorted(msgspec.Struct, frozen=True):
    """The requests of the load, by what the signal meant to them.

    Attributes:
        early: had their end before the signal.
        in_flight: sent before the signal, and without an end then.
        later: sent when the signal may have been there, or before, but not connected any more.
    """

    early: list[Operation]
    in_flight: list[Operation]
    later: list[Operation]


class GracefulShutdown(Stated, frozen=True, kw_only=True, tag="graceful-shutdown"):
    """After SIGTERM an instance takes nothing new, finishes what it has, and ends by itself (clause 6.6).

    With one instance the journey has to be one call at the service's own port: a second call of it would come after
    the signal and be refused. Several are told apart by their spans.

    Attributes:
        service: whose first instance is sent the signal.
        instances: how many there are; with two or more no client may see an error.
        slow: the edge that is slowed, so that requests are in flight when the signal comes.
        slow_ms: by how much.
        rate: requests a second.
        drains_within_s: when it has to have ended, counted from the signal.
        exit_code: how.
        outlasts_s: some request has to be in flight that is finished only so long after the signal: a drain that is
            promised 30 s is not shown by requests that are done after one.
    """

    service: str
    slow: str
    instances: Annotated[int, Meta(ge=1, le=9)] = 2
    slow_ms: Count = 1000
    rate: Positive = 10.0
    drains_within_s: Positive = 30.0
    exit_code: int = 0
    outlasts_s: Annotated[float, Meta(ge=0)] = 0.0

    def scenario(self, topology: Topology) -> Scenario:
        """A load with slow requests; in its midst the signal; the load goes on until the instance has ended."""
        with key("service"):
            service = topology.service(self.service)
        with key("slow"):
            slow = Latency(topology.edge(self.slow), self.slow_ms)
        with key("outlasts_s"):
            if self.outlasts_s >= self.drains_within_s:
                raise ValueError(f"more than the {self.drains_within_s:g} s that a drain may take")
        load = Load("load", self.journey, self.rate, timeout_s=self.drains_within_s + 5)
        ended = Wait(self.drains_within_s, until=Seen("canary", str(self._signal)))
        steps = (Hold(slow, (Hold(load, (Wait(BEFORE_S), Hold(self._signal, (ended, Wait(AFTER_S))))),)),)
        return Scenario(
            self.name,
            self.journey,
            steps,
            topology.reached_from({service} if self.instances == 1 else {topology.entry, service}),
            instances={service: self.instances},
            environment=self.environment,
        )

    @property
    def _signal(self) -> Terminated:
        return Terminated(self.service, 0)

    def examine(self, recording: Recording) -> Verdict:
        """What was in flight, what came later, and how the process ended; then whether that is enough to tell."""
        whole_window(recording, str(Latency(edge_of(self.slow), self.slow_ms)))
        signal = whole_window(recording, str(self._signal))
        requests = _sorted(phase(recording, "load"), signal)
        self._load_tells(requests)
        slowest = self._finished(requests.in_flight, signal)
        refused = self._later(recording, requests.later)
        took = self._ended(signal)
        self._drain_tells(recording, requests, signal, slowest)
        some = f", {refused} of {len(requests.later)} later ones were refused cleanly" if refused else ""
        return self.kept(
            f"{len(requests.in_flight)} of {len(requests.in_flight)} requests in flight were finished{some}; "
            f"exit code {self.exit_code} {took.value:.1f} s after the signal",
            slowest,
            took,
            Figure("refused cleanly", refused, "requests"),
        )

    def _load_tells(self, requests: Sorted) -> None:
        """Make sure that there is something to judge by."""
        if lost := [one for one in requests.early if not one.ok]:
            raise NoEvidenceError(f"{len(lost)} requests failed before the signal, the first with {told(lost[0])}")
        if len(requests.in_flight) < FEWEST_IN_FLIGHT:
            raise NoEvidenceError(
                f"only {len(requests.in_flight)} requests were in flight at the signal, {FEWEST_IN_FLIGHT} are needed"
            )
        if self.instances == 1:
            entered_at([*requests.early, *requests.in_flight], self.service)

    def _drain_tells(self, recording: Recording, requests: Sorted, signal: Window, slowest: Figure) -> None:
        """Make sure that the signalled instance had requests, for long enough, and that the fate of all is known."""
        if self.instances > 1:
            needs_spans(recording, "which instance had a request")
        before = [*requests.early, *requests.in_flight]
        if recording.traced and not traces_at(recording, before, self.service):
            raise NoEvidenceError(f"no request before the signal has a span of {self.service}")
        if (held := self._at_the_signalled(recording, requests.in_flight, signal)) < FEWEST_IN_FLIGHT:
            raise NoEvidenceError(
                f"only {held} requests had a span of {self.service}-0 at the signal, {FEWEST_IN_FLIGHT} are needed"
            )
        if slowest.value < self.outlasts_s:
            raise NoEvidenceError(
                f"the last request in flight was finished {slowest.value:.1f} s after the signal: "
                f"{self.outlasts_s:g} s are needed to show that it is waited for"
            )
        if (unknown := _unknown(requests.later)) and not _at_the_door(unknown, requests.later, signal):
            raise NoEvidenceError(
                f"{len(unknown)} of {len(requests.later)} requests after the signal were cut, the first with "
                f"{told(unknown[0])}, and no span tells whether they had been taken"
            )

    def _at_the_signalled(self, recording: Recording, in_flight: list[Operation], signal: Window) -> int:
        """How many requests were with the signalled instance when the signal came; a single one had them all."""
        if self.instances == 1:
            return len(in_flight)
        from_ns, to_ns = signal.perhaps_ns[0], signal.surely_ns[0]
        return len(
            {
                span.trace_id
                for span in recording.spans_of(traces(in_flight), self.service)
                if span.attributes.get(INSTANCE) == f"{self.service}-0"
                and span.start_ns < from_ns
                and span.end_ns > to_ns
            }
        )

    def _finished(self, in_flight: list[Operation], signal: Window) -> Figure:
        """Every request in flight has its answer within the drain."""
        signal_ns = signal.surely_ns[0]
        if cut := [one for one in in_flight if not one.ok]:
            raise BrokenError(
                f"{len(cut)} of {len(in_flight)} requests in flight were cut, the first "
                f"{seconds(signal_ns, cut[0].answered_ns or signal_ns):.1f} s after the signal with {told(cut[0])}",
                cut,
            )
        slowest = max(in_flight, key=lambda one: one.answered_ns or 0)
        slowest_s = seconds(signal_ns, slowest.answered_ns or signal_ns)
        figure = Figure("last in flight finished after", slowest_s, "s", f"at most {self.drains_within_s:g} s")
        if slowest_s > self.drains_within_s:
            raise BrokenError(
                f"a request in flight was late: finished {slowest_s:.1f} s after the signal, "
                f"promised {self.drains_within_s:g} s",
                [slowest],
                [figure],
            )
        return figure

    def _later(self, recording: Recording, later: list[Operation]) -> int:
        """How many later requests were refused cleanly: no connection, or an answer at once that says so."""
        failed = [one for one in later if not one.ok]
        if failed and self.instances > 1:
            raise BrokenError(
                f"{len(failed)} of {len(later)} requests after the signal failed, the first with {told(failed[0])}; "
                f"promised none with {self.instances} instances",
                failed,
            )
        timing = Timing(recording)
        refused = [one for one in failed if _refused(one, timing)]
        taken = traces_at(recording, failed, self.service)
        if cut := [one for one in failed if one not in refused and (one.status or one.trace_id in taken)]:
            raise BrokenError(
                f"{len(cut)} of {len(later)} requests after the signal were taken and then cut, "
                f"the first with {told(cut[0])}",
                cut,
            )
        return len(refused)

    def _ended(self, signal: Window) -> Figure:
        end = signal.canary.completed if signal.canary else None
        if end is None or end.outcome is not Outcome.OK:
            raise NoEvidenceError("nobody saw how the process ended")
        if "exit_code" not in end.detail:
            raise BrokenError(f"{self.service}-0 did not end, promised within {self.drains_within_s:g} s of the signal")
        after_s, exit_code = float(end.detail["after_s"]), end.detail["exit_code"]
        figure = Figure("ended after", after_s, "s", f"at most {self.drains_within_s:g} s")
        if exit_code != self.exit_code or after_s > self.drains_within_s:
            raise BrokenError(
                f"{self.service}-0 ended with exit code {exit_code} {after_s:.1f} s after the signal, "
                f"promised {self.exit_code} within {self.drains_within_s:g} s",
                figures=[figure],
            )
        return figure


def _sorted(requests: list[Operation], signal: Window) -> Sorted:
    sent_ns = signal.perhaps_ns[0]
    sure_ns = signal.surely_ns[0]
    before = [one for one in requests if one.sent_ns < sent_ns]
    under_way = [one for one in before if (one.answered_ns or 0) > sure_ns]
    return Sorted(
        early=[one for one in before if (one.answered_ns or 0) <= sure_ns],
        in_flight=[one for one in under_way if not _unconnected(one)],
        later=[one for one in requests if one.sent_ns >= sent_ns or (one in under_way and _unconnected(one))],
    )


def _unconnected(request: Operation) -> bool:
    """Whether nobody listened: no answer, and it is known that nothing was done."""
    return request.outcome is Outcome.FAILED and request.status is None


def _refused(request: Operation, timing: Timing) -> bool:
    answered = request.status == UNAVAILABLE and timing.refused_s(request).least_s <= REFUSED_WITHIN_S
    return answered or _unconnected(request)


def _unknown(later: list[Operation]) -> list[Operation]:
    return [one for one in later if one.outcome is Outcome.UNKNOWN]


def _at_the_door(unknown: list[Operation], later: list[Operation], signal: Window) -> bool:
    """Whether a single one came when the listener was closing: until the end all after it were refused."""
    end = signal.canary.completed if signal.canary else None
    after = [one for one in later if one.sent_ns > unknown[0].sent_ns and (not end or one.sent_ns < end.at_ns)]
    at_once = len(unknown) == 1 and unknown[0].duration_s <= REFUSED_WITHIN_S
    return at_once and bool(after) and all(map(_unconnected, after))
