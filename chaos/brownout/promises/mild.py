"""Mild trouble on one edge after another: a second of latency trips nothing, loses nothing, degrades nothing."""

from collections.abc import Mapping

import msgspec

from brownout.faults import Latency
from brownout.history import Operation
from brownout.promises.evidence import edge_of, phase, seconds, told, whole_window
from brownout.promises.health import Said
from brownout.promises.promise import BrokenError, Count, NoEvidenceError, Positive, Stated, key
from brownout.promises.timing import Timing
from brownout.recording import Recording
from brownout.scenario import Calls, Hold, Load, Scenario, Step, Wait, Watch
from brownout.topology import Edge, Topology
from brownout.verdict import Figure, Verdict
from brownout.windows import Window

__all__ = ["MildTrouble"]

FEWEST_SLOWED = 3
"""Requests on a slowed edge that have to be seen to be slow."""

SLOW_SHARE = 0.9
"""A request took the latency if it took so much of it, as the fault's own canary counts."""

AFTERWARDS = 3
PHASE = "slow: "
WATCH = "health of "
WATCH_EVERY_S = 1.0
MARGIN_S = 2.0


class MildTrouble(Stated, frozen=True, kw_only=True, tag="mild-trouble"):
    """What is only slow harms nobody (implied by the documents' time-outs of 3 s and more).

    Attributes:
        latency_ms: on every answer over the edge.
        within_s: of each request, in spite of it.
        seconds: how long each edge is slow.
        rate: journeys a second.
        edges: those that are slowed; empty: every edge of the topology.
        journeys: by edge, what uses it where `journey` does not.
        background: callees that no request waits for (the registry, say): there the fault's own canary shows that
            it was slow, elsewhere requests have to.
        health: what every service says of itself all the time; without it nobody asks.
    """

    latency_ms: Count = 1000
    within_s: Positive = 10.0
    seconds: Positive = 3.0
    rate: Positive = 2.0
    edges: tuple[str, ...] = ()
    journeys: dict[str, str] = msgspec.field(default_factory=dict)
    background: tuple[str, ...] = ()
    health: Said | None = None

    def scenario(self, topology: Topology) -> Scenario:
        """One slow edge after another under load; then a few calls of each journey on healthy edges."""
        edges = self._edges_in(topology)
        services = topology.reached_from({topology.entry, *(edge.caller for edge in edges)})
        used = dict.fromkeys(self._journey(edge) for edge in edges)
        steps: tuple[Step, ...] = (
            *(self._slowed(edge) for edge in edges),
            *(Calls(_afterwards(journey), journey, AFTERWARDS) for journey in used),
        )
        for service in services if self.health else ():
            path = topology.services[service].health
            watch = Watch(WATCH + service, service, path, WATCH_EVERY_S, timeout_s=self.within_s)
            steps = (Hold(watch, steps),)
        return Scenario(self.name, self.journey, steps, services, environment=self.environment)

    def _edges_in(self, topology: Topology) -> tuple[Edge, ...]:
        with key("edges"):
            edges = tuple(dict.fromkeys(topology.edge(text) for text in self.edges)) or topology.edges()
        for text in self.journeys:
            with key(f"journeys.{text}"):
                if topology.edge(text) not in edges:
                    raise ValueError("this edge is not slowed")
        with key("background"):
            callees = sorted({edge.callee for edge in edges})
            if unknown := [name for name in self.background if name not in callees]:
                raise ValueError(f"no slowed edge leads to {unknown[0]!r}; they lead to {', '.join(callees)}")
        return edges

    def _slowed(self, edge: Edge) -> Step:
        load = Load(_phase(edge), self._journey(edge), self.rate, timeout_s=self.within_s + MARGIN_S)
        return Hold(Latency(edge, self.latency_ms), (Hold(load, (Wait(self.seconds),)),))

    def _journey(self, edge: Edge) -> str:
        return next((name for text, name in self.journeys.items() if edge_of(text) == edge), self.journey)

    def examine(self, recording: Recording) -> Verdict:
        """Edge by edge, then the calls afterwards and what the services said of themselves."""
        held = {edge: self._window(recording, edge) for edge in self._slow_edges(recording)}
        requests = [one for edge in held for one in self._unharmed(recording, edge)]
        for journey in dict.fromkeys(map(self._journey, held)):
            self._all_well(recording, phase(recording, _afterwards(journey)), "after the last latency")
        answers = _well(recording, held, self.health) if self.health else 0
        for edge, window in held.items():
            self._was_slow(recording, edge, window)
        said = f", services said {answers} of {answers} times that all is well" if answers else ""
        return self.kept(
            f"{len(requests)} of {len(requests)} requests succeeded with {self.latency_ms} ms of latency "
            f"on one of {len(held)} edges after another{said}",
            Figure("slowest", max(one.duration_s for one in requests), "s", f"at most {self.within_s:g} s"),
        )

    def _slow_edges(self, recording: Recording) -> list[Edge]:
        """The edges that had their load, in their order; all that the contract names are among them."""
        phases = dict.fromkeys(one.invoked.action for one in recording.history.operations("load"))
        edges = [edge_of(name.removeprefix(PHASE)) for name in phases]
        if missing := [text for text in self.edges if edge_of(text) not in edges]:
            raise NoEvidenceError(f"no request was made while {missing[0]} was slow")
        if not edges:
            raise NoEvidenceError("no request was made while an edge was slow")
        return edges

    def _window(self, recording: Recording, edge: Edge) -> Window:
        return whole_window(recording, str(Latency(edge, self.latency_ms)))

    def _unharmed(self, recording: Recording, edge: Edge) -> list[Operation]:
        requests = phase(recording, _phase(edge))
        self._all_well(recording, requests, f"{self.latency_ms} ms of latency on {edge}")
        return requests

    def _all_well(self, recording: Recording, requests: list[Operation], when: str) -> None:
        """None may fail, and none be late: every single one counts."""
        lost = [one for one in requests if not one.ok]
        for harmed in lost or Timing(recording).late(requests, self.within_s):
            asked = " ".join(str(harmed.invoked.detail.get(word, "?")) for word in ("service", "method", "path"))
            raise BrokenError(
                f"{when}: {asked} ended with {told(harmed)} after {harmed.duration_s:.1f} s, "
                f"promised to succeed within {self.within_s:g} s",
                [harmed],
                [Figure("took", harmed.duration_s, "s", f"at most {self.within_s:g} s")],
            )

    def _was_slow(self, recording: Recording, edge: Edge, window: Window) -> None:
        """Make sure that requests went over the edge while it was slow; where none waits for it, the canary did."""
        if edge.callee in self.background:
            return
        least_s = SLOW_SHARE * self.latency_ms / 1000
        on_ns, off_ns = window.surely_ns
        within = [one for one in phase(recording, _phase(edge)) if on_ns <= one.sent_ns < off_ns]
        slow = [one for one in within if one.duration_s >= least_s]
        if len(slow) < FEWEST_SLOWED:
            raise NoEvidenceError(
                f"only {len(slow)} of {len(within)} requests took {least_s:g} s with {self.latency_ms} ms on {edge}, "
                f"{FEWEST_SLOWED} are needed: {self._journey(edge)} does not use the edge, or waits for no answer there"
            )


