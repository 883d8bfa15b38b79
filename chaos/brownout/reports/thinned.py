"""Fewer points for the same picture: what is drawn of very many requests, outliers first."""

from collections.abc import Sequence

from brownout.reports.timeline import Dot

__all__ = ["MOST_DOTS", "thinned"]

MOST_DOTS = 600
"""So many requests are drawn one by one."""

KEPT = 3
"""Of each column and outcome: the fastest, the median and the slowest."""


def thinned(dots: Sequence[Dot], keep: frozenset[int] = frozenset(), most: int = MOST_DOTS) -> list[Dot]:
    """All of some requests, or so many that the picture stays the same and no outlier is lost, by their time.

    The time is divided into columns; of each column and outcome the fastest, the median and the slowest stay, so the
    slowest of all, a single failure among successes and the edges of every cloud are drawn.

    Args:
        dots: the requests.
        keep: events that stay in any case: what broke a promise.
        most: how many stay.

    Returns:
        at most ``most``, and those of ``keep``.
    """
    if len(dots) <= most:
        return sorted(dots, key=_when)
    outcomes = len({dot.outcome for dot in dots})
    columns = max(1, most // (KEPT * outcomes))
    begin_s = min(dot.at_s for dot in dots)
    column_s = (max(dot.at_s for dot in dots) - begin_s) / columns or 1.0
    cells: dict[tuple[int, str], list[Dot]] = {}
    for dot in dots:
        column = min(int((dot.at_s - begin_s) / column_s), columns - 1)
        cells.setdefault((column, dot.outcome), []).append(dot)
    chosen = {dot.event: dot for dot in dots if dot.event in keep}
    for cell in cells.values():
        by_time = sorted(cell, key=lambda dot: dot.took_s)
        chosen |= {dot.event: dot for dot in (by_time[0], by_time[len(by_time) // 2], by_time[-1])}
    return sorted(chosen.values(), key=_when)


def _when(dot: Dot) -> tuple[float, int]:
    return dot.at_s, dot.event
