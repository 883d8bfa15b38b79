"""A promise's answer: one of three rulings, with its evidence."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

__all__ = ["Figure", "Ruling", "Verdict", "overall"]


class Ruling(StrEnum):
    """FAIL outranks INCONCLUSIVE outranks PASS; what nobody knows is never a pass."""

    PASS = "PASS"  # noqa: S105 - no password
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"


_RANK = (Ruling.PASS, Ruling.INCONCLUSIVE, Ruling.FAIL)


class Figure(msgspec.Struct, frozen=True):
    """A measured number, and what it was held against."""

    name: str
    value: float
    unit: str
    bound: str = ""

    def __str__(self) -> str:
        number = f"{self.value:.0f}" if float(self.value).is_integer() else f"{self.value:.2f}"
        text = f"{self.name} {number} {self.unit}".rstrip()
        return f"{text} ({self.bound})" if self.bound else text


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
    """

    promise: str
    clause: str
    ruling: Ruling
    reason: str
    figures: tuple[Figure, ...] = ()
    events: tuple[int, ...] = ()
    traces: tuple[str, ...] = ()


def overall(rulings: Iterable[Ruling]) -> Ruling:
    """The ruling on all of them; on none at all it is INCONCLUSIVE, for nothing was shown."""
    return max(rulings, key=_RANK.index, default=Ruling.INCONCLUSIVE)