def _well(recording: Recording, held: Mapping[Edge, Window], health: Said) -> int:
    """How often services said that they are well; each caller has to have been asked while its edge was slow."""
    watched = [one for one in recording.history.operations("watch") if one.invoked.action.startswith(WATCH)]
    answers = [one for one in watched if one.completed is not None]
    for answer in answers:
        if not health.matches(answer):
            raise BrokenError(_unwell(answer, held, health), [answer])
    for edge, window in held.items():
        on_ns, off_ns = window.surely_ns
        asked = [one for one in answers if one.invoked.action == WATCH + edge.caller]
        if not any(on_ns <= one.sent_ns and (one.answered_ns or off_ns) < off_ns for one in asked):
            raise NoEvidenceError(f"{edge.caller} was not asked how it is while {edge} was slow")
    return len(answers)


def _unwell(answer: Operation, held: Mapping[Edge, Window], health: Said) -> str:
    """What a service said, and which edge was slowed last."""
    service, at_ns = answer.invoked.action.removeprefix(WATCH), answer.answered_ns or 0
    body = answer.completed.detail.get("body") if answer.completed else None
    said = f"{service} said {told(answer)} {body}"
    begun = [edge for edge, window in held.items() if window.perhaps_ns[0] <= at_ns]
    if not begun:
        raise NoEvidenceError(f"{said} before any edge was slow")
    after_s = seconds(held[begun[-1]].perhaps_ns[0], at_ns)
    return f"{said} {after_s:.1f} s after {begun[-1]} became slow, promised {health} all the time"


def _phase(edge: Edge) -> str:
    return f"{PHASE}{edge}"


def _afterwards(journey: str) -> str:
    return f"afterwards: {journey}"
