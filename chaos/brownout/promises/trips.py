"""When a breaker trips, and the shortest script of calls that shows it."""

from fractions import Fraction
from math import ceil

import msgspec

from brownout.promises.promise import Count, Positive, Share

__all__ = ["Trips"]

LONGEST_SCRIPT = 20
"""Calls by which the boundary has to be reached, unless ``requests`` asks for more."""


class Trips(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When it trips: at so many requests in a window, of which at least a share has failed.

    Attributes:
        requests: fewer never trip it.
        failure_ratio: failures among them, 0 to 1.
        interval_s: after it the counts start anew, with the next call.
    """

    requests: Count
    failure_ratio: Share
    interval_s: Positive

    def boundary(self) -> tuple[int, int]:
        """Successes, and the failures after them of which the last one trips it: as near to the ratio as can be."""
        ratio = Fraction(str(self.failure_ratio))
        most = max(self.requests, LONGEST_SCRIPT)
        scripts = [(passing, self._failures(passing, ratio)) for passing in range(most if ratio < 1 else 1)]
        return min(
            ((passing, failing) for passing, failing in scripts if passing + failing <= most),
            key=lambda script: (Fraction(script[1], sum(script)) - ratio, sum(script)),
        )

    def _failures(self, passing: int, ratio: Fraction) -> int:
        enough = ceil(passing * ratio / (1 - ratio)) if passing else 1
        return max(enough, self.requests - passing)

    def __str__(self) -> str:
        return f"at {self.requests} requests of which {self.failure_ratio:g} failed"
