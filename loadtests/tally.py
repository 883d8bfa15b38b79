"""What became of arrivals, counted so that the counts of several generators add up."""

from collections.abc import Mapping
from math import ceil

import msgspec

__all__ = ["Tally", "bucket_ms", "quantile"]


class Tally(msgspec.Struct):
    """What became of arrivals at a generator.

    Attributes:
        taken: those that it was given.
        ended: those whose journey was done to its end, well or not.
        dropped: those that came due while too many were under way, or when nothing could be sent.
        returned: those that it gave back before they were due.
        cut: those that were due, and whose journey had not ended, when the run was stopped.
        late_ms: how many began so many milliseconds after they were due, in buckets of `bucket_ms`.
    """

    taken: int = 0
    ended: int = 0
    dropped: int = 0
    returned: int = 0
    cut: int = 0
    late_ms: dict[float, int] = {}

    def began(self, late_ms: float) -> None:
        """One more has begun."""
        bucket = bucket_ms(max(0.0, late_ms))
        self.late_ms[bucket] = self.late_ms.get(bucket, 0) + 1

    def add(self, other: "Tally") -> None:
        """Add what another generator, or the same one later, has counted."""
        self.taken += other.taken
        self.ended += other.ended
        self.dropped += other.dropped
        self.returned += other.returned
        self.cut += other.cut
        for late_ms, count in other.late_ms.items():
            self.late_ms[late_ms] = self.late_ms.get(late_ms, 0) + count

    @property
    def known(self) -> int:
        """Of how many it is known what became of them."""
        return self.ended + self.dropped + self.returned + self.cut


def bucket_ms(value_ms: float) -> float:
    """A time to three significant digits: wrong by at most half a per cent, and a few thousand values at the most.

    Locust itself keeps two digits above 100 ms, which is wrong by up to five per cent, and none below a millisecond.
    """
    return float(f"{value_ms:.3g}")


def quantile(counts: Mapping[float, int], share: float) -> float:
    """The least value that so large a share of all is at or below: the nearest rank; 0 where there is none.

    Args:
        counts: how many there are of each value.
        share: such as 0.99.
    """
    rank = ceil(share * sum(counts.values()) - 1e-9)
    seen = 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= rank:
            return value
    return 0.0
