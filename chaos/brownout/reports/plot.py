"""A timeline drawn: the paths of its panels, in a box of 1000 by 100 that a page stretches to its width.

Lines and dots keep their thickness whatever the box is stretched to (``vector-effect: non-scaling-stroke``); a dot is
a line of no length with a round or a square end.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil, floor, log10

import msgspec

from brownout.history import Outcome
from brownout.reports.thinned import thinned
from brownout.reports.timeline import Curve, Dot, Timeline

__all__ = ["HEIGHT", "WIDTH", "Panel", "Shape", "Tick", "bands", "panels", "seconds_ticks"]

WIDTH, HEIGHT = 1000, 100

MOST_COLUMNS = 150
"""Of a histogram over time."""

MOST_TICKS = 10
"""On the axis of seconds."""

MOST_LINES = 8
"""Of one query: of more series nobody could tell one from another."""

_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
_LEAST_S = 0.0001

_OUTCOMES = (Outcome.OK, Outcome.FAILED, Outcome.UNKNOWN)


class Tick(msgspec.Struct, frozen=True):
    """A mark on an axis: how far along it is, in percent, and what it says."""

    place: float
    label: str


class Shape(msgspec.Struct, frozen=True):
    """A path of SVG, and what it is of."""

    kind: str
    path: str


class Panel(msgspec.Struct, frozen=True):
    """One chart above the axis of seconds.

    Attributes:
        kind: what it shows: ``load``, ``latency``, ``errors`` or ``curve``.
        name: its heading.
        note: what a reader has to know of it.
        ticks: on its own axis, from below.
        shapes: what is drawn, in this order.
        dots: the requests that are drawn one by one.
        decades: of their axis: the powers of ten of its ends, in seconds.
    """

    kind: str
    name: str
    note: str
    ticks: tuple[Tick, ...]
    shapes: tuple[Shape, ...]
    dots: tuple[Dot, ...] = ()
    decades: tuple[int, int] = (0, 0)


def panels(timeline: Timeline, offenders: frozenset[int] = frozenset()) -> tuple[Panel, ...]:
    """The charts of a timeline, those that have something to show.

    Args:
        timeline: what happened.
        offenders: indexes of the events that broke a promise: they are marked.
    """
    drawn = [_curve(curve, timeline.length_s) for curve in timeline.curves]
    if timeline.dots:
        drawn = [_load(timeline), _latency(timeline, offenders), _errors(timeline), *drawn]
    return tuple(drawn)


def bands(timeline: Timeline) -> str:
    """A path of the times in which some fault was on, perhaps."""
    merged: list[tuple[float, float]] = []
    for from_s, to_s in sorted((bar.from_s, bar.to_s) for lane in timeline.faults for bar in lane.bars):
        if merged and from_s <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(to_s, merged[-1][1]))
        else:
            merged.append((from_s, to_s))
    return "".join(_box(timeline.length_s, from_s, to_s, 0, HEIGHT) for from_s, to_s in merged)


def seconds_ticks(length_s: float) -> tuple[Tick, ...]:
    """Marks on the axis of seconds, at round ones."""
    if not length_s:
        return (Tick(0.0, "0 s"),)
    step_s = _step_s(length_s, MOST_TICKS)
    marks_s = (number * step_s for number in range(int(length_s / step_s) + 1))
    return tuple(Tick(100 * mark_s / length_s, f"{mark_s:g} s") for mark_s in marks_s)


def _step_s(length_s: float, most: int) -> float:
    """The finest round step of which no more than so many fit into a time."""
    return next((step_s for step_s in _STEPS_S if length_s <= most * step_s), length_s / most)


def _load(timeline: Timeline) -> Panel:
    """What was due: the load that was offered, whatever became of it."""
    due_s = [*(dot.at_s for dot in timeline.dots), *(dropped.at_s for dropped in timeline.dropped)]
    step_s = _step_s(timeline.length_s, MOST_COLUMNS)
    counts = _counted(due_s, step_s, timeline.length_s)
    most = max(counts.values())
    shapes = (Shape("offered", _columns(counts, Counter(), most, step_s, timeline.length_s)),)
    return Panel("load", "load", f"requests due in each {step_s:g} s", (_most(most),), shapes)


def _errors(timeline: Timeline) -> Panel:
    """What failed, when it did; nobody knows what became of a request that was not answered."""
    length_s = timeline.length_s
    step_s = _step_s(length_s, MOST_COLUMNS)
    ended_s = {
        kind: [dot.at_s + dot.took_s for dot in timeline.dots if dot.outcome == kind]
        for kind in (Outcome.FAILED, Outcome.UNKNOWN)
    } | {"dropped": [dropped.at_s for dropped in timeline.dropped]}
    counts = {kind: _counted(each_s, step_s, length_s) for kind, each_s in ended_s.items()}
    most = max(sum(counts.values(), Counter[int]()).values(), default=0)
    stacked, shapes = Counter[int](), []
    for kind, each in counts.items():
        shapes.append(Shape(str(kind), _columns(each, stacked, most, step_s, length_s)))
        stacked += each
    note = f"failed, unanswered and not sent, in each {step_s:g} s" if most else "none"
    return Panel("errors", "errors", note, (_most(most),) if most else (), tuple(shapes))


def _latency(timeline: Timeline, offenders: frozenset[int]) -> Panel:
    """Every request by when it was due and how long it took, on a logarithmic axis."""
    dots = thinned(timeline.dots, offenders)
    low, high = _decades(dots)
    shapes = [Shape("grid", "".join(f"M0 {_y(decade, low, high):.1f}h{WIDTH}" for decade in range(low + 1, high)))]
    for outcome in _OUTCOMES:
        some = (dot for dot in dots if dot.outcome == outcome)
        shapes.append(Shape(outcome.value, _dots(some, timeline.length_s, low, high)))
    shapes.append(
        Shape("offender", _dots((one for one in dots if one.event in offenders), timeline.length_s, low, high))
    )
    ticks = tuple(Tick(100 - _y(decade, low, high), _decade(decade)) for decade in range(low, high + 1))
    note = "from when each was due to its answer"
    if len(dots) < len(timeline.dots):
        note += (
            f"; {len(dots)} of {len(timeline.dots)} are drawn: "
            "of each moment and outcome the fastest, the median and the slowest"
        )
    return Panel("latency", "latency", note, ticks, tuple(shapes), tuple(dots), (low, high))


def _curve(curve: Curve, length_s: float) -> Panel:
    """One line a series, from the smallest of all values or 0 to the largest."""
    values = [value for line in curve.lines for _, value in line]
    low = min([0.0, *values])
    high = max(curve.most or 0.0, *values, low + 1e-9) if values else 1.0
    shapes = tuple(
        Shape(f"line-{number}", _line(line, length_s, low, high))
        for number, line in enumerate(curve.lines[:MOST_LINES])
        if line
    )
    more = len(curve.lines) - MOST_LINES
    note = f"the first {MOST_LINES} of {len(curve.lines)} series" if more > 0 else ""
    ticks = (Tick(0, f"{low:.4g}"), Tick(100, f"{high:.4g}"))
    return Panel("curve", curve.name, note if values else "no samples", ticks, shapes)


def _counted(at_s: Iterable[float], step_s: float, length_s: float) -> Counter[int]:
    """How many fall into each step; what is at the very end belongs to the last one."""
    last = max(ceil(length_s / step_s) - 1, 0)
    return Counter(min(int(each / step_s), last) for each in at_s)


def _most(most: int) -> Tick:
    return Tick(100, str(most))


def _columns(counts: Counter[int], under: Counter[int], most: int, step_s: float, of_s: float) -> str:
    """A column for each step, on what stands under it."""
    return "".join(
        _box(of_s, column * step_s, (column + 1) * step_s, _part(under[column], most), _part(count, most))
        for column, count in sorted(counts.items())
    )


def _part(count: int, most: int) -> float:
    return HEIGHT * count / most


def _box(length_s: float, from_s: float, to_s: float, bottom: float, height: float) -> str:
    left, right = _x(from_s, length_s), _x(to_s, length_s)
    return f"M{left:.1f} {HEIGHT - bottom:.1f}H{right:.1f}v{-height:.1f}H{left:.1f}z"


def _dots(dots: Iterable[Dot], length_s: float, low: int, high: int) -> str:
    return "".join(f"M{_x(dot.at_s, length_s):.1f} {_y(_log(dot.took_s), low, high):.1f}h0" for dot in dots)


def _line(points: Sequence[tuple[float, float]], length_s: float, low: float, high: float) -> str:
    """Steps: a value holds until the next one is known."""
    first, *_ = points
    moved = "".join(f"H{_x(at_s, length_s):.1f}V{_y(value, low, high):.1f}" for _, (at_s, value) in pairwise(points))
    return f"M{_x(first[0], length_s):.1f} {_y(first[1], low, high):.1f}{moved}"


def _x(at_s: float, length_s: float) -> float:
    return WIDTH * min(at_s / length_s, 1.0) if length_s else 0.0


def _y(value: float, low: float, high: float) -> float:
    return HEIGHT - HEIGHT * (value - low) / (high - low)


def _log(took_s: float) -> float:
    return log10(max(took_s, _LEAST_S))


def _decades(dots: Sequence[Dot]) -> tuple[int, int]:
    """The powers of ten between which all are."""
    low = floor(min(_log(dot.took_s) for dot in dots))
    return low, max(ceil(max(_log(dot.took_s) for dot in dots)), low + 1)


def _decade(decade: int) -> str:
    return f"{10.0**decade:g} s" if decade >= 0 else f"{10.0 ** (decade + 3):g} ms"
