"""The graceful end of an instance: what it has accepted it finishes, in time, and nobody is cut off."""

from typing import Annotated

import msgspec
from msgspec import Meta

from brownout.faults import Latency, Terminated
from brownout.history import Operation, Outcome
from brownout.promises.evidence import edge_of, entered_at, phase, seconds, told, traces_at, whole_window
from brownout.promises.promise import BrokenError, Count, NoEvidenceError, Positive, Stated, key
from brownout.recording import Recording
from brownout.scenario import Hold, Load, Scenario, Wait
from brownout.topology import Topology
from brownout.verdict import Figure, Verdict
from brownout.windows import Window

__all__ = ["GracefulShutdown", "Sorted"]

BEFORE_S = 3.0
AFTER_S = 1.0
FEWEST_IN_FLIGHT = 5


class Sorted(msgspec.Struct, frozen=True):
    """The requests of the load, by what the signal meant to them.

    Attributes:
        early: had their end before the signal.
        in_flight: sent before the signal, and without an end then.
        later: sent when the signal may have been there.
    """

    early: list[Operation]
    in_flight: list[Operation]
    later: list[Operation]


class GracefulShutdown(Stated, frozen=True, kw_only=True, tag="graceful-shutdown"):
    """After SIGTERM an instance takes nothing new, finishes what it has, and ends by itself (clause 6.6).

    With one instance the journey has to be one call at the service's own port: a second call of it would come after
    the signal and be refused.

    Attributes:
        service: whose first instance is sent the signal.
        instances: how many there are; with two or more no client may see an error.
        slow: the edge that is slowed, so that requests are in flight when the signal comes.
        slow_ms: by how much.
        rate: requests a second.
        drains_within_s: when it has to have ended, counted from the signal.
        exit_code: how.
    """

    service: str
    slow: str
    instances: Annotated[int, Meta(ge=1, le=9)] = 2
    slow_ms: Count = 1000
    rate: Positive = 10.0
    drains_within_s: Positive = 30.0
    exit_code: int = 0

    def scenario(self, topology: Topology) -> Scenario:
        """A load with slow requests; in its midst the signal; the load goes on until the instance has ended."""
        with key("service"):
            service = topology.service(self.service)
        with key("slow"):
            slow = Latency(topology.edge(self.slow), self.slow_ms)
        load = Load("load", self.journey, self.rate, timeout_s=self.drains_within_s + 5)
        steps = (Hold(slow, (Hold(load, (Wait(BEFORE_S), Hold(self._signal, (Wait(AFTER_S),)))),)),)
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
        """What was in flight, what came later, and how the process ended."""
        whole_window(recording, str(Latency(edge_of(self.slow), self.slow_ms)))
        signal = whole_window(recording, str(self._signal))
        requests = _sorted(phase(recording, "load"), signal)
        if self.instances == 1:
            entered_at(requests.early, self.service)
        self._load_tells(recording, requests)
        slowest = self._finished(requests.in_flight, signal)
        refused = self._later(recording, requests.later)
        took = self._ended(signal)
        some = f", {refused} of {len(requests.later)} later ones were refused cleanly" if refused else ""
        return self.kept(
            f"{len(requests.in_flight)} of {len(requests.in_flight)} requests in flight were finished{some}; "
            f"exit code {self.exit_code} {took.value:.1f} s after the signal",
            slowest,
            took,
            Figure("refused cleanly", refused, "requests"),
        )

    def _load_tells(self, recording: Recording, requests: Sorted) -> None:
        """Make sure that there is something to judge by."""
        if lost := [one for one in requests.early if not one.ok]:
            raise NoEvidenceError(f"{len(lost)} requests failed before the signal, the first with {told(lost[0])}")
        if len(requests.in_flight) < FEWEST_IN_FLIGHT:
            raise NoEvidenceError(
                f"only {len(requests.in_flight)} requests were in flight at the signal, {FEWEST_IN_FLIGHT} are needed"
            )
        if not traces_at(recording, requests.early, self.service):
            raise NoEvidenceError(f"no request before the signal has a span of {self.service}")

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
        """How many later requests were refused cleanly: no span of the service, so it never took them."""
        failed = [one for one in later if not one.ok]
        if failed and self.instances > 1:
            raise BrokenError(
                f"{len(failed)} of {len(later)} requests after the signal failed, the first with {told(failed[0])}; "
                f"promised none with {self.instances} instances",
                failed,
            )
        taken = traces_at(recording, failed, self.service)
        if cut := [one for one in failed if one.trace_id in taken]:
            raise BrokenError(
                f"{len(cut)} of {len(later)} requests after the signal were taken and then cut, "
                f"the first with {told(cut[0])}",
                cut,
            )
        return len(failed)

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
    return Sorted(
        early=[one for one in requests if one.sent_ns < sent_ns and (one.answered_ns or 0) <= sure_ns],
        in_flight=[one for one in requests if one.sent_ns < sent_ns and (one.answered_ns or 0) > sure_ns],
        later=[one for one in requests if one.sent_ns >= sent_ns],
    )
