"""The deadline's check on written recordings."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from brownout.promises.deadline import Deadline
from brownout.promises.promise import WrongKeyError
from brownout.scenario import Hold, Load, Wait
from brownout.topology import parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

PROMISE = Deadline(
    name="deadline",
    clause="6.2",
    journey="order",
    edge="orders -> users",
    latency_ms=11000,
    ends_after_s=10,
    status=504,
)
TRIPPING = Deadline(
    name="short-deadline",
    clause="6.2",
    journey="order",
    edge="orders -> users",
    latency_ms=4000,
    ends_after_s=1.8,
    status=504,
    deadline_ms=2000,
    trips_for_s=60,
)
TOPOLOGY = parse_topology(
    """
    entry = "orders"
    deadline_header = "X-Timeout-Ms"
    [services.users]
    command = ["users"]
    [services.orders]
    command = ["orders"]
    calls = ["users"]
    """,
    "topology.toml",
)
BOTH = ("orders", "users")


class Run(msgspec.Struct, kw_only=True):
    """A run of the scenario: how each call under the latency ends and how long it takes, then those after it."""

    promise: Deadline = PROMISE
    slow: Sequence[tuple[int, float]] = ((504, 10.0),) * 6
    afterwards: tuple[int, int, int] = (201, 201, 201)
    after_reaches: tuple[str, ...] = BOTH
    entry: str = "orders"
    lift_after_s: float = 16.5
    first_at_s: float = 0.0

    def judged(self) -> Verdict:
        story = Written()
        story.steady("before")
        with story.fault(f"latency {self.promise.latency_ms} ms on orders -> users"):
            begin_s = story.now_s
            for number, (status, took_s) in enumerate(self.slow):
                at_s = begin_s + number + self.first_at_s
                story.call(
                    "slow",
                    at_s=at_s,
                    status=status,
                    took_s=took_s,
                    actor="load",
                    reaches=BOTH,
                    service=self.entry,
                )
            story.wait(self.lift_after_s)
        for status in self.afterwards:
            story.call("afterwards", status=status, reaches=self.after_reaches)
        story.end()
        return self.promise.check(story.recording())


def test_calls_that_end_in_time_and_a_breaker_that_stays_closed_pass() -> None:
    verdict = Run(slow=[(504, 10.0), (504, 10.2), (504, 9.9)]).judged()
    assert verdict.ruling is Ruling.PASS
    assert verdict.reason == (
        "3 of 3 calls ended with 504 after 10 s under 11000 ms of latency; the breaker did not trip"
    )
    assert [str(figure) for figure in verdict.figures] == [
        "shortest 9.90 s (10 ± 0.5 s)",
        "longest 10.20 s (10 ± 0.5 s)",
    ]


def test_a_short_deadline_that_trips_the_breaker_passes_where_that_is_promised() -> None:
    slow = [(504, 1.8)] * 3 + [(504, 1.8), (503, 0.01), (503, 0.01)]
    verdict = Run(promise=TRIPPING, slow=slow, afterwards=(503, 503, 503), after_reaches=("orders",)).judged()
    assert verdict.ruling is Ruling.PASS
    assert verdict.reason == (
        "4 of 4 calls ended with 504 after 1.8 s under 4000 ms of latency; the breaker was open afterwards, 60 s"
    )


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run(slow=[(504, 10.0), (504, 6.0), (504, 10.0)]), "call 2 ended with 504 after 6.00 s, promised 504 after"),
        (Run(slow=[(503, 10.0)] * 3), "call 1 ended with 503 after 10.00 s, promised 504 after 10 s"),
        (Run(slow=[(201, 11.1)] * 3), "call 1 ended with 201 after 11.10 s"),
        (Run(slow=[(504, 10.0)] * 3 + [(503, 0.01)]), "call 4 ended with 503 after 0.01 s"),
        (Run(afterwards=(503, 503, 503)), "a call on the healthy edge ended with 503, promised to pass"),
        (
            Run(promise=TRIPPING, slow=[(504, 1.8)] * 6),
            "a call reached users 0.0 s after the lift, promised a tripped breaker",
        ),
        (
            Run(promise=TRIPPING, slow=[(504, 1.8)] * 6, afterwards=(503, 503, 503)),
            "a call reached users 0.0 s after the lift",
        ),
        (Run(promise=TRIPPING, slow=[(503, 0.01)] * 6), "call 1 ended with 503 after 0.01 s"),
    ],
)
def test_a_broken_deadline_fails_and_the_first_offender_is_named(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.FAIL
    assert reason in verdict.reason
    assert verdict.events


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run(slow=[(201, 0.01)] * 6), "no call was slowed by 11000 ms on orders -> users"),
        (Run(slow=[(504, 10.0)] * 2), "only 2 calls were made under the latency"),
        (Run(entry="gateway"), "the journey enters at gateway"),
        (Run(lift_after_s=12.0), "a call was under way when the latency was put on or lifted"),
        (Run(first_at_s=-0.005), "a call was under way when the latency was put on or lifted"),
        (Run(slow=[]), "no requests in the phase 'slow'"),
    ],
)
def test_without_evidence_it_is_inconclusive(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert reason in verdict.reason


def test_a_latency_that_was_never_in_force_is_no_evidence() -> None:
    story = Written()
    for _ in range(3):
        story.call("slow", status=504, took_s=10.0)
    assert PROMISE.check(story.recording()).reason == (
        "latency 11000 ms on orders -> users was in force 0 times instead of once"
    )


def test_a_call_a_second_runs_under_the_latency_and_ends_before_the_lift() -> None:
    held = PROMISE.scenario(TOPOLOGY).steps[0]
    assert isinstance(held, Hold)
    load = held.steps[0]
    assert isinstance(load, Hold)
    assert load.what == Load("slow", "order", rate=1.0, timeout_s=15.0)
    assert load.steps == (Wait(16.0),)


def test_where_the_breaker_trips_the_scenario_waits_until_it_has_closed() -> None:
    assert TRIPPING.scenario(TOPOLOGY).steps[-1] == Wait(60.5, since="slow")


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"edge": "users -> orders"}, "edge"),
        ({"latency_ms": 9000}, "latency_ms"),
        ({"deadline_ms": 2000}, "deadline_ms"),
    ],
)
def test_what_cannot_be_tested_is_refused_by_its_key(changes: dict[str, Any], wrong: str) -> None:
    topology = msgspec.structs.replace(TOPOLOGY, deadline_header="")
    with pytest.raises(WrongKeyError) as refused:
        msgspec.structs.replace(PROMISE, **changes).scenario(topology)
    assert refused.value.key == wrong
