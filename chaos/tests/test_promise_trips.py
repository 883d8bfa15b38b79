"""When a breaker trips, as scripts of calls: just below the share of failures, and at it."""

import pytest

from brownout.promises.trips import Trips


@pytest.mark.parametrize(
    ("requests", "ratio", "script"),
    [
        (3, 0.6, (7, 8)),
        (4, 0.5, (10, 6)),
        (1, 0.5, (10, 9)),
        (1, 1.0, (1, 19)),
        (5, 1.0, (1, 15)),
        (10, 0.3, (47, 11)),
        (40, 0.5, (81, 41)),
    ],
)
def test_below_the_trip_the_share_of_failures_is_nearly_reached(
    requests: int, ratio: float, script: tuple[int, int]
) -> None:
    trips = Trips(requests=requests, failure_ratio=ratio, interval_s=10)
    below, few = trips.below(), trips.too_few
    assert (below.passing, below.failing) == script
    assert below.failing >= requests
    assert 0.9 * ratio <= (few + below.failing) / (few + below.calls) < ratio


@pytest.mark.parametrize(
    ("requests", "ratio", "script"),
    [(3, 0.6, (10, 15)), (4, 0.5, (10, 10)), (10, 0.3, (14, 6)), (40, 0.5, (20, 20)), (3, 0.9, (10, 90))],
)
def test_the_last_failure_reaches_the_documented_share_exactly(
    requests: int, ratio: float, script: tuple[int, int]
) -> None:
    reached = Trips(requests=requests, failure_ratio=ratio, interval_s=10).reached()
    assert reached is not None
    assert (reached.passing, reached.failing) == script
    assert reached.failing / reached.calls == pytest.approx(ratio)
    assert reached.calls >= requests


def test_a_share_that_no_short_script_meets_is_approached_from_above() -> None:
    reached = Trips(requests=3, failure_ratio=0.617, interval_s=10).reached()
    assert reached is not None
    assert 0.617 <= reached.failing / reached.calls < 0.618
    assert (reached.failing - 1) / (reached.calls - 1) < 0.617


@pytest.mark.parametrize("ratio", [0.95, 1.0])
def test_a_share_that_is_nearly_all_is_shown_by_failures_alone(ratio: float) -> None:
    assert Trips(requests=3, failure_ratio=ratio, interval_s=10).reached() is None
