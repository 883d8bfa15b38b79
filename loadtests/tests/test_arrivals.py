"""When arrivals are due: as many as the rate says, where it says, and evenly or at random."""

from collections import Counter
from itertools import pairwise
from random import Random
from statistics import fmean, pvariance

import pytest

from arrivals import SHAPES, Shape, evenly, poisson


def due(shape: Shape) -> list[float]:
    return list(shape.due_s(evenly()))


def between(times: list[float], begin_s: float, end_s: float) -> int:
    return sum(begin_s <= each < end_s for each in times)


def test_a_constant_rate_is_evenly_spaced_from_half_a_gap_on() -> None:
    times = due(SHAPES["constant"](150.0, 0.0, 10.0))
    assert len(times) == 1500
    assert times[0] == pytest.approx(1 / 300)
    assert [after - before for before, after in pairwise(times)] == pytest.approx([1 / 150] * 1499)


@pytest.mark.parametrize("name", SHAPES)
def test_as_many_arrive_as_the_area_below_the_rate(name: str) -> None:
    shape = SHAPES[name](20.0, 100.0, 60.0)
    times = due(shape)
    assert abs(len(times) - shape.expected) <= 1
    assert all(0 <= each < shape.seconds for each in times)
    assert times == sorted(times)


def test_a_ramp_has_in_each_second_what_its_rate_is_there() -> None:
    times = due(SHAPES["ramp"](10.0, 110.0, 10.0))
    assert [between(times, second, second + 1) for second in range(10)] == pytest.approx(range(15, 115, 10), abs=1)


def test_a_spike_is_the_middle_fifth() -> None:
    times = due(SHAPES["spike"](10.0, 100.0, 50.0))
    assert between(times, 20, 30) == pytest.approx(1000, abs=1)
    assert between(times, 0, 20) == between(times, 30, 50) == pytest.approx(200, abs=1)


def test_a_soak_comes_and_goes_slowly() -> None:
    times = due(SHAPES["soak"](10.0, 0.0, 200.0))
    assert between(times, 0, 10) == between(times, 190, 200) == pytest.approx(50, abs=1)
    assert between(times, 10, 190) == pytest.approx(1800, abs=1)


def test_arrivals_at_random_are_a_poisson_process() -> None:
    shape = SHAPES["constant"](1000.0, 0.0, 100.0)
    times = list(shape.due_s(poisson(Random(7))))
    gaps = [after - before for before, after in pairwise(times)]
    in_second = Counter(map(int, times))
    counts = [in_second[second] for second in range(100)]
    assert len(times) == pytest.approx(100_000, rel=0.02)
    assert pvariance(gaps) == pytest.approx(fmean(gaps) ** 2, rel=0.05)  # of exponential gaps they are the same
    assert pvariance(counts) == pytest.approx(fmean(counts), rel=0.6)  # so they are of a second's arrivals


def test_arrivals_at_random_are_the_same_for_the_same_seed() -> None:
    shape = SHAPES["spike"](10.0, 50.0, 10.0)
    assert list(shape.due_s(poisson(Random(1)))) == list(shape.due_s(poisson(Random(1))))
    assert list(shape.due_s(poisson(Random(1)))) != list(shape.due_s(poisson(Random(2))))
