"""Every metric of the shop, named once; discovery adds the service, instance and cell as labels."""

from prometheus_client import Counter, Gauge, Histogram

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
    "WORKER_FAILURES",
]

# From a refusal (under 5 ms) to the client's total time-out of 10 s (clause 3.1) and what may outlive it.
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0)

REQUESTS = Histogram(
    "shop_request_duration_seconds",
    "Requests answered, by route and status; 'cut' is one that got no answer.",
    ["method", "route", "status"],
    buckets=_BUCKETS_S,
)
CALLS = Histogram(
    "shop_call_duration_seconds",
    "Calls to other services, by callee and outcome; refusals by the breaker included.",
    ["callee", "outcome"],
    buckets=_BUCKETS_S,
)
IN_FLIGHT = Gauge("shop_requests_in_flight", "Requests being worked on, /health and /metrics apart.")
DRAINING = Gauge("shop_draining", "1 from the signal that ends the service.")
BREAKER_STATE = Gauge("shop_breaker_state", "0 closed, 1 half-open, 2 open.", ["callee"])
BREAKER_TRANSITIONS = Counter(
    "shop_breaker_transitions", "Changes of a breaker's state.", ["callee", "from_state", "to_state"]
)
LIMITER_WAITS = Histogram("shop_limiter_wait_seconds", "How long calls waited for their token.", buckets=_BUCKETS_S)
LIMITER_REFUSALS = Counter("shop_limiter_refusals", "Calls whose token would come after their deadline.")
HEALTH = Gauge("shop_health", "1 where /health last said UP, by part; 'status' is the whole.", ["part"])
OUTBOX_DEPTH = Gauge("shop_outbox_depth", "Events that wait for the broker's acknowledgement, as last counted.")
EVENTS_PUBLISHED = Counter("shop_events_published", "Events that the broker acknowledged.", ["event"])
EVENTS_HANDLED = Counter("shop_events_handled", "Events whose handler returned, repeated ones included.", ["event"])
EVENTS_SKIPPED = Counter("shop_events_skipped", "Malformed events, which nobody will handle.", ["event"])
DELIVERY_ATTEMPTS = Counter(
    "shop_delivery_attempts",
    "Attempts to deliver a notification, by channel and what it is then.",
    ["channel", "state"],
)
WORKER_FAILURES = Counter("shop_worker_failures", "Steps that failed and were repeated, by worker.", ["worker"])
