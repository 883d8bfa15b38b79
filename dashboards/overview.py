"""The overview: rate, errors and duration of each service and of each edge, and what needs somebody's attention."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

import panels as p

__all__ = ["overview"]

HTTP, RPC = "http_server_request_duration_seconds", "rpc_server_call_duration_seconds"
CALLS, RPC_CALLS = "http_client_request_duration_seconds", "rpc_client_call_duration_seconds"
FAILED = 'error_type!=""'
RPC_FAILED = 'rpc_response_status_code=~"UNKNOWN|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|CANCELLED"'
EDGE = "service, server_address"
NAME = "{{service}} -> {{server_address}}"
BUDGET = 0.01
"""The share of requests that may fail, as in `alerts.yml`."""


def overview() -> Dashboard:
    """Return it."""
    return p.board(
        "Overview",
        "How much is asked of the shop, how much of it fails, and how long it takes.",
        (p.CELL, p.SERVICE),
        {"Services": _services(), "Edges": _edges(), "Answers": _answers(), "Attention": _attention()},
    )


def _services() -> p.Panels:
    return (
        p.lines(
            "Requests by service",
            "reqps",
            p.query(p.total("service", p.rate(f"{HTTP}_count")), "{{service}}"),
            p.query(p.total("service", p.rate(f"{RPC}_count")), "{{service}} gRPC"),
        ),
        p.lines(
            "Errors by service",
            "percentunit",
            p.query(_share("service", HTTP, FAILED), "{{service}}"),
            p.query(_share("service", RPC, RPC_FAILED), "{{service}} gRPC"),
            description="Answers from 500 up, and requests that were cut.",
        ),
        p.lines(
            "Duration by service",
            "s",
            p.query(p.quantile(0.5, "service", HTTP), "{{service}} p50"),
            p.query(p.quantile(0.99, "service", HTTP), "{{service}} p99", exemplars=True),
            p.query(p.quantile(0.99, "service", RPC), "{{service}} gRPC p99", exemplars=True),
        ),
    )


def _edges() -> p.Panels:
    return (
        p.lines(
            "Calls by edge",
            "reqps",
            p.query(p.total(EDGE, p.rate(f"{CALLS}_count")), NAME),
            p.query(p.total(EDGE, p.rate(f"{RPC_CALLS}_count")), f"{NAME} gRPC"),
        ),
        p.lines(
            "Failed calls by edge",
            "percentunit",
            p.query(_share(EDGE, CALLS, FAILED), NAME),
            p.query(_share(EDGE, RPC_CALLS, FAILED), f"{NAME} gRPC"),
            description="Whatever they failed with, refusals by the caller's own breaker included.",
        ),
        p.lines(
            "Call duration by edge, p99",
            "s",
            p.query(p.quantile(0.99, EDGE, CALLS), NAME, exemplars=True),
            p.query(p.quantile(0.99, EDGE, RPC_CALLS), f"{NAME} gRPC", exemplars=True),
        ),
    )


def _answers() -> p.Panels:
    http, rpc = "http_response_status_code", "rpc_response_status_code"
    return (
        p.lines(
            "Requests by status",
            "reqps",
            p.query(p.total(f"service, {http}", p.rate(f"{HTTP}_count")), f"{{{{service}}}} {{{{{http}}}}}"),
            p.query(p.total(f"service, {rpc}", p.rate(f"{RPC}_count")), f"{{{{service}}}} {{{{{rpc}}}}}"),
        ),
        p.lines(
            "Calls by outcome",
            "reqps",
            p.query(p.total(f"{EDGE}, error_type", p.rate(f"{CALLS}_count")), f"{NAME} {{{{error_type}}}}"),
            p.query(p.total(f"{EDGE}, error_type", p.rate(f"{RPC_CALLS}_count")), f"{NAME} gRPC {{{{error_type}}}}"),
        ),
    )


def _attention() -> p.Panels:
    return (
        p.states(
            "Alerts",
            (("none", "transparent"), ("pending", "yellow"), ("firing", "red")),
            p.query(_alerts(), "{{alertname}} {{service}}{{channel}}"),
            description="Prometheus' own, of alerts.yml: pending until it has lasted.",
        ),
        p.lines(
            "Error budget burnt, times as fast as allowed",
            "none",
            p.query(_burnt("1h"), "{{service}} over 1 h"),
            p.query(_burnt("6h"), "{{service}} over 6 h"),
            description="Of an objective of 99 %. From 14.4 and 6 on there is an alert.",
        ),
        p.lines(
            "Instances scraped",
            "none",
            p.query(p.total("service", p.of("up")), "{{service}}"),
            description="Those that registered and answer.",
            steps=True,
        ),
    )


def _share(labels: str, histogram: str, failed: str) -> str:
    return p.share(labels, p.rate(f"{histogram}_count", failed), p.rate(f"{histogram}_count"))


def _alerts() -> str:
    """Return 1 for what is pending and 2 for what is firing, of any service: not every alert is about one."""
    firing, pending = (f'ALERTS{{cell=~"$cell", alertstate="{state}"}}' for state in ("firing", "pending"))
    return f"max by (alertname, service, channel) ({firing} * 2 or {pending})"


def _burnt(window: str) -> str:
    return f"{p.of(f'cell_service:http_server_request_errors:ratio_rate{window}')} / {BUDGET:g}"
