"""Spans as OTLP's JSON: what Jaeger, from 1.55 on, opens from a file, and every collector takes over HTTP."""

from collections.abc import Iterable
from typing import Any

import msgspec

from brownout.recording import Span

__all__ = ["failed", "otlp"]

_KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_FAILED = 2
_OF_RESOURCE = "service.instance.id"
_OF_STATUS = {"error", "otel.status_code", "otel.status_description"}


def otlp(spans: Iterable[Span]) -> bytes:
    """The spans, by the process that sent them."""
    by_process: dict[tuple[str, str], list[Span]] = {}
    for span in spans:
        process = (span.service, str(span.attributes.get(_OF_RESOURCE, "")))
        by_process.setdefault(process, []).append(span)
    return msgspec.json.encode({"resourceSpans": [_process(*process, own) for process, own in by_process.items()]})


def failed(span: Span) -> bool:
    """Whether a span says that what it is of failed."""
    return bool(span.attributes.get("error")) or span.attributes.get("otel.status_code") == "ERROR"


def _process(service: str, instance: str, spans: Iterable[Span]) -> dict[str, Any]:
    about = {"service.name": service} | ({_OF_RESOURCE: instance} if instance else {})
    return {
        "resource": {"attributes": _attributes(about)},
        "scopeSpans": [{"scope": {"name": "brownout"}, "spans": [_span(span) for span in spans]}],
    }


def _span(span: Span) -> dict[str, Any]:
    own = {key: value for key, value in span.attributes.items() if key != _OF_RESOURCE and key not in _OF_STATUS}
    why = str(span.attributes.get("otel.status_description", ""))
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_id,
        "name": span.name,
        "kind": _KINDS.get(span.kind, 0),
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _attributes(own),
        "status": {"code": _FAILED, "message": why} if failed(span) else {},
    }


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case _:
            return {"stringValue": str(value)}
