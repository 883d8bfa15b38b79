"""What happened in a run: one append-only list of events, the only thing that is ever judged."""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Any

import msgspec

__all__ = ["Event", "History", "Operation", "Outcome", "Recorder"]


class Outcome(StrEnum):
    """How an event ended; a client that stopped waiting does not know, which is not the same as a failure."""

    INVOKED = "invoked"
    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the history.

    Attributes:
        index: its place, from 0.
        at_ns: Unix time in nanoseconds, of a clock that never steps back during a run.
        actor: who did it: ``calls`` or ``load`` (requests), ``fault`` (its entry), ``canary``, ``lift`` (its end),
            ``watch``, ``bytes``, ``select``, ``messages``, ``publish``, ``put``, ``forget``,
            ``lookup``, ``query``, ``step`` (of the scenario), ``engine``.
        action: what was done: the phase of a request, the fault in words, the step's name.
        outcome: INVOKED when it begins; OK, FAILED or UNKNOWN when it ends.
        of: the index of the INVOKED event that this one ends; -1 on an event that stands alone.
        detail: figures and words; for a request ``status``, ``error``, ``due_ns``, ``body``, ``retry_after_s``.
        trace_id: 32 hexadecimal digits that the request carried, empty where there was none.
    """

    index: int
    at_ns: int
    actor: str
    action: str
    outcome: Outcome
    of: int = -1
    detail: dict[str, Any] = {}
    trace_id: str = ""


class Operation(msgspec.Struct, frozen=True):
    """Something that began and, perhaps, ended: a request, a fault's entry, a step."""

    invoked: Event
    completed: Event | None = None

    @property
    def outcome(self) -> Outcome:
        """How it ended; UNKNOWN while it has not."""
        return self.completed.outcome if self.completed else Outcome.UNKNOWN

    @property
    def ok(self) -> bool:
        """Whether it is known to have gone well."""
        return self.outcome is Outcome.OK

    @property
    def sent_ns(self) -> int:
        """When it began, Unix nanoseconds."""
        return self.invoked.at_ns

    @property
    def answered_ns(self) -> int | None:
        """When it ended, Unix nanoseconds; None when it did not."""
        return self.completed.at_ns if self.completed else None

    @property
    def duration_s(self) -> float:
        """How long it took, in seconds; infinite when it did not end."""
        return (self.completed.at_ns - self.invoked.at_ns) / 1e9 if self.completed else float("inf")

    @property
    def status(self) -> int | None:
        """The HTTP status of the answer; None where there was none."""
        return self.completed.detail.get("status") if self.completed else None

    @property
    def retry_after_s(self) -> int | None:
        """In how many seconds the answer asked to come again; None where it did not."""
        return self.completed.detail.get("retry_after_s") if self.completed else None

    @property
    def target(self) -> str:
        """The method and path of a request."""
        return f"{self.invoked.detail.get('method')} {self.invoked.detail.get('path')}"

    @property
    def trace_id(self) -> str:
        """The trace that it started; empty where it started none."""
        return self.invoked.trace_id


class History:
    """All events of a run, in their order."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.events: list[Event] = list(events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def operations(self, actor: str, action: str | None = None) -> list[Operation]:
        """What an actor began, each with its end where there is one, in the order of their beginnings."""
        ends = {event.of: event for event in self.events if event.of >= 0}
        return [
            Operation(event, ends.get(event.index))
            for event in self.events
            if event.outcome is Outcome.INVOKED and event.actor == actor and (action is None or event.action == action)
        ]

    def requests(self, phase: str | None = None) -> list[Operation]:
        """The requests of one phase, or of all, scripted calls and load together, by the time of sending."""
        both = [*self.operations("calls", phase), *self.operations("load", phase)]
        return sorted(both, key=lambda operation: operation.sent_ns)

    def alone(self, actor: str, action: str | None = None) -> list[Event]:
        """Events that stand for themselves: byte counts, arrivals that were dropped, what the engine has to say."""
        return [
            event
            for event in self.events
            if event.of < 0
            and event.outcome is not Outcome.INVOKED
            and event.actor == actor
            and (action is None or event.action == action)
        ]


class Recorder:
    """The one way into a history: gives each event its place and time.

    Args:
        now_ns: Unix time in nanoseconds that never steps back.
        sink: called with each event as it happens (the archive writes it down).
    """

    def __init__(self, now_ns: Callable[[], int], sink: Callable[[Event], None] = lambda _: None) -> None:
        self.history = History()
        self.now_ns = now_ns
        self._sink = sink

    def begin(self, actor: str, action: str, *, trace_id: str = "", **detail: Any) -> Event:
        """Record that something begins."""
        return self._add(actor, action, Outcome.INVOKED, -1, detail, trace_id)

    def end(self, begun: Event, outcome: Outcome, **detail: Any) -> Event:
        """Record how something ended."""
        return self._add(begun.actor, begun.action, outcome, begun.index, detail, begun.trace_id)

    def note(self, actor: str, action: str, outcome: Outcome = Outcome.OK, **detail: Any) -> Event:
        """Record something that has no length."""
        return self._add(actor, action, outcome, -1, detail, "")

    def _add(self, actor: str, action: str, outcome: Outcome, of: int, detail: dict[str, Any], trace_id: str) -> Event:
        index = len(self.history.events)
        event = Event(index, self.now_ns(), actor, action, outcome, of, detail, trace_id)
        self.history.events.append(event)
        self._sink(event)
        return event
