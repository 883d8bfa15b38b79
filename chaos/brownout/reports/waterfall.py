"""A trace as a waterfall: what each service did in one request, under what asked for it."""

from collections.abc import Iterator, Sequence

import msgspec

from brownout.history import Operation
from brownout.promises.evidence import told
from brownout.recording import Recording, Span
from brownout.reports.otlp import failed

__all__ = ["MOST_ROWS", "Row", "Waterfall", "waterfall"]

MOST_ROWS = 150

CLIENT = "brownout"
"""Under whose name the request itself stands above all spans."""

_STATUS = {"http.status_code": "", "http.response.status_code": "", "rpc.grpc.status_code": "gRPC "}
"""The attributes with a status, and what is said before its number."""


class Row(msgspec.Struct, frozen=True):
    """A span.

    Attributes:
        depth: how many stand above it, one within the other.
        service: whose.
        name: what it did.
        said: its status, or why it failed.
        failed: whether it says so.
        from_ms: when it began, after the first.
        took_ms: how long it took.
        left: where it begins, in percent of all.
        width: how wide it is, in percent of all.
    """

    depth: int
    service: str
    name: str
    said: str
    failed: bool
    from_ms: float
    took_ms: float
    left: float
    width: float


class Waterfall(msgspec.Struct, frozen=True):
    """A trace.

    Attributes:
        trace_id: its id.
        rows: the request as its client saw it, and the spans.
        more: how many there are beside those.
        spans: all of them.
    """

    trace_id: str
    rows: tuple[Row, ...]
    more: int
    spans: tuple[Span, ...]


def waterfall(recording: Recording, trace_id: str) -> Waterfall:
    """The trace of one request; without spans it has the request alone."""
    spans = tuple(span for span in recording.spans or () if span.trace_id == trace_id)
    request = next((one for one in recording.history.requests() if one.trace_id == trace_id), None)
    ordered = [*([_asked(request)] if request else []), *_ordered(spans)]
    begun_ns = min((span.start_ns for _, span in ordered), default=0)
    length_ns = max((span.end_ns for _, span in ordered), default=0) - begun_ns
    rows = tuple(_row(depth, span, begun_ns, length_ns) for depth, span in ordered[:MOST_ROWS])
    return Waterfall(trace_id, rows, max(0, len(ordered) - MOST_ROWS), spans)


def _asked(request: Operation) -> tuple[int, Span]:
    """The request as a span: what the harness sent, and how it ended for it."""
    ended_ns = request.answered_ns or request.sent_ns
    said = {"said": told(request)} | ({} if request.ok else {"error": True})
    return 0, Span(request.trace_id, "", "", CLIENT, request.target, "client", request.sent_ns, ended_ns, said)


def _ordered(spans: Sequence[Span]) -> Iterator[tuple[int, Span]]:
    """Each span after its parent, by their starts; one whose parent is not there stands at the top."""
    known = {span.span_id for span in spans}
    below: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.start_ns):
        below.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)
    waiting = [(1, span) for span in reversed(below.pop("", []))]
    while waiting:
        depth, span = waiting.pop()
        yield depth, span
        waiting += [(depth + 1, child) for child in reversed(below.pop(span.span_id, []))]
    for left in below.values():  # a circle of parents: no root leads to it
        yield from ((1, span) for span in left)


def _row(depth: int, span: Span, begun_ns: int, length_ns: int) -> Row:
    took_ns = span.end_ns - span.start_ns
    return Row(
        depth=depth,
        service=str(span.attributes.get("service.instance.id") or span.service),
        name=span.name,
        said=_said(span),
        failed=failed(span),
        from_ms=(span.start_ns - begun_ns) / 1e6,
        took_ms=took_ns / 1e6,
        left=100 * (span.start_ns - begun_ns) / length_ns if length_ns else 0.0,
        width=100 * took_ns / length_ns if length_ns else 100.0,
    )


def _said(span: Span) -> str:
    status = next((f"{kind}{span.attributes[key]}" for key, kind in _STATUS.items() if key in span.attributes), "")
    why = str(span.attributes.get("said") or span.attributes.get("otel.status_description") or "")
    return " ".join(filter(None, (status, why)))
