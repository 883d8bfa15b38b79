"""Breaks the shop from outside: Python runs this file as a process starts that has this folder on its PYTHONPATH.

The shop knows nothing of it. ``SABOTAGE`` names what is done to the process.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any


def opens_at_nine_tenths() -> None:
    """The breaker waits for a failure ratio of 0.9."""
    from brownout_shop.resilience import breaker

    breaker.DOCUMENTED = replace(breaker.DOCUMENTED, ready_to_trip=breaker.failure_ratio(3, 0.9))


def opens_at_five_requests() -> None:
    """The breaker waits for five requests."""
    from brownout_shop.resilience import breaker

    breaker.DOCUMENTED = replace(breaker.DOCUMENTED, ready_to_trip=breaker.failure_ratio(5, 0.6))


def opens_at_any_three_failures() -> None:
    """The breaker does not look at the successes."""
    from brownout_shop.resilience import breaker

    breaker.DOCUMENTED = replace(breaker.DOCUMENTED, ready_to_trip=lambda counts: counts.total_failures >= 3)


def forgets_after_half_the_window() -> None:
    """The breaker clears its counts every 5 s."""
    from brownout_shop.resilience import breaker

    breaker.DOCUMENTED = replace(breaker.DOCUMENTED, interval_ns=5 * 10**9)


def opens_for_half_the_time() -> None:
    """The breaker is open for 30 s."""
    from brownout_shop.resilience import breaker

    breaker.DOCUMENTED = replace(breaker.DOCUMENTED, timeout_ns=30 * 10**9)


def half_open_admits_thirty() -> None:
    """Half-open lets 30 calls through and still closes after 3 successes."""
    from brownout_shop.resilience.breaker import CircuitBreaker

    allow = CircuitBreaker.allow

    def lavish(self: CircuitBreaker) -> Any:
        closes_after, self._max_requests = self._max_requests, 30
        try:
            return allow(self)
        finally:
            self._max_requests = closes_after

    CircuitBreaker.allow = lavish  # type: ignore[method-assign]


def health_is_stuck_at_up() -> None:
    """/health says UP, whatever is broken."""
    from brownout_shop.telemetry import health

    combine = health.combine

    def rosy(**_: Any) -> tuple[int, dict[str, str]]:
        return combine(database=True, consul=True, needs={"users": True})

    health.combine = rosy


def exits_at_once() -> None:
    """SIGTERM ends the process on the spot."""
    from brownout_shop import serve

    def abrupt() -> asyncio.Event:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        return asyncio.Event()

    serve._signalled = abrupt


def cuts_after_three_seconds() -> None:
    """What is in flight has 3 s from the signal."""
    from brownout_shop import serve

    serve.END_WITHIN_S = 3.0


def bursts_twice_as_long() -> None:
    """The limiter's bucket holds twice what is promised."""
    from brownout_shop.resilience.limiter import Limiter

    begin = Limiter.__init__

    def roomy(self: Limiter, limit: float, burst: int, **options: Any) -> None:
        begin(self, limit, 2 * burst, **options)

    Limiter.__init__ = roomy  # type: ignore[method-assign]


SABOTAGES: dict[str, Callable[[], None]] = {
    sabotage.__name__: sabotage
    for sabotage in (
        opens_at_nine_tenths,
        opens_at_five_requests,
        opens_at_any_three_failures,
        forgets_after_half_the_window,
        opens_for_half_the_time,
        half_open_admits_thirty,
        health_is_stuck_at_up,
        exits_at_once,
        cuts_after_three_seconds,
        bursts_twice_as_long,
    )
}

if "SABOTAGE" in os.environ:
    SABOTAGES[os.environ["SABOTAGE"]]()
