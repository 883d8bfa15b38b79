"""What every call to another service goes through, whatever its protocol: deadline, discovery, balance, breaker."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from prometheus_client import Histogram

from brownout_shop.discovery.registry import Instance
from brownout_shop.resilience import deadline
from brownout_shop.resilience.balancer import Balancer, NoInstanceError, RoundRobin
from brownout_shop.resilience.breaker import DOCUMENTED, BreakerOpenError, CircuitBreaker, State
from brownout_shop.resilience.errors import (
    CalleeTimedOutError,
    CallError,
    CallRefusedError,
    NoInstanceKnownError,
    callee_is_well,
)
from brownout_shop.telemetry import metrics

__all__ = ["Call", "Calls"]


@dataclass(frozen=True, slots=True)
class Call:
    """Leave to make one call.

    Args:
        instance: whom to call.
        within_s: when to give up, in seconds from now.
        trial: whether the breaker is half-open, so that a failure costs another 60 s.
    """

    instance: Instance
    within_s: float
    trial: bool


class Calls:
    """The calls of one protocol: a breaker and a balancer for each callee.

    Args:
        discover: gives the passing instances of a service.
        port: the port that is called; the one without a name is HTTP's. Breakers are named ``callee:port``.
        balance: makes the balancer of a callee.
        metric: what counts them, by method, callee and what they failed with.
        clock: nanoseconds for the breakers, never running backwards.
        on_open: told of the callee whose breaker has opened.
    """

    def __init__(
        self,
        discover: Callable[[str], Sequence[Instance]],
        *,
        port: str = "",
        balance: Callable[[], Balancer] = RoundRobin,
        metric: Histogram = metrics.CALLS,
        clock: Callable[[], int] = time.monotonic_ns,
        on_open: Callable[[str], None] | None = None,
    ) -> None:
        self._discover = discover
        self._suffix = f":{port}" if port else ""
        self._metric = metric
        self._clock = clock
        self._on_open = on_open
        self._breakers: dict[str, CircuitBreaker] = {}
        self._balancers = defaultdict[str, Balancer](balance)

    @contextlib.contextmanager
    def begun(self, callee: str, method: str) -> Iterator[Call]:
        """Hold a call open; how it ends is put to the callee's breaker and counted.

        Args:
            callee: the service's name.
            method: what is called: HTTP's method, or gRPC's.

        Raises:
            CallError: it may not be made, or what is raised inside.
        """
        began, outcome = time.perf_counter(), "failed"
        try:
            with self._admitted(callee) as call:
                yield call
            outcome = ""
        except CallError as error:
            outcome = error.outcome
            raise
        finally:
            took_s = time.perf_counter() - began
            self._metric.labels(method, callee, outcome).observe(took_s, metrics.exemplar())

    @contextlib.contextmanager
    def _admitted(self, callee: str) -> Iterator[Call]:
        within_s = deadline.within_s()
        if within_s <= 0:
            raise CalleeTimedOutError(callee)
        breaker = self._breaker(callee)
        try:
            instance = self._balancers[callee].choose(self._discover(callee))
            admission = breaker.allow()
        except NoInstanceError as error:
            raise NoInstanceKnownError(callee) from error
        except BreakerOpenError as error:
            raise CallRefusedError(error) from error
        with admission:
            yield Call(instance, within_s, trial=breaker.state() is State.HALF_OPEN)

    def _breaker(self, callee: str) -> CircuitBreaker:
        if callee not in self._breakers:

            def note(name: str, before: State, after: State) -> None:
                metrics.BREAKER_STATE.labels(name).set(list(State).index(after))
                metrics.BREAKER_TRANSITIONS.labels(name, before, after).inc()
                if after is State.OPEN and self._on_open:
                    self._on_open(callee)

            name, settings = callee + self._suffix, replace(DOCUMENTED, is_successful=callee_is_well)
            self._breakers[callee] = CircuitBreaker(name, settings, on_state_change=note, clock=self._clock)
            metrics.BREAKER_STATE.labels(name).set(0)
        return self._breakers[callee]
