"""Reading a recording for what a promise needs; where it is not there, there is no evidence."""

from collections.abc import Iterable, Sequence
from typing import Any

from brownout.history import Operation
from brownout.promises.promise import NoEvidenceError
from brownout.recording import Recording
from brownout.topology import Edge
from brownout.windows import Window, windows

__all__ = [
    "edge_of",
    "entered_at",
    "needs_spans",
    "phase",
    "read",
    "requests_at",
    "seconds",
    "seen_at",
    "told",
    "traces",
    "traces_at",
    "whole_window",
]


def edge_of(text: str) -> Edge:
    """The edge that a contract names; that the topology has it was seen when the contract was read."""
    caller, _, callee = text.partition("->")
    return Edge(caller.strip(), callee.strip())


def seconds(from_ns: int, to_ns: int) -> float:
    """The seconds from one time to another."""
    return (to_ns - from_ns) / 1e9


def told(operation: Operation) -> str:
    """How a request ended, in words."""
    detail = operation.completed.detail if operation.completed else {}
    return str(detail.get("status") or detail.get("error") or operation.outcome)


def phase(recording: Recording, name: str, count: int | None = None) -> list[Operation]:
    """The requests of a phase.

    Raises:
        NoEvidenceError: there are none, not ``count`` of them, or one, or the phase itself, has no end.
    """
    operations = recording.history.requests(name)
    if not operations:
        raise NoEvidenceError(f"no requests in the phase {name!r}")
    if count is not None and len(operations) != count:
        raise NoEvidenceError(
            f"{len(operations)} requests in the phase {name!r} instead of {count}: the journey must be a single request"
        )
    if any(operation.completed is None for operation in operations):
        raise NoEvidenceError(f"a request in the phase {name!r} has no end")
    if any(step.completed is None for step in recording.history.operations("step", name)):
        raise NoEvidenceError(f"the phase {name!r} has no end")
    return operations


def read(recording: Recording, actor: str, name: str) -> tuple[Operation, list[dict[str, Any]]]:
    """A reading of rows (``select``) or ``messages`` by its name, and what was read.

    Raises:
        NoEvidenceError: it was not made, or has no end.
    """
    found = recording.history.operations(actor, name)
    if not found or found[-1].completed is None:
        raise NoEvidenceError(f"{actor} {name!r} was not read")
    return found[-1], found[-1].completed.detail["rows"]


def entered_at(operations: Iterable[Operation], service: str) -> None:
    """Make sure that requests went to a service's own port.

    Raises:
        NoEvidenceError: they went elsewhere, where another service's breaker or limit may have hidden everything.
    """
    others = {str(operation.invoked.detail.get("service")) for operation in operations} - {service}
    if others:
        raise NoEvidenceError(f"the journey enters at {', '.join(sorted(others))}; it must enter at {service}")


def traces(operations: Iterable[Operation]) -> set[str]:
    """The traces that some requests started."""
    return {operation.trace_id for operation in operations if operation.trace_id}


def requests_at(recording: Recording, operations: Iterable[Operation], service: str) -> int:
    """How many requests reached a service in the traces of some operations: its spans of kind ``server``."""
    return sum(span.kind == "server" for span in recording.spans_of(traces(operations), service))


def traces_at(recording: Recording, operations: Iterable[Operation], service: str) -> set[str]:
    """The traces of some operations in which a service was reached."""
    spans = recording.spans_of(traces(operations), service)
    return {span.trace_id for span in spans if span.kind == "server"}


def needs_spans(recording: Recording, what: str) -> None:
    """Make sure that the system sends spans, where nothing else shows what is looked for.

    Raises:
        NoEvidenceError: it sends none.
    """
    if not recording.traced:
        raise NoEvidenceError(f"{what} shows in spans only, and the system sends none")


def seen_at(recording: Recording, operations: Sequence[Operation], service: str) -> None:
    """Make sure that all requests to a service were there: by its spans, or by an answer where it sends none.

    Raises:
        NoEvidenceError: some were not, so that it means nothing that nobody else was reached.
    """
    traced, seen = recording.traced, traces_at(recording, operations, service)
    unseen = [one for one in operations if (one.trace_id not in seen if traced else one.status is None)]
    if unseen:
        lack = "span" if traced else "answer"
        raise NoEvidenceError(f"{len(unseen)} calls of {operations[0].invoked.action!r} have no {lack} of {service}")


def whole_window(recording: Recording, fault: str) -> Window:
    """The one window in which a fault was held.

    Raises:
        NoEvidenceError: it was not entered and lifted, both as asked, exactly once.
    """
    found = [window for window in windows(recording.history, fault) if window.whole]
    if len(found) != 1:
        raise NoEvidenceError(f"{fault} was in force {len(found)} times instead of once")
    return found[0]
