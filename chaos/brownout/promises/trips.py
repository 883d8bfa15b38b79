"""When a breaker trips, and the scripts of calls that show it."""

from fractions import Fraction
from math import ceil

import msgspec

from brownout.promises.promise import Count, Positive, Share

__all__ = ["Script", "Trips"]

SHORT_SCRIPT = 20
"""Calls with which a ratio is approached, unless ``requests`` asks for more."""

FEWEST_PASSING = 10
"""Successes before the ratio is reached: so many at once show as well that the breaker is not half-open any more."""

LONGEST_TAIL = 100
"""Failures in a row that fit into a window on a busy machine."""


class Script(msgspec.Struct, frozen=True):
    """Successes, and the failures after them."""

    passing: int
    failing: int

    @property
    def calls(self) -> int:
        """All of them."""
        return self.passing + self.failing


class Trips(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When it trips: at so many requests in a window, of which at least a share has failed.

    As in sony/gobreaker (clause 6.2) that is looked at when a call fails.

    Attributes:
        requests: fewer never trip it.
        failure_ratio: failures among them, 0 to 1.
        interval_s: after it the counts start anew, with the next call.
    """

    requests: Count
    failure_ratio: Share
    interval_s: Positive

    @property
    def too_few(self) -> int:
        """The most calls that do not trip it though all of them fail."""
        return self.requests - 1

    def below(self) -> Script:
        """What comes in the same window after `too_few` failures, and does not trip it either.

        It comes as near to the ratio as a short script can; its failures alone, and in a row, would be enough.
        """
        most = max(SHORT_SCRIPT, ceil(2 * self.requests / self._ratio) + 1)
        scripts = [Script(passing, self._not_enough(passing, most)) for passing in range(1, most)]
        return max(
            (script for script in scripts if script.failing >= self.requests),
            key=lambda script: (
                Fraction(self.too_few + script.failing, self.too_few + script.calls),
                -script.calls,
            ),
        )

    def reached(self) -> Script | None:
        """A window of which the last failure trips it, as near to the ratio as can be.

        None where that takes too many failures: then failures alone show it as well.
        """
        if self._ratio == 1:
            return None
        least = max(FEWEST_PASSING, ceil(self.requests * (1 - self._ratio)))
        scripts = [Script(passing, self._enough(passing)) for passing in range(least, 2 * least)]
        nearest = min(scripts, key=lambda script: (Fraction(script.failing, script.calls), script.calls))
        return nearest if nearest.failing <= LONGEST_TAIL else None

    @property
    def _ratio(self) -> Fraction:
        return Fraction(str(self.failure_ratio))

    def _enough(self, passing: int) -> int:
        """The failures after so many successes with which the ratio is reached; it is below 1."""
        return ceil(passing * self._ratio / (1 - self._ratio))

    def _not_enough(self, passing: int, most: int) -> int:
        """The failures after `too_few` and so many successes with which it is not, in ``most`` calls."""
        failed = most - passing if self._ratio == 1 else min(self._enough(passing) - 1, most - passing)
        return failed - self.too_few

    def __str__(self) -> str:
        return f"at {self.requests} requests of which {self.failure_ratio:g} failed"
