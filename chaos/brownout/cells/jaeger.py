"""The spans of a cell, as Jaeger kept them."""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from brownout.cells.api import Api
from brownout.recording import Span

__all__ = ["Jaeger"]

STILL_S = 1.0
"""How long a trace has to stay as it is before it is taken to be whole: services send their spans in batches."""

ARRIVAL_BOUND_S = 5.0
"""Longest wait for spans that are missing or still coming."""

BATCH = 50
"""Traces a request: decoding an answer holds up the event loop, and with it the load of other cells."""

_NOT_ATTRIBUTES = {"span.kind", "internal.span.format", "otel.scope.name", "otel.scope.version"}


class _Tag(msgspec.Struct):
    key: str
    value: Any


class _Reference(msgspec.Struct, rename={"kind": "refType", "span_id": "spanID"}):
    kind: str
    span_id: str


class _Span(msgspec.Struct, rename="camel"):
    """One span in the server's JSON; times in microseconds."""

    span_id: str = msgspec.field(name="spanID")
    process_id: str = msgspec.field(name="processID")
    operation_name: str
    references: list[_Reference]
    start_time: int
    duration: int
    tags: list[_Tag]


class _Process(msgspec.Struct, rename="camel"):
    service_name: str
    tags: list[_Tag] = []


class _Trace(msgspec.Struct):
    trace_id: str = msgspec.field(name="traceID")
    spans: list[_Span]
    processes: dict[str, _Process]


class _Answer(msgspec.Struct):
    data: list[msgspec.Raw]


class Jaeger(Api):
    """The query side of one Jaeger server.

    Args:
        address: ``host:port`` of its query API.
    """

    def __init__(self, address: str) -> None:
        super().__init__("jaeger", address)

    async def collect(self, traces: frozenset[str]) -> list[Span]:
        """All spans of some traces.

        They are asked for by their ids, until each has stood still for ``STILL_S``, or for ``ARRIVAL_BOUND_S`` after
        they were first seen. A search would hold up what is still to be stored: the server's memory has one lock.

        Args:
            traces: ids of 32 hexadecimal digits.

        Returns:
            the spans by their start, with times that are exact to a microsecond. ``service.instance.id``, where
            the resource has one, is among the attributes.

        Raises:
            CellError: the server did not answer.
        """
        found = await self._settled(traces)
        return sorted((span for spans in found.values() for span in spans), key=lambda span: span.start_ns)

    async def _settled(self, traces: frozenset[str]) -> dict[str, list[Span]]:
        found: dict[str, list[Span]] = {}
        moving = set(await self._refresh(found, traces))
        deadline = asyncio.get_running_loop().time() + ARRIVAL_BOUND_S
        moving |= traces - found.keys()
        while moving and asyncio.get_running_loop().time() + STILL_S < deadline:
            await asyncio.sleep(STILL_S)
            moving = await self._refresh(found, moving) | (moving - found.keys())
        return found

    async def _refresh(self, found: dict[str, list[Span]], traces: Iterable[str]) -> set[str]:
        """Get traces by their ids into ``found``; returns those that have changed."""
        ids, changed = sorted(traces), set()
        for start in range(0, len(ids), BATCH):
            query = [("traceID", each) for each in ids[start : start + BATCH]]
            for raw in await self._get(query):
                trace_id, spans = _spans(raw)
                if len(spans) != len(found.get(trace_id, ())):
                    changed.add(trace_id)
                found[trace_id] = spans
        return changed

    async def _get(self, query: list[tuple[str, str]]) -> list[msgspec.Raw]:
        body, _ = await self.ask("GET", "/api/traces", params=query)
        return msgspec.json.decode(body, type=_Answer).data


def _spans(raw: msgspec.Raw) -> tuple[str, list[Span]]:
    trace = msgspec.json.decode(raw, type=_Trace)
    trace_id = _id(trace.trace_id)
    spans = {span.span_id: _span(trace_id, span, trace.processes[span.process_id]) for span in trace.spans}
    return trace_id, list(spans.values())  # an exporter that tries again may bring a span twice


def _id(text: str) -> str:
    """Give an id all its 32 digits: the server writes half of them where the others are zeros."""
    return text.zfill(32)


def _span(trace_id: str, span: _Span, process: _Process) -> Span:
    tags = {tag.key: tag.value for tag in span.tags}
    instance = {tag.key: tag.value for tag in process.tags if tag.key == "service.instance.id"}
    return Span(
        trace_id=trace_id,
        span_id=span.span_id,
        parent_id=next((each.span_id for each in span.references if each.kind == "CHILD_OF"), ""),
        service=process.service_name,
        name=span.operation_name,
        kind=str(tags.get("span.kind", "internal")),
        start_ns=span.start_time * 1000,
        end_ns=(span.start_time + span.duration) * 1000,
        attributes={**instance, **{key: tags[key] for key in tags if key not in _NOT_ATTRIBUTES}},
    )
