"""Resilience: what each mechanism of the shop does while something is broken."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

import panels as p

__all__ = ["resilience"]

WAITS = "shop_limiter_wait_seconds"
TRANSITION = "service, callee, from_state, to_state"
DESTINATION = "messaging_destination_name"
BORN = "The counters themselves: they are born with the first of their kind, which a rate would not show."


def resilience() -> Dashboard:
    """Return it."""
    return p.board(
        "Resilience",
        "What breakers, limiters, health, drains, outboxes and deliveries do; red stripes are the windows of faults.",
        (p.CELL, p.SERVICE),
        {
            "Breakers": _breakers(),
            "Rate limit": _limiter(),
            "Health and shutdown": _health(),
            "Events": _events(),
            "Deliveries and repeated steps": _deliveries(),
        },
    )


def _breakers() -> p.Panels:
    return (
        p.states(
            "Breaker state",
            (("closed", "green"), ("half-open", "yellow"), ("open", "red")),
            p.query(f"max by (service, callee) ({p.of('shop_breaker_state')})", "{{service}} -> {{callee}}"),
            description="The worst of a caller's instances.",
        ),
        p.lines(
            "Breaker transitions so far",
            "none",
            p.query(
                p.total(TRANSITION, p.of("shop_breaker_transitions_total")),
                "{{service}} -> {{callee}}: {{from_state}} to {{to_state}}",
            ),
            description=BORN,
            steps=True,
        ),
    )


def _limiter() -> p.Panels:
    return (
        p.lines(
            "Wait for a token",
            "s",
            p.query(p.quantile(0.5, "service", WAITS), "{{service}} p50"),
            p.query(p.quantile(0.99, "service", WAITS), "{{service}} p99", exemplars=True),
        ),
        p.lines(
            "Tokens taken and refused",
            "reqps",
            p.query(p.total("service", p.rate(f"{WAITS}_count")), "{{service}} taken"),
            p.query(p.total("service", p.rate("shop_limiter_refusals_total")), "{{service}} refused"),
        ),
    )


def _health() -> p.Panels:
    return (
        p.states(
            "Health by part",
            (("DOWN", "red"), ("UP", "green")),
            p.query(f"min by (service, part) ({p.of('shop_health')})", "{{service}}: {{part}}"),
            description="As /health last said it; 'status' is the whole, and DOWN there may be DEGRADED.",
        ),
        p.lines(
            "Requests in flight",
            "none",
            p.query(p.total("service", p.of("http_server_active_requests")), "{{service}}"),
        ),
        p.lines(
            "Draining instances", "none", p.query(p.total("service", p.of("shop_draining")), "{{service}}"), steps=True
        ),
    )


def _events() -> p.Panels:
    return (
        p.lines(
            "Outbox depth",
            "none",
            p.query(f"max by (service) ({p.of('shop_outbox_depth')})", "{{service}}"),
            description="Events that wait for the broker; all instances of a service look at one outbox.",
            steps=True,
        ),
        p.lines(
            "Events published and handled",
            "cps",
            p.query(_messages("sent"), f"{{{{{DESTINATION}}}}} published by {{{{service}}}}"),
            p.query(_messages("consumed"), f"{{{{{DESTINATION}}}}} handled by {{{{service}}}}"),
        ),
    )


def _deliveries() -> p.Panels:
    skipped, failures = p.of("shop_events_skipped_total"), p.of("shop_worker_failures_total")
    return (
        p.lines(
            "Deliveries by channel",
            "cps",
            p.query(p.total("channel, state", p.rate("shop_delivery_attempts_total")), "{{channel}}: {{state}}"),
            description="Attempts, by what the delivery is then: sent, waiting for the next one, or given up.",
        ),
        p.lines(
            "Events skipped and steps repeated so far",
            "none",
            p.query(p.total("service, event", skipped), "{{event}} skipped by {{service}}"),
            p.query(p.total("service, worker", failures), "{{service}}: {{worker}} repeated"),
            description=BORN,
            steps=True,
        ),
    )


def _messages(done: str) -> str:
    return p.total(f"service, {DESTINATION}", p.rate(f"messaging_client_{done}_messages_total"))
