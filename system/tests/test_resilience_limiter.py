"""The limiter by example; `test_resilience_vectors.py` compares it with the Go library step by step."""

import asyncio
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout_shop.resilience.limiter import (
    INF_NS,
    BurstExceededError,
    DeadlineExceededError,
    Limiter,
    RateLimitError,
    WouldExceedDeadlineError,
    every,
)

SECOND_NS = 10**9


class FakeTime:
    """A clock that sleeping moves, each time by at most `nap_ns`."""

    def __init__(self, nap_ns: int = INF_NS) -> None:
        self.now_ns = 0
        self.nap_ns = nap_ns

    def clock(self) -> int:
        return self.now_ns

    async def sleep_ns(self, duration_ns: int) -> None:
        self.now_ns += min(duration_ns, self.nap_ns)


def limiter_at(limit: float, burst: int, fake: FakeTime) -> Limiter:
    return Limiter(limit, burst, clock=fake.clock, sleep_ns=fake.sleep_ns)


def test_a_full_bucket_lets_its_burst_pass_and_no_more() -> None:
    limiter = limiter_at(5, 5, FakeTime())
    assert [limiter.allow() for _ in range(7)] == [True] * 5 + [False] * 2


def test_a_deficit_worth_less_than_a_nanosecond_is_no_deficit() -> None:
    limiter = limiter_at(3, 1, FakeTime())
    assert limiter.allow(at_ns=0)
    assert not limiter.allow(at_ns=333_333_332)
    assert limiter.allow(at_ns=333_333_333)


def test_a_refusal_changes_nothing() -> None:
    limiter = limiter_at(1, 1, FakeTime())
    limiter.allow()
    assert not limiter.allow()
    assert limiter.tokens() == 0


async def test_waits_are_served_in_the_order_of_their_calls() -> None:
    fake = FakeTime()
    limiter = limiter_at(5, 1, fake)
    served_ns = []
    for _ in range(4):
        await limiter.wait()
        served_ns.append(fake.now_ns)
    assert served_ns == [0, 200_000_000, 400_000_000, 600_000_000]


