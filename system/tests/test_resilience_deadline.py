"""The caller's deadline: clause 3.1."""

import time

import pytest

from brownout_shop.resilience import deadline


def test_without_a_deadline_a_call_may_take_10_s() -> None:
    with deadline.kept(None):
        assert deadline.within_s() == 10
        assert deadline.deadline_ns() is None


def test_a_call_may_take_the_time_left_less_200_ms() -> None:
    with deadline.kept("2000"):
        assert 1.7 < deadline.within_s() <= 1.8


def test_a_long_deadline_does_not_lengthen_a_call() -> None:
    with deadline.kept("60000"):
        assert deadline.within_s() == 10


def test_too_little_time_left_is_none() -> None:
    with deadline.kept("150"):
        assert deadline.within_s() <= 0


def test_the_deadline_is_on_the_monotonic_clock_and_ends_with_the_request() -> None:
    with deadline.kept("1000"):
        left_ns = (deadline.deadline_ns() or 0) - time.monotonic_ns()
        assert 0.9e9 < left_ns <= 1e9
    assert deadline.deadline_ns() is None


@pytest.mark.parametrize("sent", ["", "-5", "1.5", "soon", "²", "9" * 16, "9" * 5_000])
def test_what_is_no_number_is_no_deadline(sent: str) -> None:
    with deadline.kept(sent):
        assert deadline.deadline_ns() is None
