"""Discovery: an instance that has died is soon called no more, and called again soon after it is back."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from brownout.faults import AGENT, Lost
from brownout.history import Operation
from brownout.promises.evidence import (
    edge_of,
    entered_at,
    needs_spans,
    phase,
    seconds,
    told,
    traces,
    whole_window,
)
from brownout.promises.intervals import share_interval
from brownout.promises.promise import BrokenError, NoEvidenceError, Positive, Stated, key
from brownout.recording import Recording
from brownout.scenario import Hold, Load, Scenario, Step, Wait
from brownout.topology import Edge, Topology
from brownout.verdict import Figure, Verdict
from brownout.windows import Window

__all__ = ["Discovery", "Times"]

LOAD = "load"
AFTER_S = 5.0
FEWEST_EACH = 5
"""Requests per instance to tell by whether a balancer uses it."""

BALANCED_EACH = 15
"""Requests per instance by which a balancer has used every one of them: one that draws lots misses one of nine with a
probability below 2 in a million, one of three below 4 in 100 million."""

MARGIN_S = 1.0

REGISTERED_S = 10.0
"""Until all are registered again at a new agent (clause 4.1)."""


class Times(msgspec.Struct, frozen=True):
    """The requests of the load, by what was known of the instance when they were sent.

    Attributes:
        early: had their end before it was killed.
        meanwhile: had none then, and were sent when its death need not have been known.
        without: sent when it had to be known, until the instance was started again.
        again: sent later.
    """

    early: list[Operation]
    meanwhile: list[Operation]
    without: list[Operation]
    again: list[Operation]


class Discovery(Stated, frozen=True, kw_only=True, tag="discovery"):
    """Only instances that pass are discovered (clause 4.1).

    The journey is a single request at the caller's own port. Where three instances take turns, a dead one fails a
    third of the calls, which never trips a breaker of ratio 0.6 (clause 6.2). Which instance had a call is told by
    its span's ``service.instance.id``.

    Attributes:
        edge: the caller, and the service that is discovered.
        instances: how many of it there are; the last one is killed.
        rate: requests a second.
        within_s: of its death, and again of its return: the check's interval of 10 s, its time-out of 3 s, and 2 s for
            the news.
        restart_s: before, the agent, one of the cell's own, is gone for so long and then starts with a lower index, and
            whoever watches has to go on; None: it is not.
    """

    edge: str
    instances: Annotated[int, Meta(ge=2, le=9)] = 3
    rate: Positive = 10.0
    within_s: Positive = 15.0
    restart_s: Positive | None = None

    def scenario(self, topology: Topology) -> Scenario:
        """A load; in its midst an instance dies, and stays dead for longer than it may be noticed."""
        with key("edge"):
            edge = topology.edge(self.edge)
            topology.service(edge.service)
        dead = Hold(self._lost, (Wait(self.within_s + AFTER_S),))
        alive = Wait(BALANCED_EACH * self.instances / self.rate + MARGIN_S)
        load = Hold(Load(LOAD, self.journey, self.rate), (alive, dead, Wait(self.within_s + AFTER_S)))
        restart: tuple[Step, ...] = ()
        if self.restart_s is not None:
            restart = (Hold(AGENT, (Wait(self.restart_s),)), Wait(REGISTERED_S))
        return Scenario(
            self.name,
            self.journey,
            (*restart, load),
            topology.reached_from({edge.caller}),
            instances={edge.service: self.instances},
            environment=self.environment,
            private=(AGENT.server,) if restart else (),
        )

    @property
    def _lost(self) -> Lost:
        return Lost(edge_of(self.edge).service, self.instances - 1)

    def examine(self, recording: Recording) -> Verdict:
        """All instances before, the others without the dead one, and all again."""
        needs_spans(recording, "which instance had a request")
        edge = edge_of(self.edge)
        if self.restart_s is not None:
            whole_window(recording, str(AGENT))
        window = whole_window(recording, str(self._lost))
        times = self._sorted(phase(recording, LOAD), window)
        self._used_before(recording, times.early, edge)
        self._none_fails(times, window)
        self._others_used(recording, times.without, edge)
        back_s = self._used_again(recording, times.again, edge, window)
        failed = [one for one in times.meanwhile if not one.ok]
        last_s = max((seconds(window.surely_ns[0], one.sent_ns) for one in failed), default=0.0)
        bound = f"at most {self.within_s:g} s"
        return self.kept(
            f"{len(failed)} of {len(times.meanwhile)} calls failed until {self._names[-1]} was known to be dead, "
            f"then 0 of {len(times.without) + len(times.again)}; it was called again {back_s:.1f} s after its return",
            Figure("last failure after", max(0.0, last_s), "s", bound),
            Figure("called again after", back_s, "s", bound),
        )

    def _sorted(self, requests: list[Operation], window: Window) -> Times:
        killed_ns, started_ns = window.perhaps_ns[0], window.surely_ns[1]
        known_ns = window.surely_ns[0] + int(self.within_s * 1e9)
        return Times(
            early=[one for one in requests if (one.answered_ns or killed_ns) < killed_ns],
            meanwhile=[
                one for one in requests if (one.answered_ns or killed_ns) >= killed_ns and one.sent_ns < known_ns
            ],
            without=[one for one in requests if known_ns <= one.sent_ns < started_ns],
            again=[one for one in requests if one.sent_ns >= max(known_ns, started_ns)],
        )

    def _used_before(self, recording: Recording, early: list[Operation], edge: Edge) -> None:
        """Make sure that every instance took part, the one that is killed among them."""
        self._enough(early, "before the kill", BALANCED_EACH)
        entered_at(early, edge.caller)
        if lost := [one for one in early if not one.ok]:
            raise NoEvidenceError(f"{len(lost)} requests failed before the kill, the first with {told(lost[0])}")
        used = _used(recording, early, edge.service)
        idle = [name for name in self._names if name not in used]
        if idle == self._names[-1:]:
            raise NoEvidenceError(f"{idle[0]} has no span from before the kill, which may have taken them with it")
        if idle:
            raise BrokenError(
                f"{', '.join(idle)} had none of {len(early)} requests before the kill, these had: {_list(used)}; "
                "promised that the load is balanced",
                early[:1],
            )

    def _none_fails(self, times: Times, window: Window) -> None:
        """Once its death had to be known, no request fails: not without it, and not when it comes back."""
        self._enough(times.without, "after its death had to be known")
        self._enough(times.again, "after it was started again")
        if failed := [one for one in (*times.without, *times.again) if not one.ok]:
            after_s = seconds(window.surely_ns[0], failed[0].sent_ns)
            raise BrokenError(
                f"a request ended with {told(failed[0])} {after_s:.1f} s after {self._names[-1]} was killed, "
                f"promised none from {self.within_s:g} s on",
                failed,
            )

    def _others_used(self, recording: Recording, without: list[Operation], edge: Edge) -> None:
        used = _used(recording, without, edge.service)
        *others, dead = self._names
        if dead in used:
            raise NoEvidenceError(f"{dead} had a request while it was dead: it is another process")
        if idle := [name for name in others if name not in used]:
            none = f"{', '.join(idle)} had none of {len(without)} requests without {dead}"
            if share_interval(0, len(without))[1] >= 1 / len(others):  # a balancer that draws lots may be unlucky
                raise NoEvidenceError(none)
            raise BrokenError(none, without[:1])

    def _used_again(self, recording: Recording, again: list[Operation], edge: Edge, window: Window) -> float:
        """How long after it was well again the instance had its first request."""
        dead, well_ns = self._names[-1], window.perhaps_ns[1]
        taken = (one for one in again if dead in _used(recording, [one], edge.service))
        first = next(taken, None)
        after_s = max(0.0, seconds(well_ns, first.sent_ns)) if first else seconds(well_ns, again[-1].sent_ns)
        if after_s > self.within_s:
            did = "had its first request only" if first else "had no request"
            raise BrokenError(
                f"{dead} {did} {after_s:.1f} s after it was well again, promised within {self.within_s:g} s",
                [first or again[-1]],
            )
        if first is None:
            raise NoEvidenceError(
                f"the load ended {after_s:.1f} s after {dead} was well again, before it had a request"
            )
        return after_s

    def _enough(self, requests: list[Operation], when: str, each: int = FEWEST_EACH) -> None:
        fewest = each * self.instances
        if len(requests) < fewest:
            raise NoEvidenceError(f"only {len(requests)} requests {when}, {fewest} are needed")

    @property
    def _names(self) -> list[str]:
        """The instances by the name that their spans carry; the last one is killed."""
        return [f"{edge_of(self.edge).service}-{number}" for number in range(self.instances)]


def _used(recording: Recording, requests: Iterable[Operation], service: str) -> Counter[str]:
    """How many requests each instance of a service had, by its spans' ``service.instance.id``."""
    spans = recording.spans_of(traces(requests), service)
    return Counter(str(span.attributes.get("service.instance.id")) for span in spans if span.kind == "server")


def _list(used: Counter[str]) -> str:
    return ", ".join(sorted(used)) or "none"
