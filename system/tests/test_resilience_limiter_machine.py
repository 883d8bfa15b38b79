"""The limiter in any order of calls, waits, changes and pauses, against a bucket in exact fractions: clause 6.3.

Everything happens at whole eighths of a second and at rates that are powers of two, so that floating point is exact.
"""

import asyncio
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from brownout_shop.resilience.limiter import (
    BurstExceededError,
    DeadlineExceededError,
    Limiter,
    Reservation,
    WouldExceedDeadlineError,
)

SECOND_NS = 10**9
EIGHTH_NS = SECOND_NS // 8
LIMITS, BURSTS, TOKENS = st.sampled_from([1, 2, 4, 8]), st.integers(1, 8), st.integers(1, 10)


@dataclass
class Bucket:
    """What a token bucket is: full at first, refilled all the time, owing what was taken ahead."""

    limit: int
    burst: int
    tokens: Fraction

    def refill(self, duration_ns: int) -> None:
        self.tokens = min(Fraction(self.burst), self.tokens + Fraction(duration_ns, SECOND_NS) * self.limit)

    def wait_ns(self, n: int) -> Fraction | None:
        """Return how long `n` tokens take; None where they never fit in."""
        return None if n > self.burst else max(Fraction(0), (n - self.tokens) / self.limit) * SECOND_NS

    def take(self, n: int) -> None:
        self.tokens -= n


class RateLimiter(RuleBasedStateMachine):
    """A limiter is asked for tokens in each of its ways; its sleeps move the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self.limiter = Limiter(4, 4, clock=lambda: self.now_ns, sleep_ns=self.sleep)
        self.bucket = Bucket(4, 4, Fraction(4))
        self.newest: tuple[Reservation, Bucket] | None = None
        """A reservation after which nothing was taken, and the bucket as it would be without it."""
        self.runner = asyncio.Runner()

    def teardown(self) -> None:
        self.runner.close()

    async def sleep(self, duration_ns: int) -> None:
        self.pass_by(min(duration_ns, SECOND_NS))  # it may end early

    def pass_by(self, duration_ns: int) -> None:
        self.now_ns += duration_ns
        self.bucket.refill(duration_ns)
        if self.newest:
            self.newest[1].refill(duration_ns)

    @rule(eighths=st.integers(1, 24))
    def pause(self, eighths: int) -> None:
        self.pass_by(eighths * EIGHTH_NS)

    @rule(n=TOKENS)
    def allow(self, n: int) -> None:
        passes = self.bucket.wait_ns(n) == 0
        assert self.limiter.allow(n) is passes
        if passes:
            self.bucket.take(n)
            self.newest = None

    @rule(n=TOKENS)
    def reserve(self, n: int) -> None:
        wait_ns, without = self.bucket.wait_ns(n), replace(self.bucket)
        reservation = self.limiter.reserve(n)
        assert reservation.ok is (wait_ns is not None)
        if wait_ns is not None:
            assert reservation.delay_ns(self.now_ns) == wait_ns
            self.bucket.take(n)
            self.newest = reservation, without

    @precondition(lambda self: self.newest)
    @rule()
    def cancel(self) -> None:
        assert self.newest is not None
        reservation, without = self.newest
        self.limiter.cancel(reservation)
        if reservation.act_at_ns >= self.now_ns:
            self.bucket = without
        self.newest = None

    @rule(n=TOKENS, within_eighths=st.none() | st.integers(0, 16))
    def wait(self, n: int, within_eighths: int | None) -> None:
        deadline_ns = None if within_eighths is None else self.now_ns + within_eighths * EIGHTH_NS
        wait_ns, began_ns = self.bucket.wait_ns(n), self.now_ns
        if wait_ns is None:
            self.refused(BurstExceededError, n, deadline_ns)
        elif deadline_ns == began_ns:
            self.refused(DeadlineExceededError, n, deadline_ns)
        elif deadline_ns is not None and began_ns + wait_ns > deadline_ns:
            self.refused(WouldExceedDeadlineError, n, deadline_ns)
        else:
            self.bucket.take(n)
            self.newest = None
            self.runner.run(self.limiter.wait(n, deadline_ns))
            assert self.now_ns - began_ns == wait_ns
            self.pass_by(-self.now_ns % EIGHTH_NS)

    def refused(self, error: type[Exception], n: int, deadline_ns: int | None) -> None:
        began_ns = self.now_ns
        with pytest.raises(error):
            self.runner.run(self.limiter.wait(n, deadline_ns))
        assert self.now_ns == began_ns

    @rule(limit=LIMITS)
    def set_limit(self, limit: int) -> None:
        self.limiter.set_limit(limit)
        self.bucket.limit, self.newest = limit, None

    @rule(burst=BURSTS)
    def set_burst(self, burst: int) -> None:
        self.limiter.set_burst(burst)
        self.bucket.burst, self.newest = burst, None
        self.bucket.refill(0)

    @invariant()
    def the_tokens_are_those_of_the_bucket(self) -> None:
        assert self.limiter.tokens() == self.bucket.tokens


RateLimiter.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestRateLimiter = RateLimiter.TestCase
