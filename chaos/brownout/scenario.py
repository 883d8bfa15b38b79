"""A scenario is a value: steps that are done one after another, some while something is held open."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec

from brownout.cell import Fault
from brownout.history import Event, History, Outcome
from brownout.topology import Edge

__all__ = [
    "LONGEST_S",
    "Answered",
    "Bytes",
    "Calls",
    "Forget",
    "Hold",
    "Load",
    "Lookup",
    "Messages",
    "Publish",
    "Put",
    "Scenario",
    "Seen",
    "Select",
    "Step",
    "Wait",
    "Watch",
    "contains",
    "name_of",
]

LONGEST_S = 150.0
"""No scenario lasts longer: one that has to is refused, one that does is ended, and its recording says so."""


class Seen(msgspec.Struct, frozen=True):
    """A condition on the history: an event of this kind happened.

    Attributes:
        actor: who; see `Event`.
        action: what.
        outcome: how it ended.
        detail: what its detail has to contain, tables within tables included.
    """

    actor: str
    action: str
    outcome: Outcome = Outcome.OK
    detail: dict[str, Any] = {}

    def matches(self, event: Event) -> bool:
        """Whether an event is one of this kind."""
        return (event.actor, event.action, event.outcome) == (
            self.actor,
            self.action,
            self.outcome,
        ) and contains(event.detail, self.detail)


def contains(whole: Any, part: Any) -> bool:
    """Whether a value has all that another has: tables by their keys, everything else by equality."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and contains(whole[key], value) for key, value in part.items()
        )
    return bool(whole == part)


class Wait(msgspec.Struct, frozen=True, tag="wait"):
    """Let time pass, until a condition holds where one is given.

    Attributes:
        seconds: how long at most.
        since: the name of a step that has ended: its end is where the seconds begin; empty means now.
        until: ends the wait early.
    """

    seconds: float
    since: str = ""
    until: Seen | None = None


