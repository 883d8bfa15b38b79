"""Registration: a service that the registry has lost is registered again, and its callers find it."""

from brownout.history import Operation, Outcome
from brownout.promises.evidence import edge_of, entered_at, phase, seconds, told
from brownout.promises.promise import BrokenError, NoEvidenceError, Positive, Stated, key
from brownout.recording import Recording
from brownout.scenario import Forget, Hold, Load, Lookup, Scenario, Wait
from brownout.topology import Topology
from brownout.verdict import Figure, Verdict

__all__ = ["Registration"]

LOAD = "load"
BEFORE_S = 2.0
AFTER_S = 4.0
FEWEST = 5


class Registration(Stated, frozen=True, kw_only=True, tag="registration"):
    """A service that the registry's agent has lost registers again (clause 4.1).

    The journey is a single request at the caller's own port, which calls the service.

    Attributes:
        edge: a caller, and the service that is forgotten.
        rate: requests a second.
        within_s: until it is registered again, and from then on no request fails.
    """

    edge: str
    rate: Positive = 4.0
    within_s: Positive = 10.0

    def scenario(self, topology: Topology) -> Scenario:
        """A load; in its midst every instance of the service is forgotten, and looked for when it has to be back."""
        with key("edge"):
            edge = topology.edge(self.edge)
            service = topology.service(edge.service)
        forgotten = (Forget(service), Wait(self.within_s), Lookup(service), Wait(AFTER_S))
        load = Hold(Load(LOAD, self.journey, self.rate), (Wait(BEFORE_S), *forgotten))
        services = topology.reached_from({edge.caller})
        return Scenario(self.name, self.journey, (load,), services, environment=self.environment)

    def examine(self, recording: Recording) -> Verdict:
        """Registered before, registered again, and found by its caller."""
        edge = edge_of(self.edge)
        forget, there = _told(recording, "forget", edge.service)
        lookup, again = _told(recording, "lookup", edge.service)
        forgotten_ns = forget.answered_ns or forget.sent_ns
        requests = phase(recording, LOAD)
        entered_at(requests, edge.caller)
        if not there:
            raise NoEvidenceError(f"no instance of {edge.service} was registered before")
        if lost := [one for one in requests if (one.answered_ns or 0) < forget.sent_ns and not one.ok]:
            raise NoEvidenceError(f"{len(lost)} requests failed before, the first with {told(lost[0])}")
        took_s = seconds(forgotten_ns, lookup.sent_ns)
        if missing := [name for name in there if name not in again]:
            raise BrokenError(
                f"{', '.join(missing)} was not registered {took_s:.1f} s after the registry had lost it, "
                f"promised within {self.within_s:g} s",
                [lookup],
            )
        after = [one for one in requests if one.sent_ns >= forgotten_ns + self.within_s * 1e9]
        if failed := [one for one in after if not one.ok]:
            raise BrokenError(
                f"a request ended with {told(failed[0])} {seconds(forgotten_ns, failed[0].sent_ns):.1f} s after the "
                f"registry had lost {edge.service}, promised none from {self.within_s:g} s on",
                failed,
            )
        if len(after) < FEWEST:
            raise NoEvidenceError(f"only {len(after)} requests when it had to be back, {FEWEST} are needed")
        meanwhile = [one for one in requests if one not in after and one.sent_ns >= forgotten_ns and not one.ok]
        last_s = max((seconds(forgotten_ns, one.sent_ns) for one in meanwhile), default=0.0)
        return self.kept(
            f"{len(there)} of {len(there)} instances that the registry had lost were registered again; "
            f"{len(meanwhile)} calls failed meanwhile, then 0 of {len(after)}",
            Figure("last failure after", last_s, "s", f"at most {self.within_s:g} s"),
        )


def _told(recording: Recording, actor: str, service: str) -> tuple[Operation, list[str]]:
    """What the registry was asked, and the instances that it told."""
    done = [one for one in recording.history.operations(actor, service) if one.completed]
    if len(done) != 1 or done[0].outcome is not Outcome.OK or not done[0].completed:
        raise NoEvidenceError(f"{actor} {service} was done {len(done)} times instead of once")
    return done[0], [str(name) for name in done[0].completed.detail.get("instances", [])]
