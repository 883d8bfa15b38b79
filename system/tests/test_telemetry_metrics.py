"""The metrics' names, which are the conventions' where these have one, and the traces that durations name."""

import re

from opentelemetry import trace
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import MetricWrapperBase

from brownout_shop.telemetry import metrics

UNITS = ("_seconds", "_requests", "_state", "_depth", "_health", "_draining")
LABELS = {
    "http_server_request_duration_seconds": {
        "http_request_method",
        "http_route",
        "http_response_status_code",
        "error_type",
    },
    "http_client_request_duration_seconds": {"http_request_method", "server_address", "error_type"},
    "http_server_active_requests": {"http_request_method"},
    "rpc_server_call_duration_seconds": {"rpc_method", "rpc_response_status_code"},
    "rpc_client_call_duration_seconds": {"rpc_method", "server_address", "error_type"},
    "messaging_client_sent_messages": {"messaging_destination_name"},
    "messaging_client_consumed_messages": {"messaging_destination_name"},
}
"""The OpenTelemetry semantic conventions' metrics of HTTP, RPC and messaging, with the attributes that vary."""


def wrapped() -> dict[str, MetricWrapperBase]:
    found = [value for name in metrics.__all__ if isinstance(value := getattr(metrics, name), MetricWrapperBase)]
    return {description.name: each for each in found for description in each.describe()}


def test_what_the_conventions_name_has_their_name_and_labels_and_all_else_is_the_shops() -> None:
    labels = {name: set(each._labelnames) for name, each in wrapped().items() if not name.startswith("shop_")}
    assert labels == LABELS


def test_every_name_tells_its_unit() -> None:
    for name, each in wrapped().items():
        assert re.fullmatch(r"[a-z_]+", name)
        assert each._type == "counter" or name.endswith(UNITS), name


def test_nothing_is_scraped_that_no_dashboard_shows() -> None:
    for name in generate_latest(REGISTRY).decode().splitlines():
        assert name.startswith(("# ", "shop_", "http_", "rpc_", "messaging_")), name
        assert "_created" not in name


def test_a_duration_names_its_trace_where_openmetrics_is_asked_for() -> None:
    encode, content_type = choose_encoder("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    sampled = trace.SpanContext(7, 8, is_remote=False, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
    with trace.use_span(trace.NonRecordingSpan(sampled)):
        metrics.REQUESTS.labels("GET", "/exemplary", "200", "").observe(0.3, metrics.exemplar())
    lines = [line for line in encode(REGISTRY).decode().splitlines() if "/exemplary" in line and 'le="0.5"' in line]
    assert len(lines) == 1
    assert f'# {{trace_id="{7:032x}"}} 0.3' in lines[0]
    assert content_type.startswith("application/openmetrics-text")
    assert "trace_id" not in generate_latest(REGISTRY).decode()


def test_what_is_not_traced_names_no_trace() -> None:
    assert metrics.exemplar() is None
    with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(7, 8, is_remote=False))):  # one that is not sampled
        assert metrics.exemplar() is None
