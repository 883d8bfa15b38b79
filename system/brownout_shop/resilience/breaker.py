"""The circuit breaker: spares a callee that keeps failing, with the semantics of sony/gobreaker v1.0.0.

BreakerOpenError
├── OpenError              the breaker is open
└── TooManyRequestsError   it is half-open, and its trial calls are taken

Everything happens on the event loop's thread and nothing here awaits, so there is no lock.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple, Self

__all__ = [
    "DOCUMENTED",
    "Admission",
    "BreakerOpenError",
    "BreakerSettings",
    "CircuitBreaker",
    "Counts",
    "OpenError",
    "State",
    "TooManyRequestsError",
    "failure_ratio",
]

_DEFAULT_TIMEOUT_NS = 60 * 10**9  # gobreaker's own, used where none is set


class BreakerOpenError(Exception):
    """A call was refused without being made; the subject is the breaker's name.

    Args:
        name: the breaker that refused.
    """

    reason = "refused"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class OpenError(BreakerOpenError):
    """The breaker is open: no call is made until its timeout has passed.

    Args:
        name: the breaker that refused.
        left_ns: how much of that is left.
    """

    reason = "circuit breaker is open"

    def __init__(self, name: str, left_ns: float) -> None:
        super().__init__(name)
        self.left_ns = left_ns


class TooManyRequestsError(BreakerOpenError):
    """The breaker is half-open and has admitted all the trial calls it may."""

    reason = "too many requests"


class State(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


# Looking a member up in its enum costs more than a global; allow() does it on each call.
_CLOSED, _HALF_OPEN, _OPEN = State.CLOSED, State.HALF_OPEN, State.OPEN


class Counts(NamedTuple):
    """What one generation has seen; a call under way is in ``requests`` alone."""

    requests: int = 0
    total_successes: int = 0
    total_failures: int = 0
    consecutive_successes: int = 0
    consecutive_failures: int = 0


def failure_ratio(min_requests: int, ratio: float) -> Callable[[Counts], bool]:
    """Return the rule that trips at `min_requests` or more of which `ratio` or more failed.

    Args:
        min_requests: admissions in the window below which nothing trips, calls under way included.
        ratio: failures per admission, 0 to 1; reaching it trips.
    """

    def ready_to_trip(counts: Counts) -> bool:
        return counts.requests >= min_requests and counts.total_failures / counts.requests >= ratio

    return ready_to_trip


def _six_in_a_row(counts: Counts) -> bool:
    return counts.consecutive_failures > 5  # noqa: PLR2004 - gobreaker's default rule


def _no_error(error: Exception | None) -> bool:
    return error is None


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """A breaker's numbers and rules; the defaults are gobreaker's.

    Args:
        max_requests: calls admitted in one half-open period, and successes in a row that close it; 0 means 1.
        interval_ns: length of a closed window, after which the counts start anew; 0 or less: never.
        timeout_ns: how long open lasts; 0 or less means 60 s.
        ready_to_trip: asked after each failure while closed, with that failure already counted.
        is_successful: judges what a call under ``with`` raised (None: nothing) before it is counted.
    """

    max_requests: int = 1
    interval_ns: int = 0
    timeout_ns: int = _DEFAULT_TIMEOUT_NS
    ready_to_trip: Callable[[Counts], bool] = _six_in_a_row
    is_successful: Callable[[Exception | None], bool] = _no_error


DOCUMENTED = BreakerSettings(
    max_requests=3,
    interval_ns=10 * 10**9,
    timeout_ns=60 * 10**9,
    ready_to_trip=failure_ratio(min_requests=3, ratio=0.6),
)
"""The numbers of clause 6.2: 3 half-open, cleared every 10 s, open for 60 s, trips at 0.6 of 3 or more."""


class Admission:
    """Leave to make one call, and the way to report how it ended.

    Either call it with the result, ``done = breaker.allow(); ...; done(success)``, or hold it open around
    the call, ``with breaker.allow(): ...``. Under ``with``, an `Exception` is put to ``is_successful``; what
    else unwinds the call (cancellation, a caller's deadline) is a failure unasked, as a panic is in Go.

    All calls of one generation share one admission, so a stale result is known by its admission: it is not
    the breaker's own any more.
    """

    __slots__ = ("_breaker",)

    def __init__(self, breaker: "CircuitBreaker") -> None:
        self._breaker = breaker

    def __call__(self, success: bool) -> None:  # noqa: FBT001 - done(True) is what it is called for
        """Report the call's result: see `CircuitBreaker.report`."""
        self._breaker.report(self, success=success)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        breaker = self._breaker
        if error is not None and not isinstance(error, Exception):
            breaker.report(self, success=False)
            return
        try:
            breaker.report(self, success=breaker.settings.is_successful(error))
        except BaseException:
            # A rule that raises is a panic inside Execute: gobreaker counts it as a failure of its own.
            breaker.report(self, success=False)
            raise


class CircuitBreaker:
    """A breaker for one callee, closed at first.

    It has no timer: time is looked at when a call is admitted, when a result is reported and in `state`.
    A moment counts as past only when the clock is beyond it; at exactly 60 s an open breaker still refuses.

    Args:
        name: the callee, for errors and events.
        settings: its numbers and rules.
        on_state_change: called with (name, from, to) after each change, when the counts are zero again.
        clock: nanoseconds, never running backwards.
    """

    def __init__(
        self,
        name: str,
        settings: BreakerSettings = DOCUMENTED,
        *,
        on_state_change: Callable[[str, State, State], None] | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.name = name
        self.settings = settings
        self._max_requests = settings.max_requests or 1
        self._timeout_ns = settings.timeout_ns if settings.timeout_ns > 0 else _DEFAULT_TIMEOUT_NS
        self._on_state_change = on_state_change
        self._clock = clock
        self._state = _CLOSED
        self._begin_generation(clock())

    def _begin_generation(self, now_ns: int) -> None:
        self._admission = Admission(self)
        self._requests = 0
        self._total_successes = 0
        self._total_failures = 0
        self._consecutive_successes = 0
        self._consecutive_failures = 0
        self._expiry_ns: float = math.inf
        if self._state is _OPEN:
            self._expiry_ns = now_ns + self._timeout_ns
        elif self._state is _CLOSED and self.settings.interval_ns > 0:
            self._expiry_ns = now_ns + self.settings.interval_ns

    def state(self) -> State:
        """Return the state now; asking may itself begin half-open or a new window."""
        self._refresh(self._clock())
        return self._state

    @property
    def counts(self) -> Counts:
        """The counts as last touched; reading them never looks at the clock."""
        return Counts(
            self._requests,
            self._total_successes,
            self._total_failures,
            self._consecutive_successes,
            self._consecutive_failures,
        )

    def allow(self) -> Admission:
        """Admit a call, which counts as a request at once.

        Returns:
            The admission to report the result to. A half-open slot whose result never comes stays taken.

        Raises:
            OpenError: the breaker is open.
            TooManyRequestsError: it is half-open and its calls are taken, whether finished or not.
        """
        now_ns = self._clock()
        self._refresh(now_ns)
        if self._state is not _CLOSED:
            if self._state is _OPEN:
                raise OpenError(self.name, self._expiry_ns - now_ns)
            if self._requests >= self._max_requests:
                raise TooManyRequestsError(self.name)
        self._requests += 1
        return self._admission

    def report(self, admission: Admission, *, success: bool) -> None:
        """Count a result, or drop it when its generation is over.

        That is so after a change of state and after the window's end, even if this very report is what
        ends it. Reporting again counts again.
        """
        now_ns = self._clock()
        self._refresh(now_ns)
        if admission is not self._admission:
            return
        if success:
            self._count_success(now_ns)
        elif self._state is _HALF_OPEN:
            self._become(_OPEN, now_ns)
        else:
            self._count_failure(now_ns)

    def _count_success(self, now_ns: int) -> None:
        self._total_successes += 1
        self._consecutive_successes += 1
        self._consecutive_failures = 0
        if self._state is _HALF_OPEN and self._consecutive_successes >= self._max_requests:
            self._become(_CLOSED, now_ns)

    def _count_failure(self, now_ns: int) -> None:
        self._total_failures += 1
        self._consecutive_failures += 1
        self._consecutive_successes = 0
        if self.settings.ready_to_trip(self.counts):
            self._become(_OPEN, now_ns)

    def _refresh(self, now_ns: int) -> None:
        if now_ns <= self._expiry_ns:
            return
        if self._state is _OPEN:
            self._become(_HALF_OPEN, now_ns)
        else:
            self._begin_generation(now_ns)

    def _become(self, state: State, now_ns: int) -> None:
        before, self._state = self._state, state
        self._begin_generation(now_ns)
        if self._on_state_change is not None:
            self._on_state_change(self.name, before, state)
