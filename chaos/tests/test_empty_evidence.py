"""Empty evidence never passes, whatever the kind: no load, idle faults, no samples, and histories that lack a part."""

import random
from collections.abc import Callable, Iterable
from functools import cache
from typing import get_args

import msgspec
import pytest

import test_promise_consumer
import test_promise_registration
import test_promises_performed
import test_promises_performed_configuration
import test_promises_performed_edges
import test_promises_performed_events
from brownout.history import Event, History, Outcome
from brownout.judge import judged
from brownout.promises.contract import Kind
from brownout.promises.promise import Checked
from brownout.recording import Recording
from brownout.scripts import Story, hold, latency, load, script, wait
from brownout.verdict import Ruling
from brownout.written import Written

ORDERS = test_promises_performed
EDGES = test_promises_performed_edges
EVENTS = test_promises_performed_events

ASKED_ORDERS = ("breaker", "half-open", "mistakes", "deadline", "short-deadline", "health", "drain", "long-drain")

KEPT = {
    **dict.fromkeys((*ASKED_ORDERS, "limit"), ORDERS),
    **dict.fromkeys(("mild", "isolation", "recovery", "discovery"), EDGES),
    **dict.fromkeys(("events", "outbox", "tracing"), EVENTS),
    "answer": test_promises_performed_configuration,
    "consumer": test_promise_consumer,
    "registration": test_promise_registration,
}
"""A promise of every kind that a contract can state, and the performance that knows it."""

BROKEN: dict[str, Callable[[], tuple[Checked, Recording]]] = {
    "breaker": lambda: ORDERS.recorded("breaker", open_s=30.0),
    "deadline": lambda: ORDERS.recorded("deadline", deadline_s=5.0),
    "limit": lambda: ORDERS.recorded("limit", rps=7.0),
    "long-drain": lambda: ORDERS.recorded("long-drain", cuts_after_s=3.0),
    "mild": lambda: EDGES.recorded("mild", "impatient"),
    "isolation": lambda: EDGES.recorded("isolation", "waits"),
    "recovery": lambda: EDGES.recorded("recovery", "hangs"),
    "discovery": lambda: EDGES.recorded("discovery", "notices late"),
    "events": lambda: EVENTS.recorded("events", "repeats"),
    "outbox": lambda: EVENTS.recorded("outbox", "blind"),
    "tracing": lambda: EVENTS.recorded("tracing", "forgets"),
}

NO_FAULT = {"limit", "mistakes", "registration", "tracing"}
NOT_ON_AN_EDGE = {*NO_FAULT, "discovery", "script", "answer"}
"""Where no request goes over the edge, its canary alone can tell."""

STEADY = {"arrange", "before", "after"}


@script(steady="order")
def buying_goes_on() -> Story:
    """Whoever buys is served although users is slow."""
    seen = yield (hold(load("buying", "order", rate=2), hold(latency("orders -> users", 1), wait(3))),)
    seen.none_failed("buying")


def told() -> tuple[Checked, Recording]:
    """A script's run, written by hand."""
    story = Written()
    story.steady("before")
    with story.step("buying"), story.fault("latency 1000 ms on orders -> users"):
        for _ in range(6):
            story.call("buying", actor="load", took_s=1.1, reaches=("orders", "users"))
    story.end()
    return buying_goes_on, story.recording()


@cache
def kept(name: str) -> tuple[Checked, Recording]:
    return told() if name == "script" else KEPT[name].recorded(name)


@cache
def broken(name: str) -> tuple[Checked, Recording]:
    return BROKEN[name]()


def having(recording: Recording, events: Iterable[Event]) -> Recording:
    return msgspec.structs.replace(recording, history=History(events))


def without(recording: Recording, unwanted: Callable[[Event], bool]) -> Recording:
    """A recording in which some events never were."""
    return numbered(recording, [event for event in recording.history if not unwanted(event)])


def numbered(recording: Recording, events: list[Event]) -> Recording:
    """A recording of other events, numbered anew."""
    places = {event.index: place for place, event in enumerate(events) if event.index >= 0}
    return having(
        recording,
        [
            msgspec.structs.replace(event, index=place, of=places.get(event.of, -1))
            for place, event in enumerate(events)
        ],
    )


every_kind = pytest.mark.parametrize("name", [*KEPT, "script"])


def test_every_kind_of_promise_is_here() -> None:
    assert {type(kept(name)[0]) for name in KEPT} == set(get_args(Kind))


@every_kind
def test_the_whole_recording_passes(name: str) -> None:
    verdict = judged(*kept(name))
    assert verdict.ruling is Ruling.PASS, verdict.reason


