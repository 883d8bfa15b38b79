"""A promise's answer: one of three rulings, with its evidence."""

from collections.abc import Iterable
from enum import StrEnum
from math import isinf

import msgspec

__all__ = ["Figure", "Ruling", "Verdict", "overall"]


class Ruling(StrEnum):
    """FAIL outranks INCONCLUSIVE outranks PASS; what nobody knows is never a pass."""

    PASS = "PASS"  # noqa: S105 - no password
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"


_RANK = (Ruling.PASS, Ruling.INCONCLUSIVE, Ruling.FAIL)


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """A measured number, and what it was held against.

    Attributes:
        name: what was measured.
        value: the number.
        unit: its unit.
        bound: what it was held against, in words.
        interval: where a sample was taken, what it says of all there could be: the least and the most; infinite
            where the sample shows no end.
    """

    name: str
    value: float
    unit: str
    bound: str = ""
    interval: tuple[float, float] | None = None

    @property
    def measured(self) -> str:
        """The number with its unit."""
        return f"{_number(self.value)} {self.unit}".rstrip()

    @property
    def spread(self) -> str:
        """The interval in words; empty where there is none."""
        return _range(*self.interval) if self.interval else ""

    def __str__(self) -> str:
        text = f"{self.name} {self.measured}"
        told = [f"interval {self.spread}"] if self.interval else []
        told += [self.bound] if self.bound else []
        return f"{text} ({'; '.join(told)})" if told else text


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.2f}"


def _range(low: float, high: float) -> str:
    """An interval in words; an end that is not shown is not told."""
    if isinf(low) and isinf(high):
        return "nothing"
    if isinf(high):
        return f"{_number(low)} or more"
    return f"{_number(high)} or less" if isinf(low) else f"{_number(low)} to {_number(high)}"


class Verdict(msgspec.Struct, frozen=True):
    """How a promise was kept.

    Attributes:
        promise: its name in the contract.
        clause: where it is documented.
        ruling: the answer.
        reason: the answer in words; on a FAIL it names the first event that broke the promise.
        figures: what was measured.
        events: indexes into the history that bear the ruling out, the first offender first.
        traces: the traces of those events.
        attempt: the time that the scenario was run, from 1, whose recording this is about.
        final: INCONCLUSIVE by what the system itself did: running it again would hide that.
    """

    promise: str
    clause: str
    ruling: Ruling
    reason: str
    figures: tuple[Figure, ...] = ()
    events: tuple[int, ...] = ()
    traces: tuple[str, ...] = ()
    attempt: int = 1
    final: bool = False


def overall(rulings: Iterable[Ruling]) -> Ruling:
    """The ruling on all of them; on none at all it is INCONCLUSIVE, for nothing was shown."""
    return max(rulings, key=_RANK.index, default=Ruling.INCONCLUSIVE)
