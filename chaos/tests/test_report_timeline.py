"""What a recording looks like: requests, phases, faults, watches and states on one axis."""

from pathlib import Path

import pytest

from brownout.history import Outcome
from brownout.promises.contract import read_states
from brownout.promises.state import StateMetric
from brownout.recording import Series
from brownout.reports.phases import phases
from brownout.reports.timeline import MOST_ANSWERS, Timeline, timeline
from brownout.reports.tracks import Bar, Lane, States, packed
from brownout.written import Written

ROOT = Path(__file__).parents[2]
BREAKER = StateMetric("breakers", "state", {"closed": 0, "half-open": 1, "open": 2})


def drawn(story: Written, *metrics: StateMetric) -> Timeline:
    return timeline(story.recording(), metrics)


def spans(lane: Lane) -> list[tuple[str, float, float, str]]:
    return [(bar.name, bar.from_s, bar.to_s, bar.tone) for bar in lane.bars]


def series(values: dict[float, float], **labels: str) -> Series:
    return Series({"__name__": "state", "cell": "written", **labels}, list(values.items()))


def test_a_recording_without_events_has_nothing_to_show() -> None:
    shown = drawn(Written(), BREAKER)
    nothing = States("breakers", (), 0, "closed", ("closed", "half-open", "open"))
    assert shown == Timeline(0.0, (), (), (), (nothing,), (), (), ())


def test_a_request_is_drawn_when_it_was_due_and_as_long_as_a_user_waited() -> None:
    story = Written()
    story.note("engine", "begun")
    story.wait(2)
    story.call("load", actor="load", late_s=0.5, took_s=1.0)
    story.call("load", actor="load", status=None, error="no answer within 3 s", took_s=3.0)
    late, unanswered = drawn(story).dots
    assert (late.at_s, late.took_s, late.outcome, late.answer) == (1.5, 1.5, "ok", "201")
    assert (unanswered.took_s, unanswered.outcome, unanswered.answer) == (3.0, "unknown", "no answer within 3 s")


def test_a_request_without_an_end_lasts_as_long_as_the_recording() -> None:
    story = Written()
    story.call("load", took_s=None, at_s=1.0)
    story.wait(5)
    story.note("engine", "clean")
    (dot,) = drawn(story).dots
    assert (dot.took_s, dot.outcome) == (4.0, "unknown")


def test_an_arrival_that_was_not_sent_is_told_apart() -> None:
    story = Written()
    story.note("load", "buying", Outcome.FAILED, dropped=True, due_ns=0)
    story.call("buying", actor="load")
    shown = drawn(story)
    assert [each.phase for each in shown.dropped] == ["buying"]
    assert [(each.requests, each.dropped) for each in phases(shown)] == [(1, 1)]


def test_a_phase_is_a_bar_for_each_time_that_it_was_a_step() -> None:
    story = Written()
    for _ in range(2):
        with story.step("open"):
            story.call("open", took_s=1.0)
        story.wait(1)
    story.call("after", took_s=1.0)
    (lane,) = drawn(story).phases
    assert spans(lane) == [("open", 0, 1, "phase"), ("open", 2, 3, "phase"), ("after", 4, 5, "phase")]


def test_bars_that_overlap_are_in_lanes_of_their_own_as_few_as_there_can_be() -> None:
    bars = [Bar(name, *when, "phase") for name, when in {"a": (0, 9), "b": (1, 3), "c": (2, 4), "d": (3, 5)}.items()]
    assert [(lane.name, [bar.name for bar in lane.bars]) for lane in packed("phases", bars)] == [
        ("phases", ["a"]),
        ("", ["b", "d"]),
        ("", ["c"]),
    ]


def test_a_fault_has_a_bar_each_time_with_what_was_seen_of_it() -> None:
    story = Written()
    story.note("engine", "begun")
    for canary in (Outcome.OK, None):
        with story.fault("outage of a -> b", canary=canary, seen="refused"):
            story.wait(1)
    with story.fault("outage of a -> b", lifted=False):
        story.wait(1)
    (lane,) = drawn(story).faults
    assert [bar.name for bar in lane.bars] == ["seen: refused", "nobody looked", "seen: ok; was not lifted"]
    assert [round(bar.to_s - bar.from_s, 2) for bar in lane.bars] == [1.02, 1.02, 1.01]


def test_a_fault_that_could_not_be_put_in_force_says_so() -> None:
    story = Written()
    with story.fault("outage of a -> b", entered=False, canary=None, lifted=False):
        story.wait(1)
    assert drawn(story).faults[0].bars[0].name == "could not be put in force: failed"


