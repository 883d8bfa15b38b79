"""The breaker by example; `test_resilience_vectors.py` compares it with the Go library step by step."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout_shop.resilience.breaker import (
    DOCUMENTED,
    BreakerOpenError,
    BreakerSettings,
    CircuitBreaker,
    Counts,
    OpenError,
    State,
    TooManyRequestsError,
)

SECOND_NS = 10**9
OK, FAILED = True, False


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, duration_ns: int) -> None:
        self.now_ns += duration_ns


def call(breaker: CircuitBreaker, *results: bool) -> None:
    for success in results:
        breaker.allow()(success)


def tripped(clock: Clock, settings: BreakerSettings = DOCUMENTED) -> CircuitBreaker:
    breaker = CircuitBreaker("users", settings, clock=clock)
    call(breaker, FAILED, FAILED, FAILED)
    assert breaker.state() is State.OPEN
    return breaker


def half_open(clock: Clock, settings: BreakerSettings = DOCUMENTED) -> CircuitBreaker:
    breaker = tripped(clock, settings)
    clock.advance(settings.timeout_ns + 1)
    assert breaker.state() is State.HALF_OPEN
    return breaker


def test_two_failures_do_not_trip() -> None:
    breaker = CircuitBreaker("users", clock=Clock())
    call(breaker, FAILED, FAILED)
    assert breaker.state() is State.CLOSED


def test_three_failures_of_five_trip() -> None:
    breaker = CircuitBreaker("users", clock=Clock())
    call(breaker, OK, OK, FAILED, FAILED, FAILED)
    assert breaker.state() is State.OPEN


def test_three_failures_of_six_do_not_trip() -> None:
    breaker = CircuitBreaker("users", clock=Clock())
    call(breaker, OK, OK, OK, FAILED, FAILED, FAILED)
    assert breaker.state() is State.CLOSED


def test_calls_under_way_count_as_requests() -> None:
    breaker = CircuitBreaker("users", clock=Clock())
    for _ in range(3):
        breaker.allow()
    call(breaker, FAILED, FAILED, FAILED)
    assert breaker.counts == Counts(requests=6, total_failures=3, consecutive_failures=3)
    assert breaker.state() is State.CLOSED


def test_failures_of_the_window_before_are_forgotten() -> None:
    clock = Clock()
    breaker = CircuitBreaker("users", clock=clock)
    call(breaker, FAILED, FAILED)
    clock.advance(10 * SECOND_NS + 1)
    call(breaker, FAILED)
    assert breaker.counts == Counts(requests=1, total_failures=1, consecutive_failures=1)


def test_counts_are_read_without_looking_at_the_clock() -> None:
    clock = Clock()
    breaker = CircuitBreaker("users", clock=clock)
    call(breaker, OK)
    clock.advance(11 * SECOND_NS)
    assert breaker.counts.requests == 1


def test_a_result_that_outlives_its_window_is_dropped() -> None:
    clock = Clock()
    breaker = CircuitBreaker("users", clock=clock)
    late = [breaker.allow() for _ in range(5)]
    clock.advance(10 * SECOND_NS + 1)
    for done in late:
        done(FAILED)
    assert breaker.counts == Counts()
    assert breaker.state() is State.CLOSED


def test_an_open_breaker_refuses_at_exactly_60_s_and_admits_a_nanosecond_later() -> None:
    clock = Clock()
    breaker = tripped(clock)
    clock.advance(60 * SECOND_NS)
    with pytest.raises(OpenError, match="users: circuit breaker is open"):
        breaker.allow()
    clock.advance(1)
    breaker.allow()
    assert breaker.state() is State.HALF_OPEN


def test_half_open_admits_3_of_20() -> None:
    breaker = half_open(Clock())
    admitted = 0
    for _ in range(20):
        with suppress(TooManyRequestsError):
            breaker.allow()
            admitted += 1
    assert admitted == 3


def test_a_finished_trial_call_frees_no_slot() -> None:
    breaker = half_open(Clock())
    call(breaker, OK, OK)
    breaker.allow()
    with pytest.raises(TooManyRequestsError, match="users: too many requests"):
        breaker.allow()


def test_three_successes_close_a_half_open_breaker() -> None:
    breaker = half_open(Clock())
    call(breaker, OK, OK, OK)
    assert breaker.state() is State.CLOSED


def test_one_failure_opens_a_half_open_breaker_for_another_60_s() -> None:
    clock = Clock()
    breaker = half_open(clock)
    call(breaker, OK, FAILED)
    clock.advance(60 * SECOND_NS)
    assert breaker.state() is State.OPEN
    clock.advance(1)
    assert breaker.state() is State.HALF_OPEN


def test_every_change_of_state_is_told_once_with_the_counts_already_zero() -> None:
    clock = Clock()
    told: list[tuple[str, State, State, Counts]] = []
    breaker = CircuitBreaker(
        "users",
        clock=clock,
        on_state_change=lambda name, before, after: told.append((name, before, after, breaker.counts)),
    )
    call(breaker, FAILED, FAILED, FAILED)
    clock.advance(60 * SECOND_NS + 1)
    call(breaker, OK, OK, OK)
    assert told == [
        ("users", State.CLOSED, State.OPEN, Counts()),
        ("users", State.OPEN, State.HALF_OPEN, Counts()),
        ("users", State.HALF_OPEN, State.CLOSED, Counts()),
    ]


def test_both_refusals_are_caught_as_one() -> None:
    assert issubclass(OpenError, BreakerOpenError)
    assert issubclass(TooManyRequestsError, BreakerOpenError)


def test_under_with_the_rule_decides_which_errors_count() -> None:
    settings = BreakerSettings(is_successful=lambda error: error is None or isinstance(error, KeyError))
    breaker = CircuitBreaker("users", settings, clock=Clock())
    for error in (KeyError(), OSError()):
        with pytest.raises(type(error)), breaker.allow():
            raise error
    assert breaker.counts == Counts(2, 1, 1, 0, 1)


async def test_a_call_cut_by_its_deadline_is_a_failure_whatever_the_rule() -> None:
    breaker = CircuitBreaker("users", BreakerSettings(is_successful=lambda _: True))

    async def slow_call() -> None:
        with breaker.allow():
            await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(slow_call(), timeout=0.01)
    assert breaker.counts.total_failures == 1


def test_a_trip_rule_that_raises_counts_its_call_as_two_failures_as_in_go() -> None:
    asked: list[Counts] = []

    def raises_at_first(counts: Counts) -> bool:
        asked.append(counts)
        if len(asked) == 1:
            raise ValueError("rule")
        return False

    breaker = CircuitBreaker("users", BreakerSettings(ready_to_trip=raises_at_first), clock=Clock())
    with pytest.raises(ValueError, match="rule"), breaker.allow():
        raise OSError
    assert breaker.counts.total_failures == 2


@given(trials=st.integers(1, 8), offered=st.integers(0, 20))
def test_half_open_admits_its_trial_calls_and_no_more(trials: int, offered: int) -> None:
    breaker = half_open(Clock(), replace(DOCUMENTED, max_requests=trials))
    admitted = 0
    for _ in range(offered):
        with suppress(TooManyRequestsError):
            breaker.allow()
            admitted += 1
    assert admitted == min(trials, offered)
