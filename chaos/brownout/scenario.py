"""A scenario is a value: steps that are done one after another, some while something is held open."""

from typing import Any, TypeAlias

import msgspec

from brownout.cell import Fault
from brownout.history import Event, Outcome
from brownout.topology import Edge

__all__ = ["Bytes", "Calls", "Hold", "Load", "Scenario", "Seen", "Step", "Wait", "Watch"]


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


class Hold(msgspec.Struct, frozen=True, tag="hold"):
    """Hold a fault, a load or a watch open while steps are done; it is closed whatever becomes of them."""

    what: Fault | Load | Watch
    steps: tuple["Step", ...]


Step: TypeAlias = Wait | Calls | Bytes | Hold


class Scenario(msgspec.Struct, frozen=True):
    """One run against one cell.

    Attributes:
        name: unique in a contract.
        steady: the journey that must succeed before the first step and again after the last.
        steps: what is done.
        environment: settings of services that hold in this run only.
        seed: of everything that is drawn at random.
    """

    name: str
    steady: str
    steps: tuple[Step, ...]
    services: tuple[str, ...]
    instances: dict[str, int] = {}
    environment: dict[str, dict[str, str]] = {}
    seed: int = 0