class Calls(msgspec.Struct, frozen=True, tag="calls"):
    """A script of single calls, where exact boundaries are at stake.

    Attributes:
        phase: the name under which the history and the judge know them.
        journey: what each call does.
        count: how many.
        every_s: from the start of one to the start of the next, at the least; each waits for the one before.
        together: send all at once instead.
        timeout_s: how long the client waits for an answer.
        deadline_ms: sent along in the topology's deadline header; 0 sends none.
    """

    phase: str
    journey: str
    count: int = 1
    every_s: float = 0.0
    together: bool = False
    timeout_s: float = 15.0
    deadline_ms: int = 0


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Journeys arriving at a rate, whatever becomes of those before: an open model.

    Attributes:
        phase: the name under which the history and the judge know them.
        journey: what each arrival does.
        rate: arrivals a second, evenly spaced.
        timeout_s: how long the client waits for an answer.
        deadline_ms: sent along in the topology's deadline header; 0 sends none.
    """

    phase: str
    journey: str
    rate: float
    timeout_s: float = 15.0
    deadline_ms: int = 0


class Watch(msgspec.Struct, frozen=True, tag="watch"):
    """Ask a service something again and again, and write down what it says.

    Attributes:
        name: the name under which the history and the judge know the answers.
        service: who is asked, at the first instance's own port.
        path: what is asked.
        every_s: from one question to the next.
        timeout_s: how long an answer is waited for.
        aside: ask through a second proxy, which no fault touches.
    """

    name: str
    service: str
    path: str
    every_s: float = 0.5
    timeout_s: float = 5.0
    aside: bool = False


class Bytes(msgspec.Struct, frozen=True, tag="bytes"):
    """Read how many bytes an edge has carried so far; its open connections are cut, or they would not count."""

    edge: Edge


class Answered(msgspec.Struct, frozen=True):
    """A condition on what is read: everything that some requests had been answered when the reading began is in it.

    Attributes:
        phase: the requests; None: all so far.
        field: of a successful answer's body, with what is looked for.
        to: only those whose method and path begin so, such as ``POST /api/orders``.
    """

    phase: str | None
    field: str
    to: str = ""

    def values(self, history: History) -> set[str]:
        """What successful requests that are meant have been answered so far, as text."""
        meant = [one for one in history.requests(self.phase) if one.ok and one.target.startswith(self.to)]
        bodies = [one.completed.detail.get("body") for one in meant if one.completed]
        return {str(body[self.field]) for body in bodies if isinstance(body, dict) and self.field in body}


class Select(msgspec.Struct, frozen=True, tag="select"):
    """Read rows of a service's own database, straight from the server.

    Attributes:
        name: the name under which the history and the judge know the rows.
        service: whose database.
        sql: one query.
        until: read again and again until this holds.
        within_s: how long at most; one reading more is begun after it.
    """

    name: str
    service: str
    sql: str
    until: Answered | None = None
    within_s: float = 0.0


class Messages(msgspec.Struct, frozen=True, tag="messages"):
    """Read all messages of a topic of the cell, from its beginning: key, value and headers of each.

    Attributes:
        name: the name under which the history and the judge know the messages.
        topic: without the cell's prefix.
        until: read again and again until this holds.
        within_s: how long at most; one reading more is begun after it.
    """

    name: str
    topic: str
    until: Answered | None = None
    within_s: float = 0.0


class Put(msgspec.Struct, frozen=True, tag="put"):
    """Give a key of the cell's configuration a value, past all proxies.

    Attributes:
        key: without the cell's prefix.
        value: what is written.
    """

    key: str
    value: str


class Publish(msgspec.Struct, frozen=True, tag="publish"):
    """Put a message on a topic of the cell, past all proxies and services.

    Attributes:
        topic: without the cell's prefix.
        value: its text; empty: every message that is on the topic, once more, with its key and headers.
    """

    topic: str
    value: str = ""


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """Have the registry forget every instance of a service, as one that was restarted does.

    Attributes:
        service: whose instances.
    """

    service: str


class Lookup(msgspec.Struct, frozen=True, tag="lookup"):
    """Read which instances of a service the registry would give to callers.

    Attributes:
        service: whose instances.
    """

    service: str


class Hold(msgspec.Struct, frozen=True, tag="hold"):
    """Hold a fault, a load or a watch open while steps are done; it is closed whatever becomes of them."""

    what: Fault | Load | Watch
    steps: tuple["Step", ...]


Step: TypeAlias = Wait | Calls | Bytes | Select | Messages | Put | Publish | Forget | Lookup | Hold


def name_of(step: Step) -> str:  # noqa: PLR0911 - one for each kind of step
    """The name under which the history knows a step."""
    match step:
        case Calls():
            return step.phase
        case Wait():
            return f"wait {step.seconds:g} s"
        case Bytes():
            return f"bytes of {step.edge}"
        case Select():
            return f"select {step.name}"
        case Messages():
            return f"messages {step.name}"
        case Put():
            return f"put {step.key} = {step.value}"
        case Publish():
            return f"publish {step.value!r} on {step.topic}" if step.value else f"publish {step.topic} again"
        case Forget() | Lookup():
            return f"{'forget' if isinstance(step, Forget) else 'lookup'} {step.service}"
        case Hold():
            return _name_of_held(step.what)


def _name_of_held(what: Fault | Load | Watch) -> str:
    if isinstance(what, Load):
        return what.phase
    return f"watch {what.name}" if isinstance(what, Watch) else str(what)


class Scenario(msgspec.Struct, frozen=True):
    """One run against one cell.

    Attributes:
        name: unique in a contract.
        steady: the journey that must succeed before the first step and again after the last.
        steps: what is done.
        environment: settings of services that hold in this run only.
        seed: of everything that is drawn at random.
        queries: what Prometheus is asked of the run once it is over; ``$cell`` is the cell's name.
        private: the servers that the cell has to itself, of `PRIVATE_SERVERS`; it shares the others.
    """

    name: str
    steady: str
    steps: tuple[Step, ...]
    services: tuple[str, ...]
    instances: dict[str, int] = {}
    environment: dict[str, dict[str, str]] = {}
    seed: int = 0
    queries: tuple[str, ...] = ()
    private: tuple[str, ...] = ()

    def every_step(self) -> Iterator[Step]:
        """All steps, those within others too, in the order in which they begin."""
        waiting = list(reversed(self.steps))
        while waiting:
            step = waiting.pop()
            yield step
            if isinstance(step, Hold):
                waiting += reversed(step.steps)

    def journeys(self) -> tuple[str, ...]:
        """The journeys that are performed, each once, the steady one first."""
        names = [self.steady]
        for step in self.every_step():
            what = step.what if isinstance(step, Hold) else step
            if isinstance(what, Calls | Load):
                names.append(what.journey)
        return tuple(dict.fromkeys(names))

    def least_s(self) -> float:
        """How long it takes at the least, in seconds: an answer comes at once, and whatever is waited for is there."""
        return _ends_s(self.steps, 0.0, {}, patient=False)

    def most_s(self) -> float:
        """How long it takes if all waiting is in vain, in seconds: more than it should."""
        return _ends_s(self.steps, 0.0, {}, patient=True)


def _ends_s(steps: tuple[Step, ...], at_s: float, ended_s: dict[str, float], *, patient: bool) -> float:
    """When steps that begin at a time have all ended; the end of each is noted under its name.

    Args:
        steps: one after another.
        at_s: when the first one begins.
        ended_s: the ends so far.
        patient: whether what is waited for never comes, or is there at once.
    """
    for step in steps:
        match step:
            case Hold():
                at_s = _ends_s(step.steps, at_s, ended_s, patient=patient)
            case Calls(together=False):
                at_s += (step.count - 1) * step.every_s
            case Wait() if patient or step.until is None:
                at_s = max(at_s, (ended_s[step.since] if step.since else at_s) + step.seconds)
        ended_s[name_of(step)] = at_s
    return at_s
