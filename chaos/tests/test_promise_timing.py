"""How long the system itself had a request: its own span, or what the client saw less the client's own delay."""

import pytest

from brownout.promises.promise import BrokenError, NoEvidenceError
from brownout.promises.timing import SIDE, Timing, at_once
from brownout.recording import Recording, Span
from brownout.written import Written


def refusals(*took_s: float, span_s: float | None = None, story: Written | None = None) -> Recording:
    """Refusals that the client saw to take so long; with spans where the service was quicker."""
    story = story or Written()
    for each_s in took_s:
        begun_ns = round(story.now_s * 1e9)
        trace_id = story.call("open", status=503, took_s=each_s)
        if span_s is not None:
            ends_ns = begun_ns + round(span_s * 1e9)
            span_id = f"{len(story.spans):016x}"
            story.spans.append(Span(trace_id, span_id, "", "orders", "POST", "server", begun_ns, ends_ns))
    return story.recording()


def judged(recording: Recording) -> list[str]:
    return [str(figure) for figure in at_once(recording, recording.history.requests("open"), 1.0)]


def test_refusals_at_once_are_kept_however_few_there_are() -> None:
    assert judged(refusals(0.01, 0.02)) == ["slowest refusal 20 ms (at once: 1 s)"]


def test_a_busy_client_never_makes_a_fail_where_the_span_is_short() -> None:
    assert judged(refusals(*[3.0] * 59, span_s=0.004)) == ["slowest refusal 4 ms (at once: 1 s)"]


def test_refusals_that_are_slow_by_their_own_spans_are_broken() -> None:
    with pytest.raises(BrokenError, match="59 of 59 refusals took more than 1 s, at most 10 % may"):
        judged(refusals(*[3.0] * 59, span_s=2.9))


def test_without_a_span_the_client_is_believed_when_it_was_punctual() -> None:
    with pytest.raises(BrokenError, match="20 of 59 refusals took more than 1 s"):
        judged(refusals(*[3.0] * 20, *[0.01] * 39))


def test_without_a_span_a_client_that_was_held_up_itself_makes_no_fail() -> None:
    story = Written()
    recording = refusals(*[1.5] * 59, story=story)
    assert recording.history.requests("open")[-1].answered_ns == round(88.5e9)
    for number in range(59):
        story.now_s = 1.5 * number + 1.2
        story.note("engine", "late", late_s=0.9)
    with pytest.raises(NoEvidenceError, match="59 more may have been"):
        judged(story.recording())


def test_without_a_span_null_calls_that_were_as_slow_excuse_a_refusal() -> None:
    story = Written()
    for number in range(59):
        story.watch(SIDE, at_s=1.5 * number + 0.1, took_s=1.3)
    with pytest.raises(NoEvidenceError, match="59 more may have been"):
        judged(refusals(*[1.5] * 59, story=story))


def test_null_calls_that_came_at_once_excuse_nothing() -> None:
    story = Written()
    for number in range(59):
        story.watch(SIDE, at_s=1.5 * number + 0.1)
    with pytest.raises(BrokenError):
        judged(refusals(*[1.5] * 59, story=story))


def test_one_slow_refusal_of_many_is_borne_and_told() -> None:
    _, share = judged(refusals(3.0, *[0.01] * 99))
    assert share == "refusals took more than 1 s 1 % of 100 (interval 0.01 to 7.20; at most 10 %)"


def test_a_slow_refusal_of_few_is_not_known_to_be_one_of_many() -> None:
    with pytest.raises(NoEvidenceError, match="about 236 like them would decide"):
        judged(refusals(3.0, *[0.01] * 19))


def test_no_refusal_is_no_evidence() -> None:
    with pytest.raises(NoEvidenceError, match="no call was refused"):
        at_once(Written().recording(), [], 1.0)


def test_the_first_span_of_the_service_that_was_asked_tells_and_no_other() -> None:
    story = Written()
    trace_id = story.call("open", took_s=3.0)
    for service, from_s, to_s in (("users", 0.1, 2.9), ("orders", 0.2, 0.3), ("orders", 0.05, 1.05)):
        span_id = f"{len(story.spans):016x}"
        times_ns = (round(from_s * 1e9), round(to_s * 1e9))
        story.spans.append(Span(trace_id, span_id, "", service, "GET", "server", *times_ns))
    recording = story.recording()
    took = Timing(recording).took(recording.history.requests()[0])
    assert (took.least_s, took.most_s) == (1.0, 3.0)


def test_what_is_late_only_by_a_busy_clients_clock_is_not_known() -> None:
    recording = refusals(3.0, span_s=0.5)
    with pytest.raises(
        NoEvidenceError, match=r"took 3\.00 s by the client's clock, of which the system had it 0\.50 s"
    ):
        Timing(recording).late(recording.history.requests(), 1.0)


def test_one_that_is_surely_late_is_told_though_others_are_in_doubt() -> None:
    story = Written()
    refusals(3.0, span_s=0.5, story=story)
    recording = refusals(3.0, span_s=2.0, story=story)
    assert Timing(recording).late(recording.history.requests(), 1.0) == [recording.history.requests()[1]]


def test_a_refusal_is_as_quick_as_the_service_that_refused_not_as_the_one_on_its_way() -> None:
    story = Written()
    trace_id = story.call("open", status=429, took_s=2.0)
    for service, from_s, to_s in (("orders", 0.05, 1.95), ("users", 0.1, 0.12)):
        times_ns = (round(from_s * 1e9), round(to_s * 1e9))
        story.spans.append(Span(trace_id, f"{len(story.spans):016x}", "", service, "GET", "server", *times_ns))
    recording = story.recording()
    refused = recording.history.requests()
    assert [str(figure) for figure in at_once(recording, refused, 1.0, by="users")] == [
        "slowest refusal 20 ms (at once: 1 s)"
    ]
    with pytest.raises(NoEvidenceError, match="100 % of 1"):
        at_once(recording, refused, 1.0)
