"""A recording as one picture: requests, phases, faults and states, all on one axis of seconds from its beginning."""

from collections.abc import Iterable, Sequence

import msgspec

from brownout.history import Event, History, Operation
from brownout.promises.evidence import told
from brownout.promises.state import StateMetric
from brownout.recording import Recording, Series
from brownout.reports.report import Found
from brownout.reports.states import states
from brownout.reports.tracks import Axis, Bar, Lane, States, packed
from brownout.windows import Window, windows

__all__ = ["Curve", "Dot", "Dropped", "Timeline", "timeline"]

MOST_ANSWERS = 12
"""A watch that was given more different answers is told by their statuses alone."""

MOST_TOLD = 240
"""Characters of an answer that are told."""


class Dot(msgspec.Struct, frozen=True):
    """A request.

    Attributes:
        at_s: when it was due, or sent where that is not known.
        took_s: from then to its end, as a user would count; to the recording's end where it has none.
        outcome: of `Outcome`.
        answer: its status, or why there was none.
        phase: its own.
        event: the index of its end, or of its beginning where it has none.
    """

    at_s: float
    took_s: float
    outcome: str
    answer: str
    phase: str
    event: int


class Dropped(msgspec.Struct, frozen=True):
    """An arrival that the harness did not send: too many were under way."""

    at_s: float
    phase: str


class Curve(msgspec.Struct, frozen=True):
    """A number that changes.

    Attributes:
        name: what it is.
        lines: its points of seconds and value, a line a series.
        most: of the axis; None: the largest value.
    """

    name: str
    lines: tuple[tuple[tuple[float, float], ...], ...]
    most: float | None = None


class Timeline(msgspec.Struct, frozen=True):
    """All that is drawn of a recording.

    Attributes:
        length_s: from its first event to its last.
        phases: what was sent, in as many lanes as are needed.
        faults: a lane a fault; the name of each bar is what was seen of it.
        watches: a lane a watch: what it was answered.
        states: what the system said of itself.
        dots: every request.
        dropped: every arrival that was not sent.
        curves: what Prometheus was asked, and how busy the machine was.
        offenders: the first event against each promise that was not kept, as a bar with the promise's name.
    """

    length_s: float
    phases: tuple[Lane, ...]
    faults: tuple[Lane, ...]
    watches: tuple[Lane, ...]
    states: tuple[States, ...]
    dots: tuple[Dot, ...]
    dropped: tuple[Dropped, ...]
    curves: tuple[Curve, ...]
    offenders: tuple[Lane, ...] = ()


def timeline(recording: Recording, metrics: Iterable[StateMetric] = (), founds: Iterable[Found] = ()) -> Timeline:
    """What there is to see of a recording.

    Args:
        recording: a whole one; it may have no event at all.
        metrics: the system's own states that are shown.
        founds: what was found of the promises that were judged by it.
    """
    history = recording.history
    axis = _axis(history)
    requests = history.requests()
    return Timeline(
        length_s=axis.length_s,
        phases=packed("phases", _phases(requests, history.operations("step"), axis)),
        faults=_faults(history, axis),
        watches=tuple(_watch(name, asked, axis) for name, asked in _by_name(history.operations("watch")).items()),
        states=tuple(states(recording, axis, metric) for metric in metrics),
        dots=tuple(_dot(request, axis) for request in requests),
        dropped=tuple(_dropped(event, axis) for event in history.alone("load") if event.detail.get("dropped")),
        curves=(*_queried(recording, axis), *_processors(history, axis)),
        offenders=packed("first offender", (_offender(history, axis, found) for found in founds if found.events)),
    )


def _axis(history: History) -> Axis:
    if not history.events:
        return Axis(0, 0)
    return Axis(history.events[0].at_ns, history.events[-1].at_ns)


