"""A load run, as the service that is asked sees it: what was offered, how long it took, and where it waited."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

import panels as p

__all__ = ["load_run"]

HTTP = "http_server_request_duration_seconds"
IN_FLIGHT = "http_server_active_requests"
ASKED = p.variable("service", "Service", 'label_values(shop_health{cell=~"$cell"}, service)', several=False)
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


def load_run() -> Dashboard:
    """Return it."""
    return p.board(
        "Load run",
        "What a service is offered under load. Clients also wait before it sees them: their figures are the "
        "generator's, which counts from the time that a request was due.",
        (p.CELL, ASKED),
        {"Offered": _offered(), "Duration": _duration(), "Where it waits": _waiting()},
    )


def _offered() -> p.Panels:
    answers, status = f"sum({p.rate(f'{HTTP}_count')})", "http_response_status_code"
    return (
        p.lines(
            "Arrivals and answers",
            "reqps",
            p.query(f"{answers} + sum(deriv({p.of(IN_FLIGHT)}[$__rate_interval]))", "arrivals"),
            p.query(answers, "answers"),
            description="What arrives and is not answered piles up in flight.",
        ),
        p.lines("In flight", "none", p.query(f"sum({p.of(IN_FLIGHT)})", "requests")),
        p.levels("Answers by status", "reqps", p.query(p.total(status, p.rate(f"{HTTP}_count")), f"{{{{{status}}}}}")),
    )


def _duration() -> p.Panels:
    buckets, route = p.total("le", p.rate(f"{HTTP}_bucket")), "http_request_method, http_route"
    return (
        p.heat("Spread", p.query(buckets, "{{le}}", exemplars=True)),
        p.lines(
            "Quantiles",
            "s",
            *(p.query(f"histogram_quantile({q:g}, {buckets})", name, exemplars=True) for name, q in QUANTILES.items()),
            description="As exact as the buckets are narrow: between two of their bounds it is interpolated.",
        ),
        p.lines("p99 by route", "s", p.query(p.quantile(0.99, route, HTTP), "{{http_request_method}} {{http_route}}")),
    )


def _waiting() -> p.Panels:
    """Return the panels of all services, whichever is chosen."""
    edge = "{{service}} -> {{server_address}}"
    return (
        p.lines(
            "In flight by service", "none", p.query(f'sum by (service) ({IN_FLIGHT}{{cell=~"$cell"}})', "{{service}}")
        ),
        p.lines(
            "Calls by edge, p99",
            "s",
            p.query(_p99("service, server_address", "http_client_request_duration_seconds"), edge),
            p.query(_p99("service, server_address", "rpc_client_call_duration_seconds"), f"{edge} gRPC"),
        ),
        p.lines("Wait for a token, p99", "s", p.query(_p99("service", "shop_limiter_wait_seconds"), "{{service}}")),
    )


def _p99(labels: str, histogram: str) -> str:
    rates = f'rate({histogram}_bucket{{cell=~"$cell"}}[$__rate_interval])'
    return f"histogram_quantile(0.99, {p.total(f'{labels}, le', rates)})"
