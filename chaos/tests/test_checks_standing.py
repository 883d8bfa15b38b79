"""The standing checks on written recordings: each says in words why nothing can be ruled."""

import msgspec
import pytest

from brownout.checks import excuse, missing_evidence, missing_recovery
from brownout.history import History, Outcome
from brownout.recording import Recording, Series, Span
from brownout.written import Written

FAULT = "outage of orders -> users"
REACHED = ("orders", "users")


@pytest.fixture
def story() -> Written:
    """A run begun well: steady, then a call under a fault."""
    story = Written()
    story.steady("before")
    with story.fault(FAULT):
        story.call("failing", status=503)
    return story


def test_a_whole_recording_lacks_nothing(story: Written) -> None:
    story.end()
    assert missing_evidence(story.recording()) == []
    assert missing_recovery(story.recording()) is None


def test_an_aborted_scenario_says_why(story: Written) -> None:
    story.note("engine", "aborted", Outcome.FAILED, why="longer than 150 s")
    story.end()
    assert missing_evidence(story.recording()) == ["the scenario was not finished: longer than 150 s"]


def test_a_history_that_breaks_off_has_no_end(story: Written) -> None:
    assert missing_evidence(story.recording()) == ["the scenario has no end: nobody saw that the cell was left clean"]


def test_a_history_that_lost_lines_has_a_gap(story: Written) -> None:
    story.end()
    whole = story.recording()
    lost = msgspec.structs.replace(whole, history=History(whole.history.events[:4] + whole.history.events[5:]))
    assert "the history has a gap: event 4 is missing" in missing_evidence(lost)


def test_faults_left_in_the_cell_are_named(story: Written) -> None:
    story.note("engine", "clean", Outcome.FAILED, left=["latency on orders -> users"])
    assert missing_evidence(story.recording()) == ["faults were left in the cell: latency on orders -> users"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"entered": False}, "was not put in force"),
        ({"canary": None}, "was put in force, but nobody looked whether it acts"),
        ({"canary": Outcome.FAILED, "seen": "answered after 0.001 s"}, "did not bite: answered after 0.001 s"),
        ({"canary": Outcome.UNKNOWN, "seen": "too early"}, "was not seen to bite: too early"),
        ({"lifted": False}, "was not lifted"),
    ],
)
def test_a_fault_that_did_not_go_as_it_should_is_named(how: dict[str, object], reason: str) -> None:
    story = Written()
    story.steady("before")
    with story.fault(FAULT, **how):
        story.call("failing", status=503)
    story.end()
    assert missing_evidence(story.recording()) == [f"{FAULT} {reason}"]


def test_a_load_that_was_sent_late_is_not_offered(story: Written) -> None:
    for number in range(30):
        story.call("load", actor="load", late_s=0.7 if number == 7 else 0.2, reaches=REACHED)
    story.end()
    assert missing_evidence(story.recording()) == [
        (
            "the load was not offered: of 37 requests 1 were sent more than 0.5 s late (the worst 0.70 s) "
            "and 0 were dropped"
        )
    ]


def test_one_late_request_in_a_hundred_is_borne(story: Written) -> None:
    for number in range(100):
        story.call("load", actor="load", late_s=0.7 if number == 7 else 0.0, reaches=REACHED)
    story.end()
    assert missing_evidence(story.recording()) == []


def test_a_watch_that_asked_late_is_not_offered_either(story: Written) -> None:
    story.watch("health", at_s=story.now_s, late_s=1)
    story.end()
    (reason,) = missing_evidence(story.recording())
    assert reason.startswith("the load was not offered: of 8 requests 1 were sent more than 0.5 s late (the worst 1.00")


def test_a_harness_that_was_held_up_itself_has_measured_nothing(story: Written) -> None:
    for late_s in (0.2, 1.61, 0.26):
        story.note("engine", "late", late_s=late_s)
    story.end()
    assert missing_evidence(story.recording()) == ["the machine was starved: the harness itself was held up for 1.61 s"]


def test_a_harness_that_was_hardly_late_is_fit_to_measure(story: Written) -> None:
    story.note("engine", "late", late_s=0.25)
    story.end()
    assert missing_evidence(story.recording()) == []


