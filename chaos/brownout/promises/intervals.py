"""Samples held against a bound: what a share or a quantile of some requests says of the system, and how surely.

Only for what is promised of most: where a promise says "none" or "never", every single event counts, and there is no
sample to be unlucky with.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from brownout.history import Operation
from brownout.promises.promise import BrokenError, NoEvidenceError
from brownout.verdict import Figure

__all__ = [
    "CONFIDENCE",
    "quantile_at_most",
    "quantile_interval",
    "sample_deciding",
    "share_at_most",
    "share_interval",
]

CONFIDENCE = 0.99
"""Of the intervals, half of the rest on each side: a system that lies exactly on its bound is wrongly called broken by
one gate in two hundred, and a better one by fewer."""

MOST_ASKED = 1_000_000
"""Larger samples than this are not asked for: the share seen is too near to its bound."""


def share_interval(count: int, of: int) -> tuple[float, float]:
    """The exact interval (Clopper and Pearson, 1934) of a share, from a sample that has ``count`` of ``of``.

    None and all have a closed form, which spares most gates SciPy: its import takes 0.7 s of a processor's time.
    """
    beyond = (1 - CONFIDENCE) / 2
    if count == 0:
        return 0.0, -math.expm1(math.log(beyond) / of)
    if count == of:
        return beyond ** (1 / of), 1.0
    from scipy.stats import binomtest  # noqa: PLC0415 - see above

    interval = binomtest(count, of).proportion_ci(CONFIDENCE)
    return float(interval.low), float(interval.high)


def quantile_interval(values: Sequence[float], quantile: float) -> tuple[float, float]:
    """The interval of a quantile, whatever the distribution (Conover, 1999); an end that no sample shows is infinite.

    Args:
        values: the sample; not empty.
        quantile: between 0 and 1.
    """
    from scipy.stats import quantile_test  # noqa: PLC0415 - see above

    interval: Any = quantile_test(values, p=quantile).confidence_interval(CONFIDENCE)
    low, high = float(interval.low), float(interval.high)
    return -math.inf if math.isnan(low) else low, math.inf if math.isnan(high) else high


def sample_deciding(count: int, of: int, bound: float) -> int | None:
    """The sample, about, by which a share like the one that was seen would be clear of a bound; None: none would be."""
    least, most = of, of
    while not _clear(count, of, most, bound):
        least, most = most, 2 * most
        if most > MOST_ASKED:
            return None
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if _clear(count, of, middle, bound) else (middle, most)
    return most


def _clear(count: int, of: int, size: int, bound: float) -> bool:
    """Whether a sample of another size with the same share, rounded towards the bound, would be clear of it."""
    if count <= bound * of:
        return share_interval(math.ceil(count * size / of), size)[1] <= bound
    return share_interval(math.floor(count * size / of), size)[0] > bound


def share_at_most(
    name: str, counted: Sequence[Operation], of: int, at_most: float, *, perhaps: Sequence[Operation] | None = None
) -> Figure:
    """Make sure that no more than a share of some requests is so.

    Args:
        name: of the figure: what is counted.
        counted: those that surely are so, the first offender first.
        of: how many there are.
        at_most: the share that may be so.
        perhaps: those that may be so, ``counted`` among them, where that is not known of all.

    Raises:
        BrokenError: the whole interval lies above the bound.
        NoEvidenceError: the bound lies within the interval, or there is no sample at all.
    """
    if not of:
        raise NoEvidenceError(f"{name}: there is no sample")
    most = len(counted if perhaps is None else perhaps)
    low, high = share_interval(len(counted), of)[0], share_interval(most, of)[1]
    interval = (100 * low, 100 * high)
    figure = Figure(name, 100 * len(counted) / of, f"% of {of}", f"at most {100 * at_most:g} %", interval)
    if low > at_most:
        raise BrokenError(f"{len(counted)} of {of} {name}, at most {100 * at_most:g} % may", counted, [figure])
    if high > at_most:
        doubt = f"{most - len(counted)} more may have been" if most > len(counted) else _asked(most, of, at_most)
        raise NoEvidenceError(f"{figure}: {doubt}", [figure])
    return figure


def quantile_at_most(name: str, values_s: Sequence[tuple[float, float]], quantile: float, at_most_s: float) -> Figure:
    """Make sure that a quantile of some times, such as the 99th percentile, is within a bound.

    Args:
        name: of the figure.
        values_s: each as the least and the most that it can have been.
        quantile: between 0 and 1.
        at_most_s: the bound.

    Raises:
        BrokenError: the whole interval lies above the bound.
        NoEvidenceError: the bound lies within the interval, or there is no sample at all.
    """
    if not values_s:
        raise NoEvidenceError(f"{name}: there is no sample")
    least, most = zip(*values_s, strict=True)
    low, high = quantile_interval(least, quantile)[0], quantile_interval(most, quantile)[1]
    figure = Figure(name, _middle(most, quantile), "s", f"at most {at_most_s:g} s", (low, high))
    if low > at_most_s:
        raise BrokenError(f"{figure}: clearly longer than promised", figures=[figure])
    if high > at_most_s:
        slower = sum(value > at_most_s for value in most)
        raise NoEvidenceError(f"{figure}: {_asked(slower, len(most), 1 - quantile)}", [figure])
    return figure


def _middle(values: Iterable[float], quantile: float) -> float:
    """The value of a sample that has no more than this share of it below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


def _asked(count: int, of: int, bound: float) -> str:
    size = sample_deciding(count, of, bound)
    if size is None:
        return f"too near to the bound to tell from {of}, or from {MOST_ASKED} like them"
    return f"too near to the bound to tell from {of}; about {size} like them would decide"
