"""The graceful end of a consumer: the event at hand is finished, and none is begun that is not."""

from brownout.faults import Latency, Terminated
from brownout.history import Operation, Outcome
from brownout.promises.evidence import edge_of, needs_spans, phase, seconds, told, traces, whole_window
from brownout.promises.promise import BrokenError, Count, NoEvidenceError, Positive, Stated, key
from brownout.recording import Recording, Span
from brownout.scenario import Hold, Load, Scenario, Seen, Wait
from brownout.topology import Topology
from brownout.verdict import Figure, Verdict
from brownout.windows import Window

__all__ = ["ConsumerShutdown"]

LOAD = "load"
BEFORE_S = 4.0
AFTER_S = 1.0
WORKED_OFF_S = 5.0
"""From the lift on, for what waits by then: of spans that are still on their way some are there before earlier ones."""
CATCHES_UP_S = 10.0
"""From the restart until the load ends: a broker gives a new member its share within a few seconds."""


class ConsumerShutdown(Stated, frozen=True, kw_only=True, tag="consumer-shutdown"):
    """After SIGTERM a consumer finishes the event at hand and ends by itself (clause 6.6).

    It is seen by its spans of kind *consumer*: an event that was cut off in its handling comes again, and has two.

    Attributes:
        service: whose first instance is sent the signal.
        slow: the edge that its handling waits for, slowed so that an event is at hand when the signal comes.
        slow_ms: by how much.
        rate: requests a second; each makes one event.
        drains_within_s: when it has to have ended, counted from the signal.
        exit_code: how.
    """

    service: str
    slow: str
    slow_ms: Count = 1500
    rate: Positive = 3.0
    drains_within_s: Positive = 30.0
    exit_code: int = 0

    def scenario(self, topology: Topology) -> Scenario:
        """A load with slow handling; in its midst the signal; the load goes on for a while after the restart."""
        with key("service"):
            service = topology.service(self.service)
        with key("slow"):
            slow = Latency(topology.edge(self.slow), self.slow_ms)
        ended = Wait(self.drains_within_s, until=Seen("canary", str(self._signal)))
        signalled = Hold(self._signal, (ended, Wait(AFTER_S)))
        load = Load(LOAD, self.journey, self.rate)
        slowed = Hold(slow, (Hold(load, (Wait(BEFORE_S), signalled, Wait(CATCHES_UP_S))), Wait(AFTER_S)))
        steps = (slowed, Wait(WORKED_OFF_S))
        services = topology.reached_from({topology.entry, service})
        return Scenario(self.name, self.journey, steps, services, environment=self.environment)

    @property
    def _signal(self) -> Terminated:
        return Terminated(self.service, 0)

    def examine(self, recording: Recording) -> Verdict:
        """How it ended, then that every event was begun once, and that one was at hand."""
        needs_spans(recording, "an event at hand")
        whole_window(recording, str(Latency(edge_of(self.slow), self.slow_ms)))
        signal = whole_window(recording, str(self._signal))
        requests = [*phase(recording, "before"), *phase(recording, LOAD)]  # whose events may still wait
        if lost := [one for one in requests if not one.ok]:
            raise NoEvidenceError(f"{len(lost)} requests failed, the first with {told(lost[0])}")
        took = self._ended(signal)
        spans = [span for span in recording.spans_of(traces(requests), self.service) if span.kind == "consumer"]
        self._begun_once(spans, requests, signal)
        held = self._at_hand(spans, signal)
        return self.kept(
            f"{held} of {held} events at hand were finished, {len(spans)} of {len(spans)} were begun once; exit code "
            f"{self.exit_code} {took.value:.1f} s after the signal",
            took,
            Figure("events", len(spans), "begun once"),
        )

    def _ended(self, signal: Window) -> Figure:
        end = signal.canary.completed if signal.canary else None
        if end is None or end.outcome is not Outcome.OK:
            raise NoEvidenceError("nobody saw how the process ended")
        after_s, code = float(end.detail.get("after_s", self.drains_within_s)), end.detail.get("exit_code", "none")
        figure = Figure("ended after", after_s, "s", f"at most {self.drains_within_s:g} s")
        if code != self.exit_code or after_s > self.drains_within_s:
            raise BrokenError(
                f"{self.service}-0 ended with exit code {code} {after_s:.1f} s after the signal, promised "
                f"{self.exit_code} within {self.drains_within_s:g} s",
                figures=[figure],
            )
        return figure

    def _begun_once(self, spans: list[Span], requests: list[Operation], signal: Window) -> None:
        """No event was begun before the end and again after it, and none was passed over.

        Raises:
            BrokenError: one was; events are handled in their order, so one that has no span while a later one has
                will never have one.
            NoEvidenceError: one was begun twice before the signal, or twice after it: its handling had failed.
        """
        begun = {span.trace_id: span for span in spans if span.start_ns < signal.surely_ns[1]}
        again = {span.trace_id for span in spans if span.start_ns >= signal.surely_ns[1]}
        if cut := [one for one in requests if one.trace_id in begun and one.trace_id in again]:
            raise BrokenError(
                f"an event was begun before the end of {self.service} and again after it: it was cut off in its "
                f"handling, {seconds(cut[0].sent_ns, begun[cut[0].trace_id].start_ns):.1f} s after it was asked for",
                cut,
            )
        if len({span.trace_id for span in spans}) < len(spans):
            raise NoEvidenceError("an event was begun twice, and not for the signal: its handling had failed")
        handled = {span.trace_id for span in spans}
        last = max((place for place, one in enumerate(requests) if one.trace_id in handled), default=0)
        if lost := [one for one in requests[:last] if one.trace_id not in handled]:
            raise BrokenError(
                f"{len(lost)} events were passed over, the first asked for "
                f"{seconds(lost[0].sent_ns, signal.perhaps_ns[0]):.1f} s before the signal",
                lost,
            )

    def _at_hand(self, spans: list[Span], signal: Window) -> int:
        """How many events were at hand when the signal came; and some have to be handled after the restart.

        Raises:
            NoEvidenceError: none was, or none is.
        """
        sent_ns, started_ns = signal.surely_ns
        held = [span for span in spans if span.start_ns < signal.perhaps_ns[0] and span.end_ns > sent_ns]
        if not held:
            raise NoEvidenceError(f"no event was at hand at {self.service} when the signal came: slow it by more")
        if not any(span.start_ns > started_ns for span in spans):
            raise NoEvidenceError(f"no event was handled after {self.service} was started again")
        return len(held)