def host(story: Written, seconds: int, *, busy: float = 1.0, late: bool = True, stolen: float = 0.0) -> None:
    for _ in range(seconds):
        story.wait(0.5)
        if late:
            story.note("engine", "late", late_s=0.2)
        story.wait(0.5)
        story.note("engine", "host", sampled_s=1.0, busy=busy, stolen=stolen)


def test_a_host_that_was_starved_for_long_excuses(story: Written) -> None:
    host(story, 11)
    reason = "the machine was starved: for 11 s nothing of its processors was left, and the harness was late"
    assert excuse(story.recording()) == reason


@pytest.mark.parametrize(
    "how", [{"busy": 0.9}, {"late": False}, {"stolen": 0.05, "busy": 0.95}], ids=["not full", "not late", "stolen from"]
)
def test_a_host_that_was_only_busy_excuses_nothing(story: Written, how: dict[str, float]) -> None:
    host(story, 60, **how)
    assert excuse(story.recording()) is None


def test_starved_seconds_with_a_pause_between_them_excuse_nothing(story: Written) -> None:
    for _ in range(5):
        host(story, 8)
        host(story, 1, busy=0.8)
    assert excuse(story.recording()) is None


def test_a_host_whose_time_went_elsewhere_excuses(story: Written) -> None:
    host(story, 20, busy=0.7, late=False, stolen=0.3)
    reason = "the machine was starved: 30 % of its processors' time was given to others"
    assert excuse(story.recording()) == reason


def kept_waiting(story: Written, waits_s: dict[int, float], took_s: float = 3.0) -> Recording:
    """A call that begins in the third second, and how long a service waited in each."""
    begun_s = story.now_s
    story.call("load", at_s=begun_s + 2.1, took_s=took_s, status=504, reaches=REACHED)
    for second in range(5 + round(took_s)):
        story.wait(1.0)
        kept = {"orders-0": waits_s[second], "users-0": 0.1} if second in waits_s else {}
        story.note("engine", "host", sampled_s=1.0, busy=0.8, stolen=0.0, kept_waiting=kept)
    return story.recording()


@pytest.mark.parametrize(
    ("waits_s", "told"),
    [({2: 0.6}, "0.60 s"), ({1: 0.5}, "0.50 s"), ({3: 0.3, 4: 0.4}, "0.70 s"), ({4: 6.5}, "1.00 s")],
)
def test_a_service_that_was_kept_waiting_for_a_processor_meanwhile_excuses(
    story: Written, waits_s: dict[int, float], told: str
) -> None:
    recording = kept_waiting(story, waits_s)
    reason = f"the machine was starved: orders-0 waited {told} for a processor at that time"
    (late,) = recording.history.requests("load")
    for event in (late.invoked, late.completed):
        assert event
        assert excuse(recording, [event.index]) == reason


@pytest.mark.parametrize("waits_s", [{}, {3: 0.3}, {2: 0.4, 4: 0.4}, {0: 0.9}, {7: 0.9}])
def test_a_service_that_hardly_waited_or_at_another_time_excuses_nothing(
    story: Written, waits_s: dict[int, float]
) -> None:
    recording = kept_waiting(story, waits_s)
    (late,) = recording.history.requests("load")
    assert excuse(recording, [late.invoked.index]) is None
    assert excuse(kept_waiting(story, {4: 0.9})) is None


@pytest.mark.parametrize(("took_s", "waited_s", "reasons"), [(10, 0.5, 1), (16, 0.7, 0), (16, 0.9, 1)])
def test_what_took_long_did_not_for_a_short_wait(story: Written, took_s: float, waited_s: float, reasons: int) -> None:
    recording = kept_waiting(story, {4: waited_s}, took_s)
    (late,) = recording.history.requests("load")
    assert [excuse(recording, [late.invoked.index])].count(None) == 1 - reasons


@pytest.mark.parametrize(("off_s", "told"), [(-3600.0, "3600.00 s"), (-0.2, "0.20 s"), (2.0, "1.99 s")])
def test_services_with_another_time_are_no_evidence(story: Written, off_s: float, told: str) -> None:
    story.end()
    story.spans = [moved(span, off_s) for span in story.spans]
    (reason,) = missing_evidence(story.recording())
    assert reason.startswith(f"clocks differ by {told} or more")


