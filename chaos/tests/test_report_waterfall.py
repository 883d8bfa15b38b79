"""A trace as a waterfall, and as a file that a real Jaeger takes."""

import json

import aiohttp
import pytest

from brownout.cells.jaeger import Jaeger
from brownout.recording import Span
from brownout.reports.otlp import otlp
from brownout.reports.waterfall import MOST_ROWS, Waterfall, waterfall
from brownout.servers import Addresses
from brownout.written import Written

TRACE = "ab" * 16


def span(name: str, parent: str = "", from_ms: int = 0, took_ms: int = 10, **attributes: object) -> Span:
    """A span whose id is its name's."""
    begun_ns = 1_700_000_000_000_000_000 + from_ms * 1_000_000
    ids = [each.encode().hex().ljust(16, "0")[:16] if each else "" for each in (name, parent)]
    return Span(TRACE, *ids, "orders", name, "internal", begun_ns, begun_ns + took_ms * 1_000_000, attributes)


def drawn(*spans: Span) -> Waterfall:
    story = Written()
    story.spans += spans
    return waterfall(story.recording(), TRACE)


def test_each_span_stands_under_its_parent_in_the_order_of_their_starts() -> None:
    shown = drawn(span("c", "a", 5), span("b", "a", 2), span("d", "b", 3), span("a", "elsewhere"))
    assert [(row.name, row.depth) for row in shown.rows] == [("a", 1), ("b", 2), ("d", 3), ("c", 2)]


def test_a_span_is_as_far_and_as_wide_as_its_time() -> None:
    late = drawn(span("a", took_ms=100), span("b", "a", 25, 50)).rows[1]
    assert (late.from_ms, late.took_ms, late.left, late.width) == (25.0, 50.0, 25.0, 50.0)


def test_spans_that_are_each_others_parents_are_told_all_the_same() -> None:
    assert {row.name for row in drawn(span("a", "b"), span("b", "a")).rows} == {"a", "b"}


def test_the_request_itself_stands_above_all_with_what_its_client_saw() -> None:
    story = Written()
    trace_id = story.call("open", status=503, took_s=0.1, reaches=("orders",))
    first, second = waterfall(story.recording(), trace_id).rows
    assert (first.service, first.depth, first.said, first.failed, first.width) == ("brownout", 0, "503", True, 100.0)
    assert (second.service, second.depth) == ("orders", 1)


def test_without_spans_the_request_is_there_alone() -> None:
    story = Written()
    story.traced = False
    trace_id = story.call("open", status=503)
    shown = waterfall(story.recording(), trace_id)
    assert [row.service for row in shown.rows] == ["brownout"]
    assert shown.spans == ()


def test_a_failed_span_says_its_status_and_why() -> None:
    told = {"http.status_code": 503, "otel.status_code": "ERROR", "otel.status_description": "breaker open"}
    (row,) = drawn(span("a", **told)).rows
    assert (row.said, row.failed) == ("503 breaker open", True)


def test_the_status_of_grpc_is_told_apart_from_that_of_http() -> None:
    assert drawn(span("a", **{"rpc.grpc.status_code": 0})).rows[0].said == "gRPC 0"


def test_very_many_spans_are_cut_and_counted() -> None:
    shown = drawn(*(span(f"s{number}", from_ms=number) for number in range(MOST_ROWS + 7)))
    assert (len(shown.rows), shown.more) == (MOST_ROWS, 7)


def test_a_trace_of_which_nothing_was_recorded_has_no_row() -> None:
    assert drawn().rows == ()


def test_spans_are_grouped_by_the_process_that_sent_them() -> None:
    two = otlp([span("a", **{"service.instance.id": "orders-0"}), span("b", **{"service.instance.id": "orders-1"})])
    resources = [each["resource"]["attributes"] for each in json.loads(two)["resourceSpans"]]
    assert [{one["key"]: one["value"]["stringValue"] for one in each} for each in resources] == [
        {"service.name": "orders", "service.instance.id": f"orders-{number}"} for number in range(2)
    ]


@pytest.mark.servers
async def test_a_real_jaeger_takes_the_file_and_gives_the_same_spans_back(servers: Addresses) -> None:
    assert servers.jaeger
    sent = [
        span("a", **{"service.instance.id": "orders-0", "http.status_code": 503, "ratio": 0.5, "ok": True}),
        span("b", "a", 1, 2, **{"otel.status_code": "ERROR", "error": True, "otel.status_description": "open"}),
    ]
    async with aiohttp.ClientSession() as session:
        header = {"Content-Type": "application/json"}
        async with session.post(f"http://{servers.otlp}/v1/traces", data=otlp(sent), headers=header) as answer:
            assert answer.status == 200, await answer.text()
    async with Jaeger(servers.jaeger) as jaeger:
        found = await jaeger.collect(frozenset({TRACE}))
    assert found == sent
