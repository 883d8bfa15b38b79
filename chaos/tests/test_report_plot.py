"""The charts of a timeline: bounded, on one axis, and no outlier lost."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout.history import Outcome
from brownout.reports.plot import HEIGHT, MOST_LINES, MOST_TICKS, WIDTH, Panel, bands, panels, seconds_ticks
from brownout.reports.thinned import MOST_DOTS, thinned
from brownout.reports.timeline import Curve, Dot, Dropped, Timeline
from brownout.reports.tracks import Bar, Lane

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def dot(event: int, at_s: float = 0.0, took_s: float = 0.01, outcome: Outcome = Outcome.OK) -> Dot:
    return Dot(at_s, took_s, outcome.value, "200", "load", event)


def timeline(*dots: Dot, length_s: float = 100.0, **more: object) -> Timeline:
    empty: dict[str, object] = dict.fromkeys(Timeline.__struct_fields__, ())
    return Timeline(**{**empty, "length_s": length_s, "dots": dots, **more})


def panel(shown: Timeline, kind: str, offenders: frozenset[int] = frozenset()) -> Panel:
    (found,) = [each for each in panels(shown, offenders) if each.kind == kind]
    return found


def path(shown: Panel, kind: str) -> str:
    return "".join(shape.path for shape in shown.shapes if shape.kind == kind)


dots = st.builds(
    dot,
    event=st.integers(0, 10**6),
    at_s=st.floats(0, 150),
    took_s=st.floats(0, 150),
    outcome=st.sampled_from([Outcome.OK, Outcome.FAILED, Outcome.UNKNOWN]),
)


@given(st.lists(dots, min_size=31, max_size=80, unique_by=lambda each: each.event))
def test_of_too_many_requests_so_many_stay_and_every_extreme_of_each_outcome_is_among_them(many: list[Dot]) -> None:
    few = thinned(many, most=30)
    assert len(few) <= 30
    assert set(few) <= set(many)
    assert [(one.at_s, one.event) for one in few] == sorted((one.at_s, one.event) for one in few)
    for outcome in {one.outcome for one in many}:
        took_s = [one.took_s for one in many if one.outcome == outcome]
        kept_s = [one.took_s for one in few if one.outcome == outcome]
        assert (min(kept_s), max(kept_s)) == (min(took_s), max(took_s))


def test_what_is_not_too_much_stays_whole() -> None:
    assert len(thinned([dot(number) for number in range(MOST_DOTS)])) == MOST_DOTS


def test_a_single_failure_among_successes_at_the_same_time_stays() -> None:
    many = [dot(number) for number in range(10 * MOST_DOTS)] + [dot(-1, outcome=Outcome.FAILED)]
    assert -1 in {one.event for one in thinned(many)}


def test_what_broke_a_promise_is_never_left_out() -> None:
    many = [dot(number, took_s=0.01 + (number % 5) / 100) for number in range(10 * MOST_DOTS)]
    left_out = next(one.event for one in many if one not in thinned(many))
    assert left_out in {one.event for one in thinned(many, frozenset({left_out}))}
    shown = panel(timeline(*many), "latency", frozenset({left_out}))
    assert path(shown, "offender").count("M") == 1
    assert f"{len(shown.dots)} of {len(many)} are drawn" in shown.note


@given(st.lists(dots, min_size=1, max_size=30, unique_by=lambda each: each.event), st.floats(0, 150))
def test_everything_is_drawn_within_its_box(some: list[Dot], length_s: float) -> None:
    for shown in panels(timeline(*some, length_s=length_s)):
        for shape in shown.shapes:
            for command, numbers in re.findall(r"([MHVvh])([^MHVvhz]*)", shape.path):
                values = [float(each) for each in NUMBER.findall(numbers)]
                most = (WIDTH, HEIGHT) if command == "M" else (HEIGHT,) if command in "Vv" else (WIDTH,)
                assert all(abs(value) <= bound for value, bound in zip(values, most, strict=True)), shape
        assert all(-0.01 <= tick.place <= 100.01 for tick in shown.ticks)


def test_load_is_what_was_due_and_errors_are_where_they_came() -> None:
    shown = timeline(
        *(dot(number, at_s=10.0, took_s=5.0, outcome=Outcome.FAILED) for number in range(4)),
        dot(9, at_s=50.0),
        dropped=(Dropped(50.0, "load"),),
    )
    load, errors = panel(shown, "load"), panel(shown, "errors")
    assert path(load, "offered") == "M100.0 100.0H110.0v-100.0H100.0zM500.0 100.0H510.0v-50.0H500.0z"
    assert path(errors, "failed") == "M150.0 100.0H160.0v-100.0H150.0z"
    assert path(errors, "dropped") == "M500.0 100.0H510.0v-25.0H500.0z"
    assert [tick.label for tick in (*load.ticks, *errors.ticks)] == ["4", "4"]


def test_errors_of_several_kinds_at_one_time_stand_on_one_another() -> None:
    shown = panel(timeline(dot(1, outcome=Outcome.FAILED), dot(2, outcome=Outcome.UNKNOWN)), "errors")
    assert (path(shown, "failed"), path(shown, "unknown")) == (
        "M0.0 100.0H10.0v-50.0H0.0z",
        "M0.0 50.0H10.0v-50.0H0.0z",
    )


def test_without_errors_the_panel_says_so() -> None:
    assert panel(timeline(dot(1)), "errors").note == "none"


def test_latency_is_on_decades_from_the_fastest_to_the_slowest() -> None:
    shown = panel(timeline(dot(1, took_s=0.02), dot(2, at_s=50, took_s=2.0, outcome=Outcome.FAILED)), "latency")
    assert [(tick.label, round(tick.place)) for tick in shown.ticks] == [
        ("10 ms", 0),
        ("100 ms", 33),
        ("1 s", 67),
        ("10 s", 100),
    ]
    assert shown.decades == (-2, 1)
    assert path(shown, "failed") == "M500.0 23.3h0"


def test_faults_that_overlap_are_one_band() -> None:
    bars = [Bar("a", 10, 20, "fault"), Bar("a", 15, 30, "fault"), Bar("b", 50, 60, "fault")]
    shown = timeline(faults=tuple(Lane(bar.name, (bar,)) for bar in bars))
    assert re.findall(r"M(\d+)\.0 100\.0H(\d+)", bands(shown)) == [("100", "300"), ("500", "600")]


def test_a_curve_is_drawn_in_steps_and_of_too_many_only_the_first() -> None:
    lines = tuple(((0.0, 1.0), (50.0, float(number))) for number in range(1, MOST_LINES + 3))
    shown = panel(timeline(curves=(Curve("query", lines),)), "curve")
    assert len(shown.shapes) == MOST_LINES
    assert shown.note == f"the first {MOST_LINES} of {MOST_LINES + 2} series"
    assert path(shown, "line-1") == "M0.0 90.0H500.0V80.0"
    assert [tick.label for tick in shown.ticks] == ["0", "10"]


def test_a_curve_without_samples_says_so() -> None:
    assert panel(timeline(curves=(Curve("query", ((),)),)), "curve").note == "no samples"


@pytest.mark.parametrize("length_s", [0.0, 0.3, 7.0, 98.0, 150.0, 4000.0, 10**7])
def test_seconds_are_marked_at_round_ones_and_never_too_many(length_s: float) -> None:
    ticks = seconds_ticks(length_s)
    assert 1 <= len(ticks) <= MOST_TICKS + 1
    assert all(0 <= tick.place <= 100.01 for tick in ticks)
    assert ticks[0].label == "0 s"
