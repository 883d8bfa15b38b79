"""The metrics' names, which are the conventions' where these have one."""

import re

from prometheus_client import REGISTRY, generate_latest
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
