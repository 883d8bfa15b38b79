"""Every metric of the shop, named once; discovery adds the service, instance and cell as labels.

Names and labels are those of the OpenTelemetry semantic conventions, written as Prometheus has them, wherever the
conventions have one; what they have no word for begins with ``shop_``. Attributes that are the same for all are left
out: the scheme is http, the RPC system gRPC, the messaging system Kafka.
"""

from opentelemetry import trace
from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

__all__ = [
    "BREAKER_STATE",
    "BREAKER_TRANSITIONS",
    "CALLS",
    "DELIVERY_ATTEMPTS",
    "DRAINING",
    "EVENTS_HANDLED",
    "EVENTS_PUBLISHED",
    "EVENTS_SKIPPED",
    "HEALTH",
    "IN_FLIGHT",
    "LIMITER_REFUSALS",
    "LIMITER_WAITS",
    "OUTBOX_DEPTH",
    "REQUESTS",
    "RPC_CALLS",
    "RPC_REQUESTS",
    "WORKER_FAILURES",
    "exemplar",
]

# What no dashboard shows is not scraped each second: the interpreter's own, and when each counter was born.
for _collector in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR):
    REGISTRY.unregister(_collector)
disable_created_metrics()  # type: ignore[no-untyped-call]

# From a refusal (under 5 ms) to the client's total time-out of 10 s (clause 3.1) and what may outlive it.
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0)

REQUESTS = Histogram(
    "http_server_request_duration_seconds",
    "Requests answered, /health and /metrics apart; one that was cut has an error type and no status.",
    ["http_request_method", "http_route", "http_response_status_code", "error_type"],
    buckets=_BUCKETS_S,
)
RPC_REQUESTS = Histogram(
    "rpc_server_call_duration_seconds",
    "gRPC calls answered; one that was cut is CANCELLED.",
    ["rpc_method", "rpc_response_status_code"],
    buckets=_BUCKETS_S,
)
CALLS = Histogram(
    "http_client_request_duration_seconds",
    "Requests to other services, by the callee's name and what they failed with; refusals by the breaker included.",
    ["http_request_method", "server_address", "error_type"],
    buckets=_BUCKETS_S,
)
RPC_CALLS = Histogram(
    "rpc_client_call_duration_seconds",
    "The same of gRPC calls to other services.",
    ["rpc_method", "server_address", "error_type"],
    buckets=_BUCKETS_S,
)
IN_FLIGHT = Gauge(
    "http_server_active_requests",
    "Requests being worked on, gRPC's among them, /health and /metrics apart.",
    ["http_request_method"],
)
DRAINING = Gauge("shop_draining", "1 from the signal that ends the service.")
BREAKER_STATE = Gauge("shop_breaker_state", "0 closed, 1 half-open, 2 open.", ["callee"])
BREAKER_TRANSITIONS = Counter(
    "shop_breaker_transitions", "Changes of a breaker's state.", ["callee", "from_state", "to_state"]
)
LIMITER_WAITS = Histogram("shop_limiter_wait_seconds", "How long calls waited for their token.", buckets=_BUCKETS_S)
LIMITER_REFUSALS = Counter("shop_limiter_refusals", "Calls whose token would come after their deadline.")
HEALTH = Gauge("shop_health", "1 where /health last said UP, by part; 'status' is the whole.", ["part"])
OUTBOX_DEPTH = Gauge("shop_outbox_depth", "Events that wait for the broker's acknowledgement, as last counted.")
EVENTS_PUBLISHED = Counter(
    "messaging_client_sent_messages",
    "Events that the broker acknowledged, by topic without the cell's prefix.",
    ["messaging_destination_name"],
)
EVENTS_HANDLED = Counter(
    "messaging_client_consumed_messages",
    "Events whose handler returned, repeated ones included, by topic without the cell's prefix.",
    ["messaging_destination_name"],
)
EVENTS_SKIPPED = Counter("shop_events_skipped", "Malformed events, which nobody will handle.", ["event"])
DELIVERY_ATTEMPTS = Counter(
    "shop_delivery_attempts",
    "Attempts to deliver a notification, by channel and what it is then.",
    ["channel", "state"],
)
WORKER_FAILURES = Counter("shop_worker_failures", "Steps that failed and were repeated, by worker.", ["worker"])


def exemplar() -> dict[str, str] | None:
    """Return what makes an observation an example: the id of the trace at hand; None where nothing is traced."""
    context = trace.get_current_span().get_span_context()
    return {"trace_id": trace.format_trace_id(context.trace_id)} if context.trace_flags.sampled else None