def test_clocks_may_differ_by_less_than_can_matter(story: Written) -> None:
    story.end()
    story.spans = [moved(span, -0.04) for span in story.spans]
    assert missing_evidence(story.recording()) == []


def test_what_a_service_does_after_the_answer_says_nothing_of_its_clock(story: Written) -> None:
    trace_id = story.call("load", reaches=("orders",))
    story.wait(5)
    story.span(trace_id, "look up", service="users", kind="server")
    story.span(trace_id, "send", service="orders", kind="consumer")
    story.end()
    assert missing_evidence(story.recording()) == []


def moved(span: Span, by_s: float) -> Span:
    times_ns = {"start_ns": span.start_ns + round(by_s * 1e9), "end_ns": span.end_ns + round(by_s * 1e9)}
    return msgspec.structs.replace(span, **times_ns)


def test_dropped_arrivals_are_load_that_was_not_offered(story: Written) -> None:
    story.note("load", "load", Outcome.FAILED, dropped=True, due_ns=0)
    story.end()
    assert "and 1 were dropped" in missing_evidence(story.recording())[0]


def test_a_run_in_which_nothing_was_asked_shows_nothing() -> None:
    story = Written()
    story.steady("before")
    story.end()
    assert missing_evidence(story.recording()) == ["nothing was asked of the system while it was put to the test"]


def test_a_watch_is_something_that_was_asked() -> None:
    story = Written()
    story.steady("before")
    story.watch("health", at_s=story.now_s)
    story.wait(1)
    story.end()
    assert missing_evidence(story.recording()) == []


@pytest.mark.parametrize("series", [[], [Series({"__name__": "up"}, [])]])
def test_no_metrics_are_no_evidence(story: Written, series: list[Series]) -> None:
    story.end()
    story.series = series
    assert missing_evidence(story.recording()) == ["no metrics were collected"]


def test_no_traces_are_no_evidence(story: Written) -> None:
    story.end()
    story.spans.clear()
    assert missing_evidence(story.recording()) == ["no traces were collected"]


def test_a_system_that_shows_neither_lacks_neither(story: Written) -> None:
    story.end()
    story.traced = False
    assert missing_evidence(story.recording()) == []


def test_requests_without_a_trace_are_no_evidence(story: Written) -> None:
    story.call("load")
    story.end()
    assert missing_evidence(story.recording()) == ["only 6 of 7 requests that succeeded have a trace"]


@pytest.mark.parametrize(
    ("statuses", "good"), [((201, 503, 201), "2 of 3"), ((201, 201), "2 of 3"), ((503,) * 4, "0 of 4")]
)
def test_a_system_that_was_unwell_before_is_told(statuses: tuple[int, ...], good: str) -> None:
    story = Written()
    story.steady("before", *statuses)
    story.call("failing", reaches=REACHED)
    story.end()
    assert missing_evidence(story.recording()) == [f"not steady before the first fault: {good} calls succeeded"]


@pytest.mark.parametrize(("statuses", "row"), [((503,) * 5, 0), ((201, 201, 503, 201, 201), 2), ((201, 201), 2)])
def test_a_system_that_does_not_come_back_is_told(statuses: tuple[int, ...], row: int) -> None:
    story = Written()
    story.steady("after", *statuses)
    reason = f"not steady again at the end: only the last {row} of {len(statuses)} calls succeeded, not 3"
    assert missing_recovery(story.recording()) == reason


def test_a_system_that_comes_back_after_some_failures_is_well() -> None:
    story = Written()
    story.steady("after", 503, 201, 503, 201, 201, 201)
    assert missing_recovery(story.recording()) is None


def test_all_reasons_are_given_together() -> None:
    assert missing_evidence(Written().recording()) == [
        "the scenario has no end: nobody saw that the cell was left clean",
        "not steady before the first fault: 0 of 3 calls succeeded",
        "nothing was asked of the system while it was put to the test",
    ]