def test_a_watch_has_a_bar_for_each_run_of_the_same_answers() -> None:
    story = Written()
    for at_s, status, body in ((0, 200, {}), (1, 200, {}), (2, 503, {"db": "DOWN"}), (3, None, None), (4, 200, {})):
        story.watch("health", at_s=at_s, status=status, body=body)
    (lane,) = drawn(story).watches
    assert [name for name, *_ in spans(lane)] == ["200", "503", "no answer", "200"]
    assert [tone for *_, tone in spans(lane)] == ["ok", "failed", "unknown", "ok"]
    assert [(bar.from_s, bar.to_s) for bar in lane.bars[:3]] == [(0, 2), (2, 3), (3, 4)]
    assert lane.bars[1].more == '{"db":"DOWN"}'


def test_a_watch_with_too_many_different_answers_is_told_by_their_statuses() -> None:
    story = Written()
    for number in range(MOST_ANSWERS + 1):
        story.watch("health", at_s=number, body={"now": number})
    (bar,) = drawn(story).watches[0].bars
    assert (bar.name, bar.more) == ("200", "")


def test_states_that_changed_are_lanes_and_the_others_are_counted() -> None:
    story = Written()
    story.call("load", at_s=0.0, took_s=10.0)
    story.series = [
        series({0.0: 0, 1.0: 0, 2.0: 2, 3.0: 2, 4.0: 1, 5.0: 0, 6.0: 0}, service="orders", callee="users"),
        series({0.0: 0, 5.0: 0}, service="orders", callee="products"),
        Series({"__name__": "else"}, [(0.0, 2.0)]),
    ]
    (shown,) = drawn(story, BREAKER).states
    assert (shown.others, shown.well) == (1, "closed")
    (lane,) = shown.lanes
    assert lane.name == "orders · users"
    assert spans(lane) == [
        ("closed", 0, 2, "well"),
        ("open", 2, 4, "ill"),
        ("half-open", 4, 5, "between"),
        ("closed", 5, 6, "well"),
    ]


def test_a_gap_in_the_samples_of_a_state_stays_open() -> None:
    story = Written()
    story.call("load", at_s=0.0, took_s=20.0)
    story.series = [series({0.0: 2, 1.0: 2, 11.0: 2, 12.0: 7}, service="orders")]
    (lane,) = drawn(story, BREAKER).states[0].lanes
    assert spans(lane) == [("open", 0, 1, "ill"), ("open", 11, 12, "ill"), ("7", 12, 12, "unknown")]


def test_instances_of_one_service_are_told_apart_only_where_there_are_several() -> None:
    story = Written()
    story.call("load", at_s=0.0, took_s=2.0)
    story.series = [
        *(series({0.0: 2}, service="users", instance=f"written-users-{number}") for number in range(2)),
        series({0.0: 2}, service="orders", instance="written-orders-0"),
    ]
    (shown,) = drawn(story, BREAKER).states
    assert [lane.name for lane in shown.lanes] == ["orders", "users (users-0)", "users (users-1)"]


def test_a_query_and_the_busy_processors_are_curves() -> None:
    story = Written()
    story.wait(1)
    story.note("engine", "host", sampled_s=1.0, busy=0.5, stolen=0.0)
    story.wait(1)
    story.note("engine", "clean")
    story.queried = {"rate(x[5s])": [Series({}, [(1.5, 3.0)])]}
    query, processors = drawn(story).curves
    assert (query.name, query.lines) == ("rate(x[5s])", (((0.5, 3.0),),))
    assert (processors.lines, processors.most) == ((((0.0, 50.0),),), 100.0)


def test_phases_are_told_in_numbers() -> None:
    story = Written()
    for status in (200, 200, 429, None):
        story.call("burst", status=status, took_s=0.5, error="cut")
    (phase,) = phases(drawn(story))
    assert (phase.requests, phase.ok, phase.failed, phase.unknown) == (4, 2, 1, 1)
    assert (phase.median_s, phase.slowest_s, phase.from_s, phase.to_s) == (0.5, 0.5, 0.0, 2.0)
    assert phase.answers == (("200", 2), ("429", 1), ("cut", 1))


@pytest.mark.parametrize("metric", read_states(ROOT / "scenarios" / "contract.toml"), ids=lambda metric: metric.title)
def test_the_repositorys_contract_names_metrics_that_the_shop_has(metric: StateMetric) -> None:
    assert f'"{metric.metric}"' in (ROOT / "system" / "brownout_shop" / "telemetry" / "metrics.py").read_text()
