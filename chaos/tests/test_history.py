"""The history: begun and ended belong together, and nothing is guessed about what has no end."""

import pytest

from brownout.history import Outcome, Recorder


@pytest.fixture
def recorder() -> Recorder:
    clock = iter(range(0, 10**12, 10**9))
    return Recorder(lambda: next(clock))


def test_an_operation_is_an_event_and_the_one_that_ends_it(recorder: Recorder) -> None:
    first = recorder.begin("calls", "trip", trace_id="ab")
    second = recorder.begin("calls", "trip")
    recorder.end(second, Outcome.FAILED, status=502)
    recorder.end(first, Outcome.OK, status=200)
    one, two = recorder.history.operations("calls", "trip")
    assert (one.ok, one.status, one.duration_s, one.trace_id) == (True, 200, 3.0, "ab")
    assert (two.outcome, two.status, two.duration_s) == (Outcome.FAILED, 502, 1.0)


def test_what_has_no_end_is_an_open_question(recorder: Recorder) -> None:
    recorder.begin("calls", "trip")
    (operation,) = recorder.history.operations("calls")
    assert operation.outcome is Outcome.UNKNOWN
    assert not operation.ok
    assert operation.answered_ns is None
    assert operation.status is None
    assert operation.duration_s == float("inf")


def test_requests_are_scripted_calls_and_load_together(recorder: Recorder) -> None:
    for actor in ("load", "calls", "fault"):
        recorder.begin(actor, "x")
    assert [operation.invoked.actor for operation in recorder.history.requests()] == ["load", "calls"]


def test_a_note_stands_alone(recorder: Recorder) -> None:
    begun = recorder.begin("bytes", "edge")
    recorder.end(begun, Outcome.OK)
    recorder.note("bytes", "edge", upstream=5)
    assert [event.detail for event in recorder.history.alone("bytes")] == [{"upstream": 5}]


def test_every_event_goes_to_the_sink_as_it_happens() -> None:
    kept: list[int] = []
    recorder = Recorder(lambda: 7, lambda event: kept.append(event.index))
    recorder.note("engine", "clean")
    recorder.begin("calls", "trip")
    assert kept == [0, 1]
