"""The circuit breaker's check on written recordings, and the script it has performed."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from brownout.faults import Terminated
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
    few_status: int = 503
    few_after: dict[int, int] = {}
    below_status: int = 503
    below_after: int = 201
    lost_reaches: tuple[str, ...] = CALLER
    trip_every_s: float = 4.5
    trip_statuses: tuple[int, int, int] = (503, 503, 503)
    passes: dict[int, int] = {}
    passed_reaches: tuple[str, ...] = BOTH
    refused_reaches: tuple[str, ...] = CALLER
    refused_status: int | None = 503
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
    trial_s: float = 2.01
    trial_refused: tuple[str, ...] = CALLER
    trial_reaches: tuple[str, ...] = BOTH
    closed_status: int = 201
    again_status: int = 503
    again_took_s: float = 0.01
    again_after: int | None = 503
    entry: str = "orders"
    traced: bool = True
    says_when: dict[int, int | None] | None = None

    def judged(self) -> Verdict:
        story = Written()
        story.traced = self.traced
        story.steady("before")
        story.wait(self.silence_s)
        self.below(story)
        story.wait(self.silence_s)
        self.trip(story)
        trip_s = story.now_s - self.slow_s
        self.open(story, trip_s)
        story.now_s = trip_s + self.trial_after_s - 0.01
        self.trial(story)
        for number in range(10):
            status = self.closed_status if number == 4 else 201
            story.call("closed", at_s=story.now_s, status=status, reaches=BOTH)
        self.again(story)
        story.end()
        promise = msgspec.structs.replace(PROMISE, retry_after=self.says_when is not None)
        return promise.check(story.recording())

    def below(self, story: Written) -> None:
        with story.fault(OUTAGE):
            for _ in range(2):
                story.call("too few", status=self.few_status, reaches=CALLER, took_s=self.slow_s, service=self.entry)
        for number in range(7):
            status = self.few_after.get(number, self.good_status)
            reaches = self.lost_reaches if status >= 300 else self.good_reaches
            story.call("below: passing", status=status, reaches=reaches, service=self.entry)
        with story.fault(OUTAGE):
            for _ in range(8):
                story.call("below: failing", status=self.below_status, reaches=CALLER, took_s=self.slow_s)
        for _ in range(3):
            story.call("below: after", status=self.below_after, reaches=BOTH if self.below_after < 300 else CALLER)

    def trip(self, story: Written) -> None:
        begun_s = story.now_s + 0.01
        with story.fault(OUTAGE):
            for number, status in enumerate(self.trip_statuses):
                story.now_s = max(story.now_s, begun_s + number * self.trip_every_s)
                story.call("trip", status=status, reaches=CALLER, took_s=self.slow_s)

    def again(self, story: Written) -> None:
        with story.fault(OUTAGE):
            for _ in range(15):
                story.call("again", status=self.again_status, reaches=CALLER, took_s=self.again_took_s)
        passes = self.again_after is not None and self.again_after < 300
        story.call("again: after", status=self.again_after, error="cut", reaches=BOTH if passes else CALLER)

    def open(self, story: Written, trip_s: float) -> None:
        story.note("bytes", "orders -> users", upstream=self.first_bytes, downstream=0)
        for number in range(self.sides):
            story.watch("side", at_s=trip_s + 1 + number, status=self.side)
        story.watch("side", at_s=trip_s + 59, took_s=None)
        for number in range(1, 60):
            story.call(
                "open" if number < 59 else "open: last",
                at_s=trip_s + (number if number < 59 else self.last_after_s),
                status=self.passes.get(number, self.refused_status),
                took_s=self.refusal_s,
                reaches=self.passed_reaches if number in self.passes else self.refused_reaches,
                retry_after_s=None if self.says_when is None else self.says_when.get(number, 60 - number),
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
                    took_s=self.trial_s if let else 0.01,
                    reaches=self.trial_reaches if let else self.trial_refused,
                )
            story.wait(3)


def test_a_breaker_as_promised_passes_with_its_figures() -> None:
    verdict = Run().judged()
    assert verdict.ruling is Ruling.PASS
    assert verdict.reason == (
        "not tripped by 10 failures in 17 calls; tripped by call 3 after 9.0 s, refused 59 of 59 in 59.5 s while "
        "nothing reached users, half-open let 3 of 20 pass, closed, tripped by 15 failures in 25 calls"
    )
    assert [str(figure) for figure in verdict.figures] == [
        "refused 59 calls (all of 59)",
        "slowest refusal 5 ms (at once: 1 s)",
        "half-open let pass 3 calls (exactly 3)",
    ]


@pytest.mark.parametrize(
    ("number", "said_s", "reason"),
    [
        (7, None, "a refusal did not say when to come again: 503"),
        (30, 60, "30.0 s after the trip a refusal said to come again in 60 s, promised what is left of 60 s"),
        (30, 28, "30.0 s after the trip a refusal said to come again in 28 s, promised what is left of 60 s"),
    ],
)
def test_a_refusal_that_does_not_say_what_is_left_breaks_it(number: int, said_s: int | None, reason: str) -> None:
    assert Run(says_when={}).judged().ruling is Ruling.PASS
    verdict = Run(says_when={number: said_s}).judged()
    assert (verdict.ruling, verdict.reason) == (Ruling.FAIL, reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"below_after": 503},
            (
                "10 failures in 17 calls: the next call, on the healthy edge, ended with 503; "
                "promised to trip at 3 requests of which 0.6 failed and not before"
            ),
        ),
        (
            {"few_after": dict.fromkeys(range(7), 503)},
            (
                "2 failures in 2 calls: the next call, on the healthy edge, ended with 503; "
                "promised to trip at 3 requests of which 0.6 failed and not before"
            ),
        ),
        (
            {"few_after": dict.fromkeys(range(1, 7), 503)},
            (
                "2 failures in 3 calls: the next call, on the healthy edge, ended with 503; "
                "promised to trip at 3 requests of which 0.6 failed and not before"
            ),
        ),
        (
            {"passes": dict.fromkeys(range(1, 60), 201)},
            (
                "3 failures in 3 calls over 9.0 s did not trip it: the next call reached users; "
                "promised to trip at 3 requests of which 0.6 failed within 10 s"
            ),
        ),
        (
            {"again_after": 201},
            (
                "15 failures in 25 calls did not trip it: the next call reached users; "
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
        ({"refusal_s": 1.2, "last_after_s": 58.5}, "59 of 59 refusals took more than 1 s, at most 10 % may"),
        (
            {"lets": 5},
            "half-open let 5 of 20 calls reach users, 5 succeeded; promised exactly 3",
        ),
        (
            {"lets": 3, "succeed": 2},
            "half-open let 3 of 20 calls reach users, 2 succeeded; promised exactly 3",
        ),
        (
            {"traced": False, "moved_bytes": 120},
            "orders -> users carried 120 bytes while all of 59 calls were refused, promised none",
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
        ({"few_status": 201}, "2 of 2 calls succeeded during the outage of orders -> users"),
        ({"few_status": 201, "good_reaches": CALLER}, "the journey does not use the edge"),
        ({"below_status": 201}, "8 of 8 calls succeeded during the outage"),
        ({"trip_statuses": (503, 503, 201)}, "1 of 3 calls succeeded during the outage"),
        ({"again_status": 201}, "15 of 15 calls succeeded during the outage"),
        ({"good_reaches": CALLER}, "7 calls that passed show no span of users"),
        ({"few_after": {2: 500}, "lost_reaches": BOTH}, "a call that reached users failed with 500"),
        ({"again_took_s": 1.0}, "the calls of one window took 16.0 s: the machine is too slow"),
        ({"again_after": None}, "after 15 failures in 25 calls nobody answered: cut"),
        ({"entry": "gateway"}, "the journey enters at gateway; it must enter at orders"),
        ({"silence_s": 9.0}, "s of silence before the first call of a window"),
        ({"slow_s": 1.1}, "the calls of one window took 11.1 s: the machine is too slow"),
        ({"trip_every_s": 5.1}, "the calls of one window took 10.2 s: the machine is too slow"),
        ({"last_after_s": 60.2}, "1 calls that were due while it was open came later"),
        ({"sides": 0}, "nobody asked users on the side"),
        ({"side": 503}, "users itself gave 503 on the side, 0.0 s after the first refusal"),
        ({"refused_reaches": ()}, "59 calls of 'open' have no span of orders"),
        ({"moved_bytes": 120}, "the counts disagree: 0 refused calls have spans of users"),
        ({"passes": {7: 503}, "moved_bytes": 0}, "the counts disagree: 1 refused calls have spans of users"),
        ({"first_bytes": 0}, "orders -> users carried no bytes when calls passed"),
        ({"readings": 1}, "were read 1 times instead of twice"),
        ({"trial_after_s": 59.9}, "the trial calls came after 59.9 s"),
        ({"trial_spread_s": 0.2}, "a trial call was sent after another had ended"),
        ({"trial_refused": ()}, "17 calls of 'half-open' have no span of orders"),
        ({"traced": False, "below_after": 500}, "a call failed with 500 on the healthy edge, and nobody knows where"),
        ({"traced": False, "refused_status": None}, "59 calls of 'open' have no answer of orders"),
        ({"traced": False, "trial_s": 0.5}, "3 trial calls succeeded without the latency of orders -> users"),
        ({"trial_reaches": CALLER}, "3 trial calls passed, only 0 have a span of users"),
    ],
)
def test_without_evidence_it_is_inconclusive_and_says_what_is_missing(changes: dict[str, Any], reason: str) -> None:
    verdict = Run(**changes).judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert reason in verdict.reason


def test_without_spans_the_bytes_and_the_latency_tell_the_same() -> None:
    assert Run(traced=False).judged() == Run().judged()


def test_an_empty_recording_is_inconclusive() -> None:
    verdict = PROMISE.check(Written().recording())
    assert (verdict.ruling, verdict.reason) == (
        Ruling.INCONCLUSIVE,
        "no requests in the phase 'too few'",
    )


def test_a_journey_of_several_requests_is_inconclusive() -> None:
    story = Written()
    for _ in range(4):
        story.call("too few", status=503, reaches=CALLER)
    assert "4 requests in the phase 'too few' instead of 2" in PROMISE.check(story.recording()).reason


def test_a_request_without_an_end_is_no_evidence() -> None:
    story = Written()
    story.call("too few", status=503, reaches=CALLER)
    story.call("too few", status=503, reaches=CALLER, took_s=None)
    assert "has no end" in PROMISE.check(story.recording()).reason


def test_the_scenario_is_the_documented_one_call_by_call() -> None:
    steps = PROMISE.scenario(TOPOLOGY).steps
    kinds = [step.phase if isinstance(step, Calls) else type(step).__name__ for step in steps]
    assert kinds == [
        *("Wait", "Hold", "below: passing", "Hold", "below: after"),
        *("Wait", "Hold", "Bytes", "Hold", "Bytes"),
        *("Wait", "Hold", "closed", "Hold", "again: after", "Hold"),
    ]
    scripts = [step.steps[0] for step in steps if isinstance(step, Hold) and step.steps]
    assert [step.count for step in scripts if isinstance(step, Calls)] == [2, 8, 3, 58, 20, 15]
    assert all(first != second for first, second in pairwise(kinds))
    assert steps[7] == Bytes(Edge("orders", "users"))
    assert steps[10] == Wait(60.5, since="trip")
    assert steps[-1] == Hold(Terminated("orders"), ())


def test_the_calls_that_trip_it_are_spread_over_nearly_all_of_a_window() -> None:
    (trip,) = [step for step in PROMISE.scenario(TOPOLOGY).every_step() if isinstance(step, Calls) and step.every_s > 1]
    assert (trip.phase, trip.count, trip.every_s) == ("trip", 3, 4.5)


def test_the_documented_breaker_is_judged_within_110_s() -> None:
    waits = [step for step in PROMISE.scenario(TOPOLOGY).steps if isinstance(step, Wait)]
    assert sum(wait.seconds for wait in waits) + 9.0 + 2.0 < 100


def test_a_breaker_that_trips_at_the_first_failure_is_not_asked_for_fewer() -> None:
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
    assert [type(step).__name__ for step in steps[:4]] == ["Wait", "Calls", "Hold", "Calls"]
    assert steps[-1] == Calls("closed", "order", 10, together=True)
    assert promise.check(Written().recording()).reason == "no requests in the phase 'below: passing'"


def test_a_failure_before_the_first_outage_is_no_evidence() -> None:
    promise = msgspec.structs.replace(PROMISE, trips=Trips(requests=1, failure_ratio=1, interval_s=10))
    story = Written()
    story.call("below: passing", status=503, reaches=CALLER)
    assert promise.check(story.recording()).reason == "a call failed with 503 before the outage"


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
