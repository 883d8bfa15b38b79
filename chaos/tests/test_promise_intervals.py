"""Shares and quantiles with their intervals: clearly within a bound, clearly beyond it, or not known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, quantile_test

from brownout.history import Operation
from brownout.promises.intervals import (
    CONFIDENCE,
    quantile_at_most,
    quantile_interval,
    sample_deciding,
    share_at_most,
    share_interval,
)
from brownout.promises.promise import BrokenError, NoEvidenceError
from brownout.written import Written


def requests(count: int) -> list[Operation]:
    story = Written()
    for _ in range(count):
        story.call("load")
    return story.recording().history.requests()


@given(st.data())
def test_a_share_has_scipys_exact_interval(data: st.DataObject) -> None:
    of = data.draw(st.integers(1, 400))
    count = data.draw(st.integers(0, of))
    theirs = binomtest(count, of).proportion_ci(CONFIDENCE)
    assert share_interval(count, of) == pytest.approx((theirs.low, theirs.high), rel=1e-6, abs=1e-12)


@given(st.integers(1, 60), st.floats(0.001, 0.999))
def test_the_interval_covers_the_true_share_as_often_as_it_says(of: int, truth: float) -> None:
    covering = [low <= truth <= high for low, high in (share_interval(count, of) for count in range(of + 1))]
    covered = sum(binom.pmf(count, of, truth) for count, covers in enumerate(covering) if covers)
    assert covered >= CONFIDENCE - 1e-9


@given(st.integers(1, 300), st.data())
def test_one_more_of_the_same_sample_moves_both_ends_up(of: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, of - 1))
    fewer, more = share_interval(count, of), share_interval(count + 1, of)
    assert fewer[0] < more[0]
    assert fewer[1] < more[1]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=700), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_has_scipys_interval_and_no_end_where_the_sample_shows_none(
    values: list[float], quantile: float
) -> None:
    theirs = quantile_test(values, p=quantile).confidence_interval(CONFIDENCE)
    low, high = quantile_interval(values, quantile)
    assert low == (-math.inf if math.isnan(theirs.low) else theirs.low)
    assert high == (math.inf if math.isnan(theirs.high) else theirs.high)
    assert low <= high


@given(st.floats(0.01, 0.99), st.integers(1, 800))
def test_the_interval_of_a_quantile_covers_the_true_one_as_often_as_it_says(quantile: float, of: int) -> None:
    low, high = quantile_interval(range(1, of + 1), quantile)
    below = range(of + 1)  # how many values lie below the true quantile; it lies between that and the next
    covered = sum(binom.pmf(count, of, quantile) for count in below if low <= count + 0.5 and count + 0.5 <= high)
    assert covered >= CONFIDENCE - 1e-6


def test_clearly_within_its_bound_a_share_passes_with_its_interval() -> None:
    figure = share_at_most("failed", requests(2), 1000, 0.05)
    assert str(figure) == "failed 0.20 % of 1000 (interval 0.01 to 0.92; at most 5 %)"


def test_clearly_beyond_its_bound_it_is_broken_and_names_the_offenders() -> None:
    failed = requests(20)
    with pytest.raises(BrokenError, match="20 of 100 failed, at most 5 % may") as broken:
        share_at_most("failed", failed, 100, 0.05)
    assert broken.value.offenders == tuple(failed)


@pytest.mark.parametrize(
    ("count", "of", "told"),
    [
        (0, 59, "about 104 like them would decide"),
        (1, 59, "about 279 like them would decide"),
        (5, 59, "about 354 like them would decide"),
        (5, 100, "too near to the bound to tell from 100, or from 1000000 like them"),
    ],
)
def test_near_its_bound_nobody_knows_and_the_sample_that_would_decide_is_told(count: int, of: int, told: str) -> None:
    with pytest.raises(NoEvidenceError, match=told) as unknown:
        share_at_most("failed", requests(count), of, 0.05)
    assert len(unknown.value.figures) == 1


@given(st.integers(1, 100), st.data(), st.sampled_from([0.01, 0.05, 0.1, 0.5]))
def test_the_sample_that_would_decide_does_decide(of: int, data: st.DataObject, bound: float) -> None:
    count = data.draw(st.integers(0, of))
    size = sample_deciding(count, of, bound)
    if size is None:
        assert abs(count / of - bound) < 0.01
        return
    within = count <= bound * of
    low, high = share_interval((math.ceil if within else math.floor)(count * size / of), size)
    assert high <= bound if within else low > bound


def test_what_may_have_failed_takes_the_pass_and_does_not_make_the_fail() -> None:
    sure, doubtful = requests(1), requests(30)
    with pytest.raises(NoEvidenceError, match="29 more may have been"):
        share_at_most("failed", sure, 1000, 0.02, perhaps=doubtful)


def test_no_sample_is_no_evidence() -> None:
    with pytest.raises(NoEvidenceError, match="there is no sample"):
        share_at_most("failed", [], 0, 0.5)
    with pytest.raises(NoEvidenceError, match="there is no sample"):
        quantile_at_most("p99", [], 0.99, 1.0)


@pytest.mark.parametrize(("slow", "of"), [(0, 600), (1, 1000)])
def test_a_quantile_clearly_within_its_bound_passes(slow: int, of: int) -> None:
    figure = quantile_at_most("p99", [(0.1, 0.1)] * (of - slow) + [(3, 3)] * slow, 0.99, 1.0)
    assert str(figure) == "p99 0.10 s (interval 0.10 to 0.10; at most 1 s)"


def test_a_quantile_clearly_beyond_its_bound_is_broken() -> None:
    with pytest.raises(BrokenError, match=r"p90 3 s .*clearly longer than promised"):
        quantile_at_most("p90", [(0.1, 0.1)] * 50 + [(3, 3)] * 50, 0.9, 1.0)


def test_a_quantile_that_the_sample_does_not_show_is_not_known() -> None:
    with pytest.raises(NoEvidenceError, match=r"interval 0\.10 or more; .*about 528 like them would decide"):
        quantile_at_most("p99", [(0.1, 0.1)] * 100, 0.99, 1.0)


def test_the_sample_that_a_quantile_asks_for_is_the_smallest_that_shows_it() -> None:
    assert quantile_interval([0.1] * 527, 0.99)[1] == math.inf
    assert quantile_interval([0.1] * 528, 0.99)[1] == 0.1


def test_times_that_only_a_busy_client_saw_neither_pass_nor_fail() -> None:
    with pytest.raises(NoEvidenceError):
        quantile_at_most("p90", [(0.1, 3.0)] * 100, 0.9, 1.0)
