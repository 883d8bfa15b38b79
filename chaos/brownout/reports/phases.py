"""The requests of each phase in numbers: what a picture shows, for whoever cannot see it."""

from collections import Counter
from statistics import median

import msgspec

from brownout.history import Outcome
from brownout.reports.timeline import Dot, Timeline

__all__ = ["Phase", "phases"]

MOST_ANSWERS = 5
"""Of a phase: so many different ones are told."""


class Phase(msgspec.Struct, frozen=True):
    """The requests of a phase.

    Attributes:
        name: its own.
        from_s: when the first was due.
        to_s: when the last one ended.
        requests: how many were sent.
        ok: so many succeeded.
        failed: so many failed.
        unknown: of so many nobody knows.
        dropped: so many more were not sent.
        median_s: half took no longer.
        slowest_s: the slowest took so long.
        answers: how often each answer came, the most frequent first.
    """

    name: str
    from_s: float
    to_s: float
    requests: int
    ok: int
    failed: int
    unknown: int
    dropped: int
    median_s: float
    slowest_s: float
    answers: tuple[tuple[str, int], ...]


def phases(timeline: Timeline) -> tuple[Phase, ...]:
    """Every phase that has a request, by the first of each."""
    by_name: dict[str, list[Dot]] = {}
    for dot in timeline.dots:
        by_name.setdefault(dot.phase, []).append(dot)
    return tuple(_phase(timeline, name, dots) for name, dots in by_name.items())


def _phase(timeline: Timeline, name: str, dots: list[Dot]) -> Phase:
    outcomes = Counter(dot.outcome for dot in dots)
    took_s = [dot.took_s for dot in dots]
    return Phase(
        name=name,
        from_s=min(dot.at_s for dot in dots),
        to_s=max(dot.at_s + dot.took_s for dot in dots),
        requests=len(dots),
        ok=outcomes[Outcome.OK],
        failed=outcomes[Outcome.FAILED],
        unknown=outcomes[Outcome.UNKNOWN],
        dropped=sum(dropped.phase == name for dropped in timeline.dropped),
        median_s=median(took_s),
        slowest_s=max(took_s),
        answers=tuple(Counter(dot.answer for dot in dots).most_common(MOST_ANSWERS)),
    )
