"""Faults as a user says them: ``latency "orders -> users" 2s``, ``kill users:1``."""

import math
import re
from collections.abc import Callable, Sequence

from brownout.cell import Toxic
from brownout.errors import FaultError
from brownout.faults.network import AnyToxic, BlackHole, Latency, Outage
from brownout.faults.process import Killed, Lost, Paused, Terminated
from brownout.topology import Topology

__all__ = ["FORMS", "Spoken", "duration_s", "spoken_fault", "target"]

Spoken = Latency | BlackHole | Outage | AnyToxic | Killed | Lost | Paused | Terminated
"""What can be said; the same faults that scenarios inject."""

FORMS = {
    "latency": "latency EDGE DURATION",
    "outage": "outage EDGE",
    "black-hole": "black-hole EDGE",
    "toxic": "toxic EDGE TYPE NAME=NUMBER...",
    "kill": "kill SERVICE[:INSTANCE]",
    "pause": "pause SERVICE[:INSTANCE]",
    "terminate": "terminate SERVICE[:INSTANCE]",
}
"""How each is said; an edge is one word in quotes, ``"orders -> users"``."""

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_ATTRIBUTE = re.compile(r"([a-z_]+)=(\d+)")


def duration_s(text: str) -> float:
    """The seconds of a duration such as ``500ms``, ``2s`` or ``1m``.

    Raises:
        FaultError: it is none, or is nothing.
    """
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
    if not 0 < seconds < math.inf:
        raise FaultError(text, "is no duration", "say 500ms, 2s or 1m")
    return seconds


def target(fault: Spoken) -> str:
    """What a fault is done to: the edge or service."""
    return fault.service if isinstance(fault, Killed | Lost | Paused | Terminated) else str(fault.edge)


def spoken_fault(words: Sequence[str], topology: Topology) -> Spoken:
    """The fault that some words mean.

    Args:
        words: the kind of fault, then as `FORMS` has it.
        topology: what the edge or service has to be in.

    Raises:
        FaultError: no such fault, edge, service, instance, or a number that is none.
    """
    kind, *rest = words or ("",)
    if kind not in FORMS:
        raise FaultError(kind or "inject", "no such fault", f"there are: {'; '.join(FORMS.values())}")
    try:
        return _MEANINGS[kind](rest, topology)
    except ValueError as error:
        raise FaultError(kind, str(error)) from None


def _latency(words: Sequence[str], topology: Topology) -> Latency:
    edge, text = _exactly(2, "latency", words)
    latency_ms = round(duration_s(text) * 1000)
    if latency_ms < 1:
        raise FaultError(text, "is less than a millisecond")
    return Latency(topology.edge(edge), latency_ms)


def _outage(words: Sequence[str], topology: Topology) -> Outage:
    (edge,) = _exactly(1, "outage", words)
    return Outage(topology.edge(edge))


def _black_hole(words: Sequence[str], topology: Topology) -> BlackHole:
    (edge,) = _exactly(1, "black-hole", words)
    return BlackHole(topology.edge(edge))


def _toxic(words: Sequence[str], topology: Topology) -> AnyToxic:
    if len(words) < 2:  # noqa: PLR2004 - an edge and a type
        raise _misspoken("toxic")
    edge, type_, *further = words
    matches = [_ATTRIBUTE.fullmatch(word) for word in further]
    attributes = {match[1]: int(match[2]) for match in matches if match}
    if len(attributes) < len(further):
        raise _misspoken("toxic")
    return AnyToxic(topology.edge(edge), Toxic(type_, attributes))


def _kill(words: Sequence[str], topology: Topology) -> Killed | Lost:
    (text,) = _exactly(1, "kill", words)
    service, instance = _instance(text, topology)
    return Killed(service) if instance is None else Lost(service, instance)


def _pause(words: Sequence[str], topology: Topology) -> Paused:
    (text,) = _exactly(1, "pause", words)
    return Paused(*_instance(text, topology))


def _terminate(words: Sequence[str], topology: Topology) -> Terminated:
    (text,) = _exactly(1, "terminate", words)
    service, instance = _instance(text, topology)
    return Terminated(service, instance or 0)


def _instance(text: str, topology: Topology) -> tuple[str, int | None]:
    """A service, and which instance of it where one is named."""
    name, colon, number = text.partition(":")
    count = topology.services[topology.service(name)].instances
    if not colon:
        return name, None
    if number not in map(str, range(count)):
        raise FaultError(text, f"{name} has no such instance", f"the last is {name}:{count - 1}")
    return name, int(number)


def _exactly(count: int, kind: str, words: Sequence[str]) -> Sequence[str]:
    if len(words) != count:
        raise _misspoken(kind)
    return words


def _misspoken(kind: str) -> FaultError:
    return FaultError(kind, f"say it so: {FORMS[kind]}", 'an edge is one word in quotes, "orders -> users"')


_MEANINGS: dict[str, Callable[[Sequence[str], Topology], Spoken]] = {
    "latency": _latency,
    "outage": _outage,
    "black-hole": _black_hole,
    "toxic": _toxic,
    "kill": _kill,
    "pause": _pause,
    "terminate": _terminate,
}
