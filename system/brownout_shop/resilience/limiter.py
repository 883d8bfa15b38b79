"""The rate limiter: a token bucket that calls wait on, with the semantics of golang.org/x/time/rate v0.16.0.

RateLimitError
├── BurstExceededError         more tokens than the bucket ever holds
├── WouldExceedDeadlineError   the token would come after the caller's deadline
└── DeadlineExceededError      the deadline had passed already

Everything happens on the event loop's thread, and `Limiter.wait` awaits only after all is decided, so there
is no lock.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = [
    "INF_NS",
    "BurstExceededError",
    "DeadlineExceededError",
    "Limiter",
    "RateLimitError",
    "Reservation",
    "WouldExceedDeadlineError",
    "every",
]

INF_NS = 2**63 - 1
"""The wait that never ends; also the longest that Go's 64-bit durations can tell."""

_SECOND_NS = 10**9


class RateLimitError(Exception):
    """A call was refused for its rate; it took no tokens.

    Args:
        cause: why, completing "rate limit exceeded" (clause 6.3).
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        return f"rate limit exceeded: {self.cause}"


class BurstExceededError(RateLimitError):
    """More tokens were asked for than the bucket ever holds."""


class WouldExceedDeadlineError(RateLimitError):
    """The tokens would come after the deadline: told at once, without waiting for it."""


class DeadlineExceededError(RateLimitError):
    """The deadline had passed before the call asked for tokens."""


def every(interval_ns: int) -> float:
    """Return the rate, per second, of one event every `interval_ns`; without a limit if that is 0 or less."""
    return 1 / _seconds(interval_ns) if interval_ns > 0 else math.inf


@dataclass(frozen=True, slots=True)
class Reservation:
    """Tokens taken ahead of their time.

    Args:
        ok: whether they will ever be there; if not, none were taken.
        n: how many.
        act_at_ns: when the holder may act, on the limiter's clock.
        limit: the rate when they were taken, per second; 0 if there was no limit.
    """

    ok: bool
    n: int
    act_at_ns: int
    limit: float

    def delay_ns(self, at_ns: int) -> int:
        """Return how long after `at_ns` the holder has to wait before acting; `INF_NS` if it never may."""
        return max(0, _saturated(self.act_at_ns - at_ns)) if self.ok else INF_NS


class Limiter:
    """A bucket of `burst` tokens, full at first, refilled at `limit` tokens per second.

    The moment of a call is `at_ns` where it is given, otherwise the clock's.

    Args:
        limit: tokens per second; `math.inf` for no limit; 0 or less never refills.
        burst: tokens the bucket holds, and the most that one call may take.
        clock: nanoseconds, never running backwards.
        sleep_ns: waits for a number of nanoseconds; it may return early, and is then called again.
    """

    __slots__ = ("_burst", "_clock", "_last_event_ns", "_last_ns", "_limit", "_sleep_ns", "_tokens")

    def __init__(
        self,
        limit: float,
        burst: int,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep_ns: Callable[[int], Awaitable[object]] | None = None,
    ) -> None:
        self._limit = limit
        self._burst = burst
        self._clock = clock
        self._sleep_ns = sleep_ns or _sleep_ns
        self._tokens = float(burst)
        self._last_ns = 0
        self._last_event_ns = 0

    @property
    def limit(self) -> float:
        """The rate, in tokens per second."""
        return self._limit

    @property
    def burst(self) -> int:
        """The tokens that the bucket holds."""
        return self._burst

    def tokens(self, at_ns: int | None = None) -> float:
        """Return the tokens in the bucket, negative if some are taken ahead; nothing changes by asking."""
        return self._tokens_at(self._clock() if at_ns is None else at_ns)

    def wait_ns(self, n: int = 1) -> int:
        """Return how long `n` tokens would be waited for now; nothing changes by asking."""
        return max(0, _duration_ns(n - self.tokens(), self._limit))

    def set_limit(self, limit: float, at_ns: int | None = None) -> None:
        """Change the rate, in tokens per second; waits that have begun keep their moment."""
        self._settle(self._clock() if at_ns is None else at_ns)
        self._limit = limit

    def set_burst(self, burst: int, at_ns: int | None = None) -> None:
        """Change what the bucket holds; a larger one gets no tokens by that, waits keep their moment."""
        self._settle(self._clock() if at_ns is None else at_ns)
        self._burst = burst

    def allow(self, n: int = 1, at_ns: int | None = None) -> bool:
        """Take `n` tokens if they are there now, to less than a nanosecond; a refusal changes nothing."""
        return self._take(self._clock() if at_ns is None else at_ns, n, 0) is not None

    def reserve(self, n: int = 1, at_ns: int | None = None) -> Reservation:
        """Take `n` tokens, ahead of their time if need be; not ok only if `n` exceeds the burst."""
        at_ns = self._clock() if at_ns is None else at_ns
        wait_ns = self._take(at_ns, n, INF_NS)
        limit = 0.0 if self._limit == math.inf else self._limit
        if wait_ns is None:
            return Reservation(ok=False, n=0, act_at_ns=at_ns, limit=limit)
        return Reservation(ok=True, n=n, act_at_ns=at_ns + wait_ns, limit=limit)

    def cancel(self, reservation: Reservation, at_ns: int | None = None) -> None:
        """Give a reservation's tokens back, less those that were reserved after it.

        Once its moment is past, none. As in Go, cancelling again gives back again.
        """
        at_ns = self._clock() if at_ns is None else at_ns
        act_at_ns, n, limit = reservation.act_at_ns, reservation.n, reservation.limit
        if not reservation.ok or n == 0 or act_at_ns < at_ns or self._limit == math.inf:
            return
        restored = n - _tokens_in(_saturated(self._last_event_ns - act_at_ns), limit)
        if restored <= 0:
            return
        self._settle(at_ns)
        self._tokens = min(self._tokens + restored, float(self._burst))
        if act_at_ns == self._last_event_ns:
            previous_ns = act_at_ns + _duration_ns(float(-n), limit)
            if previous_ns >= at_ns:
                self._last_event_ns = previous_ns

    async def wait(self, n: int = 1, deadline_ns: int | None = None) -> None:
        """Take `n` tokens and return when they are there; waits are served in the order of their calls.

        A task that is being cancelled gets its CancelledError at once, tokens or not, as a done context does
        in Go; cancelling a blocked wait cancels its reservation.

        Args:
            n: how many tokens.
            deadline_ns: the caller's deadline on the limiter's clock, if it has one.

        Raises:
            BurstExceededError: `n` exceeds the burst.
            DeadlineExceededError: the deadline has passed.
            WouldExceedDeadlineError: the tokens come after the deadline.
        """
        if n > self._burst and self._limit != math.inf:
            raise BurstExceededError(f"{n} tokens at once exceed the burst of {self._burst}")
        now_ns = self._clock()
        longest_ns = INF_NS if deadline_ns is None else deadline_ns - now_ns
        if longest_ns <= 0:
            raise DeadlineExceededError("the deadline has passed")
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        wait_ns = self._take(now_ns, n, longest_ns)
        if wait_ns is None:
            raise WouldExceedDeadlineError(f"{n} tokens would come after the deadline")
        if wait_ns:
            await self._hold(Reservation(ok=True, n=n, act_at_ns=now_ns + wait_ns, limit=self._limit))

    async def _hold(self, reservation: Reservation) -> None:
        try:
            # Again and again, since a loop may wake a sleeper early: uvloop rounds to milliseconds.
            while (left_ns := reservation.delay_ns(self._clock())) > 0:
                await self._sleep_ns(left_ns)
        except BaseException:
            self.cancel(reservation)
            raise

    def _take(self, at_ns: int, n: int, longest_ns: int) -> int | None:
        """Take `n` tokens and return the wait for them; None, changing nothing, if over `longest_ns`."""
        if self._limit == math.inf:
            return 0
        tokens = self._tokens_at(at_ns) - n
        wait_ns = _duration_ns(-tokens, self._limit) if tokens < 0 else 0
        if n > self._burst or wait_ns > longest_ns:
            return None
        self._tokens = tokens
        self._last_ns = at_ns
        self._last_event_ns = at_ns + wait_ns
        return wait_ns

    def _settle(self, at_ns: int) -> None:
        self._tokens = self._tokens_at(at_ns)
        self._last_ns = at_ns

    def _tokens_at(self, at_ns: int) -> float:
        # A moment before the last one earns nothing.
        elapsed_ns = at_ns - self._last_ns
        tokens = self._tokens + _tokens_in(elapsed_ns, self._limit) if elapsed_ns > 0 else self._tokens
        return min(tokens, float(self._burst))


async def _sleep_ns(duration_ns: int) -> None:
    await asyncio.sleep(duration_ns / _SECOND_NS)


def _tokens_in(duration_ns: int, limit: float) -> float:
    return _seconds(duration_ns) * limit if limit > 0 else 0.0


def _duration_ns(tokens: float, limit: float) -> int:
    """Return the time for `tokens` at `limit`, cut to whole nanoseconds and to 64 bits as Go does."""
    if limit <= 0:
        return INF_NS
    duration_ns = tokens / limit * _SECOND_NS  # may be infinite, which int() refuses
    return int(max(-(2.0**63), duration_ns)) if duration_ns < INF_NS else INF_NS


def _seconds(duration_ns: int) -> float:
    """Return whole seconds plus the rest, as Go does: dividing at once differs in the last bit."""
    whole, rest_ns = divmod(abs(duration_ns), _SECOND_NS)
    seconds = whole + rest_ns / _SECOND_NS
    return seconds if duration_ns >= 0 else -seconds


def _saturated(duration_ns: int) -> int:
    return max(-INF_NS - 1, min(duration_ns, INF_NS))
