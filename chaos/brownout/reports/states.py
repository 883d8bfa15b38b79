"""What a system says of its states, as lanes: circuit breakers, health."""

from collections import Counter
from collections.abc import Sequence

from brownout.promises.state import StateMetric
from brownout.recording import SCRAPE_S, Recording, Series
from brownout.reports.tracks import Axis, Bar, Lane, States

__all__ = ["states"]

GAP_S = 3 * SCRAPE_S
"""From one sample to the next more than so long: nobody knows what it said meanwhile."""

_SAME = {"__name__", "cell", "job", "instance"}
"""Labels that are the same in all of a cell, and the one that only tells instances of a service apart."""


def states(recording: Recording, axis: Axis, metric: StateMetric) -> States:
    """The lanes of a metric, but for those that were well all the time: they are counted."""
    found = [each for each in recording.series or () if each.labels.get("__name__") == metric.metric]
    names = _names(found, recording.cell)
    lanes = [Lane(name, _bars(each, axis, metric)) for name, each in sorted(zip(names, found, strict=True), key=_name)]
    well = next(iter(metric.values))
    shown = tuple(lane for lane in lanes if {bar.name for bar in lane.bars} - {well})
    return States(metric.title, shown, len(lanes) - len(shown), well, tuple(metric.values))


def _name(named: tuple[str, Series]) -> str:
    return named[0]


def _names(found: Sequence[Series], cell: str) -> list[str]:
    """What tells series apart, in words: the service first, and its instance only where there are several."""
    names = [_words(each) for each in found]
    often = Counter(names)
    instances = [each.labels.get("instance", "").removeprefix(f"{cell}-") for each in found]
    return [f"{name} ({it})" if often[name] > 1 else name for name, it in zip(names, instances, strict=True)]


def _words(series: Series) -> str:
    service = series.labels.get("service", "")
    rest = [value for label, value in sorted(series.labels.items()) if label not in {*_SAME, "service"}]
    return " · ".join(filter(None, (service, *rest)))


def _bars(series: Series, axis: Axis, metric: StateMetric) -> tuple[Bar, ...]:
    """A bar for each run of the same value, from its first sample to the next run's; a gap is left open."""
    bars: list[Bar] = []
    last_s = begun_s = 0.0
    state = ""
    for at_s, value in series.points:
        said = _state(value, metric)
        if state and (said != state or at_s - last_s > GAP_S):
            bars.append(_bar(axis, metric, state, begun_s, at_s if at_s - last_s <= GAP_S else last_s))
            state = ""
        if not state:
            state, begun_s = said, at_s
        last_s = at_s
    return (*bars, _bar(axis, metric, state, begun_s, last_s)) if state else ()


def _state(value: float, metric: StateMetric) -> str:
    return next((name for name, each in metric.values.items() if each == value), f"{value:g}")


def _bar(axis: Axis, metric: StateMetric, state: str, begun_s: float, ended_s: float) -> Bar:
    return axis.bar(state, int(begun_s * 1e9), int(ended_s * 1e9), _tone(metric, state))


def _tone(metric: StateMetric, state: str) -> str:
    """By its place between well and ill; a value that has no name is nobody's knowledge."""
    order = list(metric.values)
    if state not in order:
        return "unknown"
    place = order.index(state)
    if place == 0:
        return "well"
    return "ill" if place == len(order) - 1 else "between"
