"""What became of arrivals adds up, and quantiles of parts are those of the whole."""

from collections import Counter
from random import Random

import pytest

from tally import Tally, bucket_ms, quantile


def test_a_bucket_is_wrong_by_at_most_half_a_per_cent() -> None:
    random = Random(3)
    values = [10 ** random.uniform(-2, 5) for _ in range(10_000)]
    assert max(abs(bucket_ms(each) - each) / each for each in values) <= 0.005


def test_a_quantile_is_the_nearest_rank() -> None:
    counts = {5.0: 1, 1.0: 98, 9.0: 1}
    assert quantile(counts, 0.98) == 1.0
    assert quantile(counts, 0.99) == 5.0
    assert quantile(counts, 0.999) == 9.0
    assert quantile({}, 0.99) == 0.0


def test_tallies_add_up() -> None:
    one, other = (
        Tally(taken=5, ended=3, dropped=1, late_ms={1.0: 3}),
        Tally(taken=4, returned=1, cut=2, late_ms={1.0: 1}),
    )
    one.add(other)
    assert one == Tally(taken=9, ended=3, dropped=1, returned=1, cut=2, late_ms={1.0: 4})
    assert one.known == 7


def test_lateness_is_counted_in_buckets_and_never_negative() -> None:
    tally = Tally()
    for late_ms in (0.12345, -0.5, 1234.0):
        tally.began(late_ms)
    assert tally.late_ms == {0.123: 1, 0.0: 1, 1230.0: 1}


def test_the_quantiles_of_parts_added_up_are_those_of_the_whole() -> None:
    random = Random(5)
    values = [random.lognormvariate(3, 1.5) for _ in range(40_000)]
    parts = [Counter(map(bucket_ms, values[first::4])) for first in range(4)]
    whole = sorted(values)
    for share in (0.5, 0.95, 0.99, 0.999):
        exact = whole[round(share * len(whole)) - 1]
        assert quantile(sum(parts, Counter()), share) == pytest.approx(exact, rel=0.0051)