def _by_name(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    by_name: dict[str, list[Operation]] = {}
    for one in operations:
        by_name.setdefault(one.invoked.action, []).append(one)
    return by_name


def _dot(request: Operation, axis: Axis) -> Dot:
    due_ns = min(int(request.invoked.detail.get("due_ns") or request.sent_ns), request.sent_ns)
    ended_ns = request.answered_ns or axis.end_ns
    return Dot(
        at_s=axis.at_s(due_ns),
        took_s=(ended_ns - due_ns) / 1e9,
        outcome=request.outcome.value,
        answer=told(request),
        phase=request.invoked.action,
        event=(request.completed or request.invoked).index,
    )


def _dropped(event: Event, axis: Axis) -> Dropped:
    return Dropped(axis.at_s(int(event.detail.get("due_ns") or event.at_ns)), event.action)


def _offender(history: History, axis: Axis, found: Found) -> Bar:
    ended = history.events[found.events[0]]
    begun = history.events[ended.of] if ended.of >= 0 else ended
    return axis.bar(found.promise, begun.at_ns, ended.at_ns, "failed", found.evidence[0])


def _phases(requests: Iterable[Operation], steps: Iterable[Operation], axis: Axis) -> list[Bar]:
    """A bar for each time that a phase was a step; for what is no step, from its first request to its last answer."""
    bars, steps_of = [], _by_name(steps)
    for name, sent in _by_name(requests).items():
        whole = (sent[0].sent_ns, max(one.answered_ns or axis.end_ns for one in sent))
        spans = [(step.sent_ns, step.answered_ns) for step in steps_of.get(name, ())] or [whole]
        bars += [axis.bar(name, begun_ns, ended_ns, "phase") for begun_ns, ended_ns in spans]
    return bars


def _faults(history: History, axis: Axis) -> tuple[Lane, ...]:
    by_fault: dict[str, list[Bar]] = {}
    for window in windows(history):
        lifted_ns = window.lifted.answered_ns if window.lifted else None
        bar = axis.bar(_seen(window), window.entered.sent_ns, lifted_ns, "fault")
        by_fault.setdefault(window.fault, []).append(bar)
    return tuple(Lane(name, tuple(bars)) for name, bars in by_fault.items())


def _seen(window: Window) -> str:
    """Whether a fault acted, as it was seen from outside."""
    if not window.entered.ok:
        return f"could not be put in force: {told(window.entered)}"
    looked = window.canary.completed if window.canary else None
    seen = f"seen: {looked.detail.get('seen', looked.outcome)}" if looked else "nobody looked"
    return seen if window.lifted and window.lifted.ok else f"{seen}; was not lifted"


def _watch(name: str, asked: Sequence[Operation], axis: Axis) -> Lane:
    """A bar for each run of the same answers, up to the next one."""
    answers = [_answer(one) for one in asked]
    if len(set(answers)) > MOST_ANSWERS:
        answers = [(status, "") for status, _ in answers]
    bars: list[Bar] = []
    for place, (one, (status, body)) in enumerate(zip(asked, answers, strict=True)):
        if place and answers[place - 1] == (status, body):
            continue
        following = (later for later in range(place, len(asked)) if answers[later] != (status, body))
        until = next(following, None)
        ended_ns = asked[-1].answered_ns if until is None else asked[until].sent_ns
        bars.append(axis.bar(status, one.sent_ns, ended_ns, one.outcome.value, body))
    return Lane(f"{name} from outside", tuple(bars))


def _answer(asked: Operation) -> tuple[str, str]:
    body = asked.completed.detail.get("body") if asked.completed else None
    text = "" if body is None else msgspec.json.encode(body).decode()
    return told(asked), text if len(text) <= MOST_TOLD else f"{text[:MOST_TOLD]}…"


def _queried(recording: Recording, axis: Axis) -> list[Curve]:
    return [Curve(query, tuple(_line(each, axis) for each in series)) for query, series in recording.queried.items()]


def _line(series: Series, axis: Axis) -> tuple[tuple[float, float], ...]:
    return tuple((axis.at_s(int(at_s * 1e9)), value) for at_s, value in series.points)


def _processors(history: History, axis: Axis) -> list[Curve]:
    samples: Sequence[Event] = history.alone("engine", "host")
    points = tuple((axis.at_s(event.at_ns), 100 * float(event.detail["busy"])) for event in samples)
    return [Curve("processors in use, %", (points,), 100.0)] if points else []
