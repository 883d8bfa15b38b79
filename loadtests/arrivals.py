"""When journeys arrive: a rate over time, and the due times that follow from it; nothing here waits for anything."""

from collections.abc import Callable, Iterator
from itertools import chain, pairwise, repeat
from math import sqrt
from random import Random

import msgspec

__all__ = ["SHAPES", "Shape", "evenly", "poisson"]


class Shape(msgspec.Struct, frozen=True):
    """A rate over time that is straight between its corners.

    Attributes:
        corners: seconds since the beginning, and the rate there in arrivals a second; two at the same time are a step.
    """

    corners: tuple[tuple[float, float], ...]

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.corners[-1][0]

    @property
    def expected(self) -> float:
        """How many arrivals there are: the area below the rate; of those at random, on average."""
        return sum((begin + end) / 2 * (end_s - begin_s) for (begin_s, begin), (end_s, end) in pairwise(self.corners))

    def due_s(self, gaps: Iterator[float]) -> Iterator[float]:
        """When each arrival is due, in seconds since the beginning.

        The rate's integral is how many have arrived; each is due where that has grown by one gap more.

        Args:
            gaps: from one arrival to the next, in arrivals at the rate that there is: `evenly` or `poisson`.
        """
        wanted = next(gaps)
        for (begin_s, begin), (end_s, end) in pairwise(self.corners):
            area = (begin + end) / 2 * (end_s - begin_s)
            slope = (end - begin) / (end_s - begin_s) if end_s > begin_s else 0.0
            while wanted < area:
                yield begin_s + 2 * wanted / (begin + sqrt(max(0.0, begin**2 + 2 * slope * wanted)))
                wanted += next(gaps)
            wanted -= area


def evenly() -> Iterator[float]:
    """Gaps that are all the same."""
    return chain((0.5,), repeat(1.0))


def poisson(random: Random) -> Iterator[float]:
    """Gaps of arrivals that know nothing of each other: a Poisson process, whatever its rate does."""
    while True:
        yield random.expovariate(1.0)


def _constant(rate: float, _: float, seconds: float) -> Shape:
    return Shape(((0.0, rate), (seconds, rate)))


def _ramp(rate: float, peak: float, seconds: float) -> Shape:
    return Shape(((0.0, rate), (seconds, peak)))


def _spike(rate: float, peak: float, seconds: float) -> Shape:
    """The peak is the middle fifth."""
    up_s, down_s = 0.4 * seconds, 0.6 * seconds
    return Shape(((0.0, rate), (up_s, rate), (up_s, peak), (down_s, peak), (down_s, rate), (seconds, rate)))


def _soak(rate: float, _: float, seconds: float) -> Shape:
    """The first and the last twentieth lead there and back."""
    ramp_s = seconds / 20
    return Shape(((0.0, 0.0), (ramp_s, rate), (seconds - ramp_s, rate), (seconds, 0.0)))


SHAPES: dict[str, Callable[[float, float, float], Shape]] = {
    "constant": _constant,
    "ramp": _ramp,
    "spike": _spike,
    "soak": _soak,
}
"""Shapes by name, each of a rate, a peak, both in arrivals a second, and a length in seconds."""