@every_kind
def test_a_history_that_breaks_off_anywhere_rules_nothing(name: str) -> None:
    promise, whole = kept(name)
    events = whole.history.events
    for end in range(len(events)):
        verdict = judged(promise, having(whole, events[:end]))
        assert verdict.ruling is Ruling.INCONCLUSIVE, (end, events[end], verdict.reason)


@every_kind
def test_no_part_of_a_history_breaks_a_promise_that_the_whole_keeps(name: str) -> None:
    promise, whole = kept(name)
    events = whole.history.events
    for end in range(len(events)):
        verdict = promise.check(having(whole, events[:end]))
        assert verdict.ruling is not Ruling.FAIL, (end, events[end], verdict.reason)


@every_kind
def test_nothing_passes_by_the_first_half_of_its_requests(name: str) -> None:
    promise, whole = kept(name)
    events = whole.history.events
    asked = [
        event.index for event in events if event.actor in {"calls", "load", "watch"} and event.action not in STEADY
    ]
    for end in range(asked[len(asked) // 2]):
        assert promise.check(having(whole, events[:end])).ruling is Ruling.INCONCLUSIVE, end


@pytest.mark.parametrize("name", BROKEN)
def test_a_history_of_a_broken_promise_that_breaks_off_rules_nothing(name: str) -> None:
    promise, whole = broken(name)
    assert judged(promise, whole).ruling is Ruling.FAIL
    for end in range(len(whole.history)):
        assert judged(promise, having(whole, whole.history.events[:end])).ruling is Ruling.INCONCLUSIVE


@every_kind
def test_a_history_with_a_gap_anywhere_rules_nothing(name: str) -> None:
    promise, whole = kept(name)
    events, chance = whole.history.events, random.Random(name)
    for start in range(len(events) - 1):
        end = chance.randint(start + 1, len(events) - 1)
        verdict = judged(promise, having(whole, events[:start] + events[end:]))
        assert verdict.ruling is Ruling.INCONCLUSIVE, (start, end)


@every_kind
def test_without_load_nothing_passes(name: str) -> None:
    promise, whole = kept(name)
    unasked = without(whole, lambda event: event.actor in {"calls", "load", "watch"} and event.action not in STEADY)
    assert judged(promise, unasked).ruling is Ruling.INCONCLUSIVE
    assert promise.check(unasked).ruling is Ruling.INCONCLUSIVE or name == "outbox"


@pytest.mark.parametrize("name", sorted({*KEPT, "script"} - NO_FAULT))
def test_a_fault_that_is_seen_not_to_act_rules_nothing(name: str) -> None:
    promise, whole = kept(name)
    failed = (
        msgspec.structs.replace(event, outcome=Outcome.FAILED) if event.actor == "canary" and event.of >= 0 else event
        for event in whole.history
    )
    assert judged(promise, having(whole, failed)).ruling is Ruling.INCONCLUSIVE


@pytest.mark.parametrize("name", sorted(KEPT.keys() - NOT_ON_AN_EDGE))
def test_a_fault_that_nobody_feels_never_passes(name: str) -> None:
    promise, recording = ORDERS.recorded(name, numb=True) if KEPT[name] is ORDERS else KEPT[name].recorded(name, "numb")
    verdict = judged(promise, recording)
    assert verdict.ruling is not Ruling.PASS, verdict.reason
    if name not in {"health", "outbox"}:  # whose promise it is to tell of an outage that can be seen to act
        assert verdict.ruling is Ruling.INCONCLUSIVE, verdict.reason


@every_kind
@pytest.mark.parametrize("lost", ["spans", "series"])
def test_without_samples_nothing_passes(name: str, lost: str) -> None:
    promise, whole = kept(name)
    assert judged(promise, msgspec.structs.replace(whole, **{lost: []})).ruling is Ruling.INCONCLUSIVE


BUSY_S = 0.9
"""A client may be held up so long without a word from `punctual`."""


def with_busy_client(whole: Recording, answer: Event) -> Recording:
    """A recording of which one answer was noticed late, because the client was held up."""
    late_ns = answer.at_ns + int(BUSY_S * 1e9)
    late = msgspec.structs.replace(answer, at_ns=late_ns)
    held_up = Event(-1, late_ns, "engine", "late", Outcome.OK, detail={"late_s": BUSY_S})
    events = [late if event is answer else event for event in whole.history]
    return numbered(whole, sorted([*events, held_up], key=lambda event: event.at_ns))


@every_kind
def test_a_busy_client_never_makes_a_fail(name: str) -> None:
    promise, whole = kept(name)
    answers = [
        event
        for event in whole.history
        if event.of >= 0 and event.actor in {"calls", "load", "watch"} and event.action not in STEADY
    ]
    for answer in answers[:: max(1, len(answers) // 100)]:
        verdict = judged(promise, with_busy_client(whole, answer))
        assert verdict.ruling is not Ruling.FAIL, (answer, verdict.reason)
