"""The caller's own mistakes: what a callee refuses as such says nothing against it."""

from typing import Annotated

from msgspec import Meta

from brownout.history import Operation
from brownout.promises.evidence import edge_of, entered_at, phase, seen_at, told
from brownout.promises.promise import BrokenError, NoEvidenceError, Stated, Status, key
from brownout.promises.stages import carried_bytes, in_one_window
from brownout.promises.trips import Trips
from brownout.recording import Recording
from brownout.scenario import Bytes, Calls, Scenario, Wait
from brownout.topology import Topology
from brownout.verdict import Figure, Verdict

__all__ = ["CallerMistakes"]

MARGIN_S = 0.5
TIMES = 4
"""Mistakes for each request that a trip asks for: only they are in the window."""

AFTERWARDS = 3


class CallerMistakes(Stated, frozen=True, kw_only=True, tag="caller-mistakes"):
    """A callee's 4xx is the caller's own mistake, and does not count in its breaker (clause 3.1).

    Attributes:
        edge: whose breaker does not count them.
        mistaken: the journey that the callee refuses: a single request at the caller's own port.
        status: with which it is answered then.
        trips: when failures would open the breaker.
    """

    edge: str
    mistaken: Annotated[str, Meta(min_length=1)]
    status: Status
    trips: Trips

    def scenario(self, topology: Topology) -> Scenario:
        """Mistakes alone in a window, and good calls after them."""
        with key("edge"):
            edge = topology.edge(self.edge)
            topology.service(edge.service)
        steps = (
            Wait(self.trips.interval_s + MARGIN_S),
            Bytes(edge),
            Calls("mistaken", self.mistaken, TIMES * self.trips.requests),
            Bytes(edge),
            Calls("afterwards", self.journey, AFTERWARDS),
        )
        services = topology.reached_from({edge.caller})
        return Scenario(self.name, self.journey, steps, services, environment=self.environment)

    def examine(self, recording: Recording) -> Verdict:
        """Each mistake reached the callee and was told as such; then each good call succeeded."""
        edge = edge_of(self.edge)
        mistaken = phase(recording, "mistaken", TIMES * self.trips.requests)
        entered_at(mistaken, edge.caller)
        in_one_window(recording, mistaken, self.trips.interval_s)
        if recording.traced and not any(call.status != self.status for call in mistaken):
            seen_at(recording, mistaken, edge.service)
        if not carried_bytes(recording, edge):
            raise NoEvidenceError(f"no mistaken call reached {edge.service}: {self.mistaken} does not use the edge")
        if any(call.ok for call in mistaken):
            raise NoEvidenceError(f"{self.mistaken} succeeded: it is no mistake")
        for before, call in enumerate(mistaken):
            if call.status != self.status:
                raise self._counted(before, call, str(self.status))
        for call in phase(recording, "afterwards", AFTERWARDS):
            if not call.ok:
                raise self._counted(len(mistaken), call, "to succeed")
        return self.kept(
            f"{len(mistaken)} calls answered {self.status} in one window did not trip it, and the next "
            f"{AFTERWARDS} succeeded",
            Figure("mistakes", len(mistaken), "calls"),
        )

    def _counted(self, before: int, call: Operation, promised: str) -> BrokenError:
        return BrokenError(
            f"after {before} mistakes a call ended with {told(call)}, promised {promised}: "
            f"mistakes do not count against {edge_of(self.edge).service}",
            [call],
        )
