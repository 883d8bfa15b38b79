"""Configuration: a service follows a key as it is written, again and again, and after an outage or a new agent."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta

from brownout.faults import AGENT, Outage, Restarted
from brownout.history import Operation
from brownout.promises.evidence import edge_of, entered_at, phase, whole_window
from brownout.promises.promise import BrokenError, NoEvidenceError, Positive, Stated, key
from brownout.promises.value import LOOKED_S, Value
from brownout.recording import Recording
from brownout.scenario import Hold, Put, Scenario, Step, Wait
from brownout.topology import Topology
from brownout.verdict import Figure, Verdict

__all__ = ["Configuration"]

CUT, HEALED = "cut", "healed"

UNHEARD_S = 6.0
"""How long the edge stays cut after the write: with what is looked at before, longer than two of the watch's waits of
5 s (clause 5), so that one that waits twice as long is late."""


class Stage(msgspec.Struct, frozen=True):
    """A value, and the time in which it has to be in force.

    Attributes:
        phase: the requests that show it.
        value: what it has to be.
        when: that time in words.
        from_ns: its beginning.
        until_ns: its end.
    """

    phase: str
    value: Value
    when: str
    from_ns: int
    until_ns: int

    def __str__(self) -> str:
        return f"{self.value.value!r} {self.when}"


class Configuration(Stated, frozen=True, kw_only=True, tag="configuration"):
    """A value is in force soon after it was written, without a restart, and however often it changes (clause 5).

    The journey is a single request at the caller's own port, which shows the value. The last write is made while the
    edge is cut, or to the agent that was started in the place of one that was stopped, and is the last but one of the
    values once more.

    Attributes:
        edge: the service that follows the key, and Consul, which keeps it below the cell's name.
        key: without the cell's name.
        values: written one after another; with two changes at least, as a watch may be deaf after its first.
        within_s: of a write the value is in force.
        healed_within_s: of the heal, what was written meanwhile is: a watch waits 5 s after an error.
        restart_s: so long the agent, one of the cell's own, is gone in the place of the outage, and then starts with no
            key and a lower index; None: the edge is cut.
    """

    edge: str
    key: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$")]
    values: Annotated[tuple[Value, ...], Meta(min_length=3)]
    within_s: Positive = 2.0
    healed_within_s: Positive = 7.0
    restart_s: Positive | None = None

    def scenario(self, topology: Topology) -> Scenario:
        """Each value is written and looked at; the last one again while Consul is away, then what is written last."""
        with key("edge"):
            edge = topology.edge(self.edge)
            if edge.callee != "consul":
                raise ValueError("what is watched is kept in Consul: it has to be an edge to consul")
        with key("values"):
            self._check_values(topology)
        last, late = self.values[-1], self.values[-2]
        followed = (
            (Put(self.key, value.value), Wait(self.within_s), value.looked(_phase(number), self.journey))
            for number, value in enumerate(self.values)
        )
        away = last.looked(CUT, self.journey)
        written: tuple[Step, ...] = (Hold(self._fault, (away, Put(self.key, late.value), Wait(UNHEARD_S))),)
        if self.restart_s is not None:  # nobody keeps what is written meanwhile
            written = (Hold(self._fault, (away, Wait(self.restart_s))), Put(self.key, late.value))
        steps = (
            *(step for steps in followed for step in steps),
            *written,
            Wait(self.healed_within_s),
            late.looked(HEALED, self.journey),
        )
        services = topology.reached_from({edge.caller})
        private = () if self.restart_s is None else (AGENT.server,)
        return Scenario(self.name, self.journey, steps, services, environment=self.environment, private=private)

    @property
    def _fault(self) -> Outage | Restarted:
        return Outage(edge_of(self.edge)) if self.restart_s is None else AGENT

    def _check_values(self, topology: Topology) -> None:
        for value in self.values:
            if (value.limit is None) == (value.answer is None):
                raise ValueError(f"{value.value!r} is shown by a limit or by an answer: name one of them")
            if value.limit and not topology.deadline_header:
                raise ValueError("needs a deadline_header in the topology: calls of short patience show a limit")
        for one, other in pairwise(self.values):
            if not one.differs_from(other):
                raise ValueError(f"{one.value!r} and {other.value!r} cannot be told apart within {LOOKED_S:g} s")

    def examine(self, recording: Recording) -> Verdict:
        """Each value in its time; the first that was not in force breaks the promise."""
        figures = [self._in_force(recording, stage) for stage in self._stages(recording)]
        at_last = "the heal when it was written during an outage"
        if self.restart_s is not None:
            at_last = "its writing to a new agent"
        return self.kept(
            f"{self.key} was followed {len(self.values)} times within {self.within_s:g} s of its writing, and within "
            f"{self.healed_within_s:g} s of {at_last}",
            *figures,
        )

    def _stages(self, recording: Recording) -> Iterator[Stage]:
        """The values by the times of their writing, the outage's beginning and its end."""
        *early, late = self._writes(recording)
        window = whole_window(recording, str(self._fault))
        cut_ns, lifting_ns = window.surely_ns
        off_ns, healed_ns = window.perhaps_ns
        written_ns = late.answered_ns or 0
        if self.restart_s is None and not cut_ns < late.sent_ns <= written_ns < lifting_ns:
            raise NoEvidenceError(f"{self.key} was not written while {self.edge} was cut")
        if self.restart_s is not None and not healed_ns <= late.sent_ns <= written_ns:
            raise NoEvidenceError(f"{self.key} was not written to the new agent")
        ends_ns = [*(write.sent_ns for write in early[1:]), off_ns]
        for number, (value, write, end_ns) in enumerate(zip(self.values, early, ends_ns, strict=True)):
            when = f"{self.within_s:g} s after it was written"
            yield Stage(_phase(number), value, when, _later(write.answered_ns or end_ns, self.within_s), end_ns)
        away, back = ("was cut", "was healed") if self.restart_s is None else ("had no agent", "had a new agent")
        yield Stage(CUT, self.values[-1], f"while {self.edge} {away}", cut_ns, min(late.sent_ns, lifting_ns))
        when = f"{self.healed_within_s:g} s after {self.edge} {back}"
        healed = _later(max(healed_ns, written_ns), self.healed_within_s), recording.history.events[-1].at_ns
        yield Stage(HEALED, self.values[-2], when, *healed)

    def _writes(self, recording: Recording) -> list[Operation]:
        """The writes, the one during the outage last.

        Raises:
            NoEvidenceError: they are not those of the scenario.
        """
        writes = recording.history.operations("put", self.key)
        written = [write.invoked.detail["value"] for write in writes if write.ok]
        expected = [value.value for value in (*self.values, self.values[-2])]
        if written != expected or len(writes) != len(written):
            raise NoEvidenceError(f"{self.key} was written {_list(written)}, and had to be {_list(expected)}")
        return writes

    def _in_force(self, recording: Recording, stage: Stage) -> Figure:
        calls = phase(recording, stage.phase)
        entered_at(calls, edge_of(self.edge).caller)
        if calls[0].sent_ns < stage.from_ns or max(call.answered_ns or 0 for call in calls) > stage.until_ns:
            raise NoEvidenceError(f"{stage}: the calls were not all made in that time")
        try:
            return stage.value.seen(calls, str(stage))
        except NoEvidenceError as gap:
            raise NoEvidenceError(f"{stage}: {gap}") from None
        except BrokenError as breach:
            raise BrokenError(f"{self.key} = {stage}: {breach}", breach.offenders, breach.figures) from None


def _phase(number: int) -> str:
    return f"value {number + 1}"


def _later(at_ns: int, by_s: float) -> int:
    return at_ns + int(by_s * 1e9)


def _list(values: list[str]) -> str:
    return ", ".join(values) or "never"
