"""The circuit breaker's check on written recordings, and the script it has performed."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from brownout.promises.breaker import CircuitBreaker
from brownout.promises.promise import WrongKeyError
from brownout.promises.trips import Trips
from brownout.scenario import Bytes, Calls, Hold, Wait
from brownout.topology import Edge, parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

PROMISE = CircuitBreaker(
    name="breaker",
    clause="6.2",
    journey="order",
    edge="orders -> users",
    trips=Trips(requests=3, failure_ratio=0.6, interval_s=10),
    open_s=60,
    half_open_requests=3,
)
TOPOLOGY = parse_topology(
    """
    entry = "orders"
    [services.users]
    command = ["users"]
    [services.orders]
    command = ["orders"]
    calls = ["users"]
    env = { DATABASE_URL = "{postgres}" }
    """,
    "topology.toml",
)
BOTH = ("orders", "users")
CALLER = ("orders",)
OUTAGE = "outage of orders -> users"
LATENCY = "latency 2000 ms on orders -> users"


class Run(msgspec.Struct, kw_only=True):
    """A run of the scenario, with a field for each way in which it may go."""

    silence_s: float = 10.5
    slow_s: float = 0.01
    good_status: int = 201
    good_reaches: tuple[str, ...] = BOTH
    outage_statuses: tuple[int, int, int] = (503, 503, 503)
    below_after: int = 201
    passes: dict[int, int] = {}
    passed_reaches: tuple[str, ...] = BOTH
    refused_reaches: tuple[str, ...] = CALLER
    refusal_s: float = 0.005
    first_bytes: int = 900
    moved_bytes: int | None = None
    readings: int = 2
    side: int = 200
    sides: int = 3
    last_after_s: float = 59.5
    trial_after_s: float = 60.5
    trial_spread_s: float = 0.0
    lets: int = 3
    succeed: int = 20
    trial_refused: tuple[str, ...] = CALLER
    trial_reaches: tuple[str, ...] = BOTH
    closed_status: int = 201
    entry: str = "orders"

    def judged(self) -> Verdict:
        story = Written()
        story.steady("before")
        story.wait(self.silence_s)
        self.window(story, "below", 2)
        story.call("below: after", status=self.below_after, reaches=BOTH if self.below_after < 300 else CALLER)
        story.wait(self.silence_s)
        self.window(story, "trip", 3)
        trip_s = story.now_s
        self.open(story, trip_s)
        story.now_s = trip_s + self.trial_after_s - 0.01
        self.trial(story)
        for number in range(10):
            status = self.closed_status if number == 4 else 201
            story.call("closed", at_s=story.now_s, status=status, reaches=BOTH)
        story.end()
        return PROMISE.check(story.recording())

    def window(self, story: Written, stage: str, failing: int) -> None:
        for _ in range(2):
            story.call(f"{stage}: passing", status=self.good_status, reaches=self.good_reaches, service=self.entry)
        with story.fault(OUTAGE):
            for status in self.outage_statuses[:failing]:
                story.call(f"{stage}: failing", status=status, reaches=CALLER, took_s=self.slow_s)

    def open(self, story: Written, trip_s: float) -> None:
        story.note("bytes", "orders -> users", upstream=self.first_bytes, downstream=0)
        for number in range(self.sides):
            story.watch("side", at_s=trip_s + 1 + number, status=self.side)
        story.watch("side", at_s=trip_s + 59, took_s=None)
        for number in range(1, 60):
            story.call(
                "open" if number < 59 else "open: last",
                at_s=trip_s + (number if number < 59 else self.last_after_s),
                status=self.passes.get(number, 503),
                took_s=self.refusal_s,
                reaches=self.passed_reaches if number in self.passes else self.refused_reaches,
            )
        story.now_s = trip_s + 60
        moved = 300 * len(self.passes) if self.moved_bytes is None else self.moved_bytes
        for _ in range(self.readings - 1):
            story.note("bytes", "orders -> users", upstream=self.first_bytes + moved, downstream=0)

    def trial(self, story: Written) -> None:
        with story.fault(LATENCY):
            for number in range(20):
                let = number < self.lets
                story.call(
                    "half-open",
                    at_s=story.now_s + number * self.trial_spread_s,
                    status=201 if let and number < self.succeed else 503,
                    took_s=2.01 if let else 0.01,
                    reaches=self.trial_reaches if let else self.trial_refused,
                )
            story.wait(3)


def test_a_breaker_as_promised_passes_with_its_figures() -> None:
    verdict = Run().judged()
    assert verdict.ruling is Ruling.PASS
    assert verdict.reason == (
        "tripped by call 5, refused 59 of 59 in 59.5 s while nothing reached users, half-open let 3 of 20 pass, closed"
    )
    assert [str(figure) for figure in verdict.figures] == [
        "refused 59 calls (all of 59)",
        "slowest refusal 0.01 s (at once: 1 s)",
        "half-open let pass 3 calls (exactly 3)",
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"below_after": 503},
            (
                "2 failures in 4 calls: the next call, on the healthy edge, ended with 503; "
                "promised to trip at 3 requests of which 0.6 failed and not before"
            ),
        ),
        (
            {"passes": dict.fromkeys(range(1, 60), 201)},
            (
                "3 failures in 5 calls did not trip it: the next call reached users; "
                "promised to trip at 3 requests of which 0.6 failed"
            ),
        ),
        (
            {"passes": dict.fromkeys(range(31, 60), 201)},
            "call 31 reached users 31.0 s after the trip, promised 60 s",
        ),
        ({"passes": {7: 500}}, "call 7 reached users 7.0 s after the trip, promised 60 s"),
        (
            {"passes": {7: 201}, "passed_reaches": CALLER, "moved_bytes": 0},
            "call 7 was answered 201 7.0 s after the trip, promised 60 s",
        ),
        ({"refusal_s": 1.2, "last_after_s": 58.5}, "59 of 59 refusals took more than 1 s, promised at once"),
        (
            {"lets": 5},
            "half-open let 5 of 20 calls reach users, 5 succeeded; promised exactly 3",
        ),
        (
            {"lets": 3, "succeed": 2},
            "half-open let 3 of 20 calls reach users, 2 succeeded; promised exactly 3",
        ),
        ({"lets": 0}, "60.5 s after the trip no call was let through, promised after 60 s"),
        (
            {"closed_status": 503},
            "1 of 10 calls failed after 3 successes on trial, the first with 503; promised to close orders -> users",
        ),
    ],
)
def test_a_broken_breaker_fails_and_the_first_offender_is_named(changes: dict[str, Any], reason: str) -> None:
    verdict = Run(**changes).judged()
    assert (verdict.ruling, verdict.reason) == (Ruling.FAIL, reason)
    assert verdict.events
    assert verdict.traces


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"outage_statuses": (201, 201, 201)}, "2 of 2 calls succeeded during the outage of orders -> users"),
        ({"outage_statuses": (201, 201, 201), "good_reaches": CALLER}, "the journey does not use the edge"),
        ({"outage_statuses": (503, 503, 201)}, "1 of 3 calls succeeded during the outage"),
        ({"good_status": 500}, "a call failed with 500 before the outage"),
        ({"good_reaches": CALLER}, "2 calls that passed show no span of users"),
        ({"entry": "gateway"}, "the journey enters at gateway; it must enter at orders"),
        ({"silence_s": 9.0}, "s of silence before the first call of a window"),
        ({"slow_s": 4.0}, "the calls of one window took 12.0 s: the machine is too slow"),
        ({"last_after_s": 60.2}, "1 calls that were due while it was open came later"),
        ({"sides": 0}, "nobody asked users on the side"),
        ({"side": 503}, "users itself gave 503 on the side, 0.0 s after the first refusal"),
        ({"refused_reaches": ()}, "59 refused calls have no span of orders"),
        ({"moved_bytes": 120}, "the counts disagree: 0 refused calls have spans of users"),
        ({"passes": {7: 503}, "moved_bytes": 0}, "the counts disagree: 1 refused calls have spans of users"),
        ({"first_bytes": 0}, "orders -> users carried no bytes when calls passed"),
        ({"readings": 1}, "were read 1 times instead of twice"),
        ({"trial_after_s": 59.9}, "the trial calls came after 59.9 s"),
        ({"trial_spread_s": 0.2}, "a trial call was sent after another had ended"),
        ({"trial_refused": ()}, "not all trial calls have a span of orders"),
        ({"trial_reaches": CALLER}, "3 trial calls passed, only 0 have a span of users"),
    ],
)
def test_without_evidence_it_is_inconclusive_and_says_what_is_missing(changes: dict[str, Any], reason: str) -> None:
    verdict = Run(**changes).judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert reason in verdict.reason


def test_an_empty_recording_is_inconclusive() -> None:
    verdict = PROMISE.check(Written().recording())
    assert (verdict.ruling, verdict.reason) == (
        Ruling.INCONCLUSIVE,
        "no requests in the phase 'below: passing'",
    )


def test_a_journey_of_several_requests_is_inconclusive() -> None:
    story = Written()
    for _ in range(4):
        story.call("below: passing", reaches=BOTH)
    assert "4 requests in the phase 'below: passing' instead of 2" in PROMISE.check(story.recording()).reason


def test_a_request_without_an_end_is_no_evidence() -> None:
    story = Written()
    story.call("below: passing", reaches=BOTH)
    story.call("below: passing", reaches=BOTH, took_s=None)
    assert "has no end" in PROMISE.check(story.recording()).reason


@pytest.mark.parametrize(
    ("requests", "ratio", "script"),
    [(3, 0.6, (2, 3)), (4, 0.5, (2, 2)), (1, 1.0, (0, 1)), (5, 1.0, (0, 5)), (10, 0.3, (7, 3)), (40, 0.5, (20, 20))],
)
def test_the_script_reaches_the_documented_ratio_exactly(requests: int, ratio: float, script: tuple[int, int]) -> None:
    assert Trips(requests=requests, failure_ratio=ratio, interval_s=10).boundary() == script


def test_a_ratio_that_no_short_script_meets_is_approached_from_above() -> None:
    passing, failing = Trips(requests=3, failure_ratio=0.617, interval_s=10).boundary()
    assert 0.617 <= failing / (passing + failing) < 0.64
    assert (failing - 1) / (passing + failing - 1) < 0.617


def test_the_scenario_is_the_documented_one_call_by_call() -> None:
    steps = PROMISE.scenario(TOPOLOGY).steps
    kinds = [step.phase if isinstance(step, Calls) else type(step).__name__ for step in steps]
    assert kinds == [
        *("Wait", "below: passing", "Hold", "below: after"),
        *("Wait", "trip: passing", "Hold", "Bytes", "Hold", "Bytes"),
        *("Wait", "Hold", "closed"),
    ]
    assert [step.steps[0].count for step in steps if isinstance(step, Hold)] == [2, 3, 58, 20]
    assert all(first != second for first, second in pairwise(kinds))
    assert steps[7] == Bytes(Edge("orders", "users"))
    assert steps[10] == Wait(60.5, since="trip: failing")


def test_a_breaker_that_trips_at_the_first_failure_has_no_outage_below_the_boundary() -> None:
    promise = CircuitBreaker(
        name="breaker",
        clause="6.2",
        journey="order",
        edge="orders -> users",
        trips=Trips(requests=1, failure_ratio=1, interval_s=10),
        open_s=5,
        half_open_requests=12,
    )
    steps = promise.scenario(TOPOLOGY).steps
    assert [type(step).__name__ for step in steps[:4]] == ["Wait", "Calls", "Wait", "Hold"]
    assert promise.check(Written().recording()).reason == "no requests in the phase 'below: after'"


@pytest.mark.parametrize(
    ("edge", "open_s", "wrong"),
    [("users -> orders", 60, "edge"), ("orders -> postgres", 60, "edge"), ("orders -> users", 0.5, "open_s")],
)
def test_what_cannot_be_tested_is_refused_by_its_key(edge: str, open_s: float, wrong: str) -> None:
    promise = CircuitBreaker(
        name="breaker",
        clause="6.2",
        journey="order",
        edge=edge,
        trips=Trips(requests=3, failure_ratio=0.6, interval_s=10),
        open_s=open_s,
        half_open_requests=3,
    )
    with pytest.raises(WrongKeyError) as refused:
        promise.scenario(TOPOLOGY)
    assert refused.value.key == wrong