async def test_a_wait_never_ends_early_even_if_its_sleep_does() -> None:
    fake = FakeTime(nap_ns=SECOND_NS // 3)
    limiter = limiter_at(1, 1, fake)
    await limiter.wait()
    await limiter.wait()
    assert fake.now_ns == SECOND_NS


async def test_a_wait_that_would_miss_its_deadline_fails_at_once_and_takes_nothing() -> None:
    fake = FakeTime()
    limiter = limiter_at(1, 1, fake)
    await limiter.wait()
    with pytest.raises(WouldExceedDeadlineError, match="rate limit exceeded: "):
        await limiter.wait(deadline_ns=SECOND_NS - 1)
    assert (fake.now_ns, limiter.tokens()) == (0, 0)


async def test_a_wait_that_ends_at_its_very_deadline_is_served() -> None:
    fake = FakeTime()
    limiter = limiter_at(1, 1, fake)
    await limiter.wait()
    await limiter.wait(deadline_ns=SECOND_NS)
    assert fake.now_ns == SECOND_NS


async def test_a_deadline_that_has_passed_fails_even_with_tokens_there() -> None:
    with pytest.raises(DeadlineExceededError):
        await limiter_at(1, 1, FakeTime()).wait(deadline_ns=0)


async def test_more_than_the_burst_is_never_waited_for() -> None:
    with pytest.raises(BurstExceededError, match="6 tokens at once exceed the burst of 5"):
        await limiter_at(5, 5, FakeTime()).wait(6)


def test_every_refusal_is_caught_as_one() -> None:
    assert {BurstExceededError, DeadlineExceededError, WouldExceedDeadlineError} == set(RateLimitError.__subclasses__())


async def test_cancelling_a_blocked_wait_gives_its_token_back() -> None:
    limiter = Limiter(0.001, 1)
    await limiter.wait()
    blocked = asyncio.create_task(limiter.wait())
    await asyncio.sleep(0)
    assert limiter.tokens() < -0.9
    blocked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await blocked
    assert -0.1 < limiter.tokens() < 0.1


async def test_on_a_real_clock_a_wait_takes_at_least_its_time() -> None:
    limiter = Limiter(100, 1)
    began_ns = time.monotonic_ns()
    for _ in range(4):
        await limiter.wait()
    assert time.monotonic_ns() - began_ns >= 30_000_000 - 3  # each wait is cut to whole nanoseconds


def test_a_new_rate_holds_from_its_moment_on() -> None:
    limiter = limiter_at(1, 10, FakeTime())
    limiter.allow(10, at_ns=0)
    limiter.set_limit(4, at_ns=SECOND_NS)
    assert limiter.tokens(2 * SECOND_NS) == 5
    assert limiter.limit == 4


def test_a_smaller_burst_caps_the_tokens_and_a_larger_one_adds_none() -> None:
    limiter = limiter_at(1, 10, FakeTime())
    limiter.set_burst(20)
    assert limiter.tokens() == 10
    limiter.set_burst(4)
    assert limiter.tokens() == 4
    assert limiter.burst == 4


def test_a_reservation_queues_behind_the_ones_before_it() -> None:
    limiter = limiter_at(10, 1, FakeTime())
    assert [limiter.reserve().delay_ns(0) for _ in range(3)] == [0, 100_000_000, 200_000_000]


def test_a_reservation_over_the_burst_is_not_ok_and_cancelling_it_does_nothing() -> None:
    limiter = limiter_at(1, 2, FakeTime())
    reservation = limiter.reserve(3)
    assert not reservation.ok
    assert reservation.delay_ns(0) == INF_NS
    limiter.cancel(reservation)
    assert limiter.tokens() == 2


def test_without_a_limit_everything_passes() -> None:
    assert limiter_at(math.inf, 0, FakeTime()).allow(10**9)


def test_a_reservation_made_without_a_limit_gives_its_own_tokens_back_under_one() -> None:
    limiter = limiter_at(math.inf, 5, FakeTime())
    limiter.reserve(at_ns=0)
    limiter.set_limit(1, at_ns=SECOND_NS)
    limiter.allow(5, at_ns=SECOND_NS)
    limiter.set_limit(math.inf, at_ns=SECOND_NS)
    reservation = limiter.reserve(2, at_ns=SECOND_NS + 1)
    limiter.set_limit(1, at_ns=SECOND_NS)
    limiter.cancel(reservation, at_ns=SECOND_NS)
    assert limiter.tokens(SECOND_NS) == 2


def test_the_smallest_rate_there_is_can_be_cancelled_under() -> None:
    limiter = limiter_at(math.ulp(0.0), 1, FakeTime())
    limiter.cancel(limiter.reserve(at_ns=0), at_ns=0)
    assert limiter.tokens() == 1


def test_moments_further_apart_than_go_can_tell_are_as_far_apart_as_it_can() -> None:
    limiter = limiter_at(1e-10, 5, FakeTime())
    first = limiter.reserve(5, at_ns=0)
    later = limiter.reserve(at_ns=1000 * SECOND_NS)
    assert later.delay_ns(1000 * SECOND_NS) == INF_NS
    limiter.cancel(first, at_ns=0)
    restored = 5 - INF_NS / SECOND_NS * 1e-10
    assert limiter.tokens(0) == pytest.approx(1e-7 - 1 + restored, abs=1e-9)


@pytest.mark.parametrize(("interval_ns", "limit"), [(SECOND_NS, 1), (SECOND_NS // 4, 4), (0, math.inf), (-1, math.inf)])
def test_every_is_the_rate_of_one_event_an_interval(interval_ns: int, limit: float) -> None:
    assert every(interval_ns) == limit


@given(
    limit=st.integers(1, 50),
    gaps_ns=st.lists(st.integers(0, SECOND_NS), min_size=1, max_size=60),
)
def test_in_no_window_do_more_pass_than_the_burst_and_what_the_rate_adds(limit: int, gaps_ns: list[int]) -> None:
    limiter, now_ns, passed_ns = limiter_at(limit, limit, FakeTime()), 0, []
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        passed_ns += [now_ns for _ in range(3) if limiter.allow(at_ns=now_ns)]
    for first, began_ns in enumerate(passed_ns):
        for last in range(first, len(passed_ns)):
            may_pass = limit + limit * (passed_ns[last] - began_ns) / SECOND_NS
            assert last - first + 1 <= may_pass + 1e-6  # a deficit of under a nanosecond passes


def test_how_long_a_token_would_be_waited_for_can_be_asked_and_takes_none() -> None:
    fake = FakeTime()
    limiter = limiter_at(0.5, 1, fake)
    assert limiter.wait_ns() == 0
    assert limiter.allow()
    assert [limiter.wait_ns(), limiter.wait_ns()] == [2 * SECOND_NS, 2 * SECOND_NS]
    fake.now_ns = SECOND_NS
    assert limiter.wait_ns() == SECOND_NS
