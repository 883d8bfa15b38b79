"""The check of a breaker on trial, and that of a caller's mistakes, on written recordings."""

from collections.abc import Sequence

import msgspec
import pytest

from brownout.promises.half_open import HalfOpen
from brownout.promises.mistakes import CallerMistakes
from brownout.promises.promise import WrongKeyError
from brownout.promises.trips import Trips
from brownout.topology import parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

TRIPS = Trips(requests=3, failure_ratio=0.6, interval_s=10)
HALF_OPEN = HalfOpen(
    name="half-open",
    clause="6.2",
    journey="order",
    edge="orders -> users",
    trips=TRIPS,
    open_s=60,
    half_open_requests=3,
)
MISTAKES = CallerMistakes(
    name="mistakes",
    clause="3.1",
    journey="order",
    mistaken="order-as-nobody",
    status=422,
    edge="orders -> users",
    trips=TRIPS,
)
TOPOLOGY = parse_topology(
    """
    entry = "orders"
    [services.users]
    command = ["users"]
    env = { DATABASE_URL = "{postgres}" }
    [services.orders]
    command = ["orders"]
    calls = ["users"]
    """,
    "topology.toml",
)
BOTH = ("orders", "users")


class Trial(msgspec.Struct, kw_only=True):
    """A run of half-open: how each call ends."""

    trip: Sequence[int] = (502, 502, 502)
    silence_s: float = 10.5
    open: int = 503
    trial: int = 201
    failing: int = 502
    again: Sequence[int] = (503,) * 5
    bytes: tuple[int, ...] = (900, 900)
    service: str = "orders"
    side: int = 200

    def judged(self) -> Verdict:
        story = Written()
        story.steady("before")
        story.wait(self.silence_s)
        self.calls(story, "trip", self.trip)
        self.calls(story, "open", [self.open])
        story.wait(60)
        self.calls(story, "trial", [self.trial])
        counts = list(self.bytes)
        if counts:
            story.note("bytes", "orders -> users", upstream=counts[0], downstream=0)
        self.calls(story, "failing", [self.failing])
        story.watch("side", at_s=story.now_s, status=self.side)
        self.calls(story, "again", self.again)
        for count in counts[1:]:
            story.note("bytes", "orders -> users", upstream=count, downstream=0)
        story.end()
        return HALF_OPEN.check(story.recording())

    def calls(self, story: Written, phase: str, statuses: Sequence[int]) -> None:
        for status in statuses:
            reaches = BOTH if status < 300 else ("orders",)
            story.call(phase, status=status, reaches=reaches, service=self.service)


def test_a_breaker_that_opens_again_passes() -> None:
    verdict = Trial().judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.reason.startswith("after 1 success and 1 failure on trial 5 of 5 calls were refused in")


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Trial(again=(503, 201, 503, 503, 503)), "after a failure on trial, promised to open again for 60 s"),
        (Trial(trial=503), "a call on trial ended with 503 60."),
    ],
)
def test_a_breaker_that_does_not_fails(run: Trial, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.FAIL, verdict.reason
    assert reason in verdict.reason
    assert verdict.events


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Trial(trip=()), "no requests in the phase 'trip'"),
        (Trial(trip=(502, 201, 502)), "1 of 3 calls succeeded during the outage"),
        (Trial(silence_s=5), "of silence before the first call of a window"),
        (Trial(open=201), "3 failures in a row did not trip it"),
        (Trial(failing=201), "1 of 1 calls succeeded during the outage"),
        (Trial(again=(503,) * 4), "4 requests in the phase 'again' instead of 5"),
        (Trial(bytes=(0, 0)), "orders -> users carried no bytes when calls passed"),
        (Trial(bytes=()), "the bytes of orders -> users were read 0 times instead of twice"),
        (Trial(again=(503, 500, 503, 503, 503)), "a call ended with 500, refused ones with 503"),
        (Trial(failing=503), "a failure and a refusal both end with 503: nobody knows which it was"),
        (Trial(side=503), "users itself did not answer on the side"),
        (Trial(bytes=(900, 1300)), "orders -> users carried 400 bytes, and no call has a span of users"),
        (Trial(service="gateway"), "the journey enters at gateway; it must enter at orders"),
    ],
)
def test_a_trial_without_evidence_is_inconclusive(run: Trial, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE, verdict.reason
    assert reason in verdict.reason


def mistakes(
    mistaken: Sequence[int] = (422,) * 12,
    after: Sequence[int] = (201,) * 3,
    *,
    carried: int = 3600,
    reaches: Sequence[str] = BOTH,
    silence_s: float = 10.5,
) -> Verdict:
    story = Written()
    story.steady("before")
    story.wait(silence_s)
    story.note("bytes", "orders -> users", upstream=900, downstream=0)
    for status in mistaken:
        story.call("mistaken", status=status, reaches=reaches)
    story.note("bytes", "orders -> users", upstream=900 + carried, downstream=0)
    for status in after:
        story.call("afterwards", status=status)
    story.end()
    return MISTAKES.check(story.recording())


def test_mistakes_that_trip_nothing_pass() -> None:
    verdict = mistakes()
    assert verdict.ruling is Ruling.PASS
    assert verdict.reason == "12 calls answered 422 in one window did not trip it, and the next 3 succeeded"


@pytest.mark.parametrize(
    ("verdict", "ruling", "reason"),
    [
        (mistakes((422,) * 3 + (503,) * 9), Ruling.FAIL, "after 3 mistakes a call ended with 503, promised 422"),
        (mistakes(after=(503, 503, 503)), Ruling.FAIL, "after 12 mistakes a call ended with 503, promised to succeed"),
        (mistakes((201,) * 12), Ruling.INCONCLUSIVE, "order-as-nobody succeeded: it is no mistake"),
        (mistakes(silence_s=5), Ruling.INCONCLUSIVE, "of silence before the first call of a window"),
        (mistakes(reaches=("orders",)), Ruling.INCONCLUSIVE, "12 calls of 'mistaken' have no span of users"),
        (mistakes(carried=0), Ruling.INCONCLUSIVE, "order-as-nobody does not use the edge"),
        (mistakes(()), Ruling.INCONCLUSIVE, "no requests in the phase 'mistaken'"),
        (mistakes(after=()), Ruling.INCONCLUSIVE, "no requests in the phase 'afterwards'"),
    ],
)
def test_mistakes_that_count_fail_and_without_evidence_nobody_knows(
    verdict: Verdict, ruling: Ruling, reason: str
) -> None:
    assert verdict.ruling is ruling, verdict.reason
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("promise", "key"),
    [
        (msgspec.structs.replace(HALF_OPEN, edge="orders -> postgres"), "edge"),
        (msgspec.structs.replace(HALF_OPEN, half_open_requests=1), "half_open_requests"),
        (msgspec.structs.replace(MISTAKES, edge="users -> postgres"), "edge"),
    ],
)
def test_a_promise_that_does_not_fit_is_refused_by_its_key(promise: HalfOpen | CallerMistakes, key: str) -> None:
    with pytest.raises(WrongKeyError) as refused:
        promise.scenario(TOPOLOGY)
    assert refused.value.key == key
