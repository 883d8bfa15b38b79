"""The trace of a journey: the same tree of spans each time, over every hop, those that come later included."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from brownout.history import Operation
from brownout.promises.evidence import needs_spans, phase, told
from brownout.promises.promise import BrokenError, Count, NoEvidenceError, Positive, Stated, key
from brownout.recording import Recording, Span
from brownout.scenario import Calls, Scenario, Wait
from brownout.topology import Topology
from brownout.verdict import Figure, Verdict

__all__ = ["Expected", "Tracing"]

PHASE = "traced"
EVERY_S = 0.2

SpanKind: TypeAlias = Literal["server", "client", "producer", "consumer", "internal"]


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A span that every trace has to have.

    Attributes:
        id: by which others name it.
        name: the span's own; empty: any.
        service: whose it is; empty: anybody's.
        kind: server, client, producer, consumer or internal; empty: any.
        child_of: the id of the one directly above it.
        under: the id of one somewhere above it.
    """

    id: Annotated[str, Meta(min_length=1)]
    name: str = ""
    service: str = ""
    kind: SpanKind | Literal[""] = ""
    child_of: str = ""
    under: str = ""

    @property
    def above(self) -> str:
        """The id of the span that it hangs from; empty: it may hang anywhere."""
        return self.child_of or self.under

    def describes(self, span: Span) -> bool:
        """Whether a span could be it, wherever it hangs."""
        told = ((self.name, span.name), (self.service, span.service), (self.kind, span.kind))
        return all(not mine or mine == its for mine, its in told)

    def __str__(self) -> str:
        words = (self.service, self.kind, "span", self.name and repr(self.name))
        return f"{self.id} ({' '.join(word for word in words if word)})"


class Tracing(Stated, frozen=True, kw_only=True, tag="tracing"):
    """Every trace of a journey holds together (clause 6.4).

    The journey has to be a single request.

    Attributes:
        spans: the tree; each names only those before it.
        calls: how many traces are looked at.
        within_s: how long after the last answer the spans of what goes on by itself may come.
    """

    spans: Annotated[tuple[Expected, ...], Meta(min_length=1)]
    calls: Count = 20
    within_s: Positive = 5.0

    def scenario(self, topology: Topology) -> Scenario:
        """The calls, one after another, and time for what they set going."""
        self._check_tree()
        for index, span in enumerate(self.spans):
            with key(f"spans[{index}].service"):
                if span.service:
                    topology.service(span.service)
        named = {span.service for span in self.spans if span.service} or set(topology.services)
        steps = (Calls(PHASE, self.journey, self.calls, every_s=EVERY_S), Wait(self.within_s))
        return Scenario(self.name, self.journey, steps, topology.reached_from(named), environment=self.environment)

    def _check_tree(self) -> None:
        known: list[str] = []
        for index, span in enumerate(self.spans):
            with key(f"spans[{index}]"):
                if span.id in known:
                    raise ValueError(f"there is another span {span.id!r}")
                if span.child_of and span.under:
                    raise ValueError("child_of and under at once; it hangs from one")
            with key(f"spans[{index}].{'child_of' if span.child_of else 'under'}"):
                if span.above and span.above not in known:
                    raise ValueError(f"no span {span.above!r} before it; there are {', '.join(known) or 'none'}")
            known.append(span.id)

    def examine(self, recording: Recording) -> Verdict:
        """Trace by trace, in the order of the calls."""
        needs_spans(recording, "a trace")
        calls = phase(recording, PHASE, self.calls)
        if lost := [call for call in calls if not call.ok]:
            raise NoEvidenceError(f"a call ended with {told(lost[0])}: its trace is not that of the whole journey")
        traces = _traces(recording)
        for number, call in enumerate(calls, start=1):
            if spans := traces.get(call.trace_id):
                self._whole(spans, call, number)
        if untraced := [call for call in calls if call.trace_id not in traces]:
            raise NoEvidenceError(f"{len(untraced)} of {len(calls)} calls have no trace at all")
        return self.kept(
            f"all {len(self.spans)} spans in their places in each of {len(calls)} traces",
            Figure("traces", len(calls), "whole", f"all of {len(calls)}"),
        )

    def _whole(self, spans: list[Span], call: Operation, number: int) -> None:
        tree = _Tree(spans)
        if lacking := self._lacking(tree, "", None):
            raise BrokenError(f"trace {call.trace_id} of call {number}: {lacking} {self._seen(tree, lacking)}", [call])

    def _lacking(self, tree: "_Tree", above: str, from_span: Span | None) -> Expected | None:
        """The first expected span below a span that is not there with all that has to be below it in turn."""
        for expected in self.spans:
            if expected.above != above:
                continue
            fits = [span for span in tree.spans if expected.describes(span) and _hangs(tree, expected, span, from_span)]
            lacking = [self._lacking(tree, expected.id, span) for span in fits]
            if None not in lacking:
                return lacking[0] if lacking else expected
        return None

    def _seen(self, tree: "_Tree", lacking: Expected) -> str:
        """How it is lacking, in words."""
        elsewhere = [span for span in tree.spans if lacking.describes(span)]
        if not elsewhere or not lacking.above:
            return "is missing"
        parent = tree.parent(elsewhere[0])
        place = f"below {parent.service} {parent.name!r}" if parent else "at the top, or below a span that was lost"
        return f"hangs {place}, promised {'directly ' if lacking.child_of else ''}under {lacking.above}"


def _traces(recording: Recording) -> Mapping[str, list[Span]]:
    traces: dict[str, list[Span]] = {}
    for span in recording.spans or ():
        traces.setdefault(span.trace_id, []).append(span)
    return traces


class _Tree:
    """The spans of one trace, by their parents."""

    def __init__(self, spans: list[Span]) -> None:
        self.spans = spans
        self._by_id = {span.span_id: span for span in spans}

    def parent(self, span: Span) -> Span | None:
        return self._by_id.get(span.parent_id)

    def above(self, span: Span) -> list[Span]:
        """A span's parent, its parent's parent and so on; each once, whatever the services wrote."""
        found: list[Span] = []
        parent = self.parent(span)
        while parent is not None and parent not in found:
            found.append(parent)
            parent = self.parent(parent)
        return found


def _hangs(tree: _Tree, expected: Expected, span: Span, from_span: Span | None) -> bool:
    """Whether a span hangs from another as it has to."""
    if from_span is None:
        return True
    return tree.parent(span) == from_span if expected.child_of else from_span in tree.above(span)
