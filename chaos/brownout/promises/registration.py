"""Registration: a service that the registry has lost is registered again, and its callers find it."""

import msgspec

from brownout.faults import AGENT
from brownout.history import Operation, Outcome
from brownout.promises.evidence import edge_of, entered_at, phase, seconds, told, whole_window
from brownout.promises.promise import BrokenError, NoEvidenceError, Positive, Stated, key
from brownout.recording import Recording
from brownout.scenario import Forget, Hold, Load, Lookup, Scenario, Step, Wait
from brownout.topology import Topology
from brownout.verdict import Figure, Verdict

__all__ = ["Registration"]

LOAD = "load"
BEFORE_S = 2.0
AFTER_S = 4.0
FEWEST = 5


class Loss(msgspec.Struct, frozen=True):
    """How the registry lost the service.

    Attributes:
        there: the instances that were registered before.
        from_ns: before this nothing was done.
        until_ns: from this on they can be registered again.
    """

    there: list[str]
    from_ns: int
    until_ns: int


class Registration(Stated, frozen=True, kw_only=True, tag="registration"):
    """A service that the registry's agent has lost registers again (clause 4.1).

    The journey is a single request at the caller's own port, which calls the service.

    Attributes:
        edge: a caller, and the service that is forgotten.
        rate: requests a second.
        within_s: until it is registered again, and from then on no request fails.
        restart_s: so long the agent, one of the cell's own, is gone, and then starts with nothing; None: the agent is
            told to forget the service.
    """

    edge: str
    rate: Positive = 4.0
    within_s: Positive = 10.0
    restart_s: Positive | None = None

    def scenario(self, topology: Topology) -> Scenario:
        """A load; in its midst every instance of the service is lost, and looked for when it has to be back."""
        with key("edge"):
            edge = topology.edge(self.edge)
            service = topology.service(edge.service)
        lost: tuple[Step, ...] = (Forget(service),)
        if self.restart_s is not None:
            lost = (Lookup(service), Hold(AGENT, (Wait(self.restart_s),)))
        again = (Wait(self.within_s), Lookup(service), Wait(AFTER_S))
        load = Hold(Load(LOAD, self.journey, self.rate), (Wait(BEFORE_S), *lost, *again))
        services = topology.reached_from({edge.caller})
        private = () if self.restart_s is None else (AGENT.server,)
        return Scenario(self.name, self.journey, (load,), services, environment=self.environment, private=private)

    def examine(self, recording: Recording) -> Verdict:
        """Registered before, registered again, and found by its caller."""
        edge = edge_of(self.edge)
        loss = self._loss(recording, edge.service)
        lookup, again = self._looked_up(recording, edge.service)[-1]
        requests = phase(recording, LOAD)
        entered_at(requests, edge.caller)
        if not loss.there:
            raise NoEvidenceError(f"no instance of {edge.service} was registered before")
        if lost := [one for one in requests if (one.answered_ns or 0) < loss.from_ns and not one.ok]:
            raise NoEvidenceError(f"{len(lost)} requests failed before, the first with {told(lost[0])}")
        took_s = seconds(loss.until_ns, lookup.sent_ns)
        if missing := [name for name in loss.there if name not in again]:
            raise BrokenError(
                f"{', '.join(missing)} was not registered {took_s:.1f} s after the registry {self._since}, "
                f"promised within {self.within_s:g} s",
                [lookup],
            )
        after = [one for one in requests if one.sent_ns >= loss.until_ns + self.within_s * 1e9]
        if failed := [one for one in after if not one.ok]:
            raise BrokenError(
                f"a request ended with {told(failed[0])} {seconds(loss.until_ns, failed[0].sent_ns):.1f} s after the "
                f"registry {self._since}, promised none from {self.within_s:g} s on",
                failed,
            )
        if len(after) < FEWEST:
            raise NoEvidenceError(f"only {len(after)} requests when it had to be back, {FEWEST} are needed")
        meanwhile = [one for one in requests if one not in after and one.sent_ns >= loss.from_ns and not one.ok]
        last_s = max((0.0, *(seconds(loss.until_ns, one.sent_ns) for one in meanwhile)))
        return self.kept(
            f"{len(loss.there)} of {len(loss.there)} instances that the registry had lost were registered again; "
            f"{len(meanwhile)} calls failed meanwhile, then 0 of {len(after)}",
            Figure("last failure after", last_s, "s", f"at most {self.within_s:g} s"),
        )

    def _loss(self, recording: Recording, service: str) -> Loss:
        if self.restart_s is None:
            ((forget, there),) = _told(recording, "forget", service, 1)
            return Loss(there, forget.sent_ns, forget.answered_ns or forget.sent_ns)
        (_, there), _ = self._looked_up(recording, service)
        window = whole_window(recording, str(AGENT))
        return Loss(there, *window.perhaps_ns)

    @property
    def _since(self) -> str:
        """What the registry did when the time began that is granted."""
        return "had lost it" if self.restart_s is None else "was back"

    def _looked_up(self, recording: Recording, service: str) -> list[tuple[Operation, list[str]]]:
        return _told(recording, "lookup", service, 1 if self.restart_s is None else 2)


def _told(recording: Recording, actor: str, service: str, times: int) -> list[tuple[Operation, list[str]]]:
    """What the registry was asked so many times, and the instances that it told."""
    done = [one for one in recording.history.operations(actor, service) if one.outcome is Outcome.OK]
    if len(done) != times:
        raise NoEvidenceError(f"{actor} {service} was done {len(done)} times instead of {times}")
    named = [one.completed.detail.get("instances", []) if one.completed else [] for one in done]
    return [(one, [str(name) for name in names]) for one, names in zip(done, named, strict=True)]
