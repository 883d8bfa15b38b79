"""The rate limit's check on written recordings, whose calls a token bucket has let pass."""

import msgspec
import pytest

from brownout.history import Operation
from brownout.promises.promise import NoEvidenceError, WrongKeyError
from brownout.promises.rate_limit import RateLimit, largest_excess
from brownout.scenario import Calls, Hold
from brownout.topology import parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

PROMISE = RateLimit(name="limit", clause="6.3", journey="read-user", service="users", rps=5, burst=5)
OVER_AN_EDGE = msgspec.structs.replace(PROMISE, edge="notifications -> users:grpc")
TOPOLOGY = parse_topology(
    """
    entry = "users"
    deadline_header = "X-Timeout-Ms"
    [services.users]
    command = ["users"]
    ports = ["grpc"]
    [services.notifications]
    command = ["notifications"]
    calls = ["users:grpc"]
    """,
    "topology.toml",
)


class Bucket(msgspec.Struct, kw_only=True):
    """A run against a token bucket: each call waits for its token, or is refused when that takes too long.

    One whose token takes more than ``late_share`` of its deadline runs out of time after ``timed_out_share`` of it.
    """

    rps: float = 5.0
    burst: int = 5
    refused_status: int = 429
    refusal_s: float = 0.005
    patience: float = 1.0
    entry: str = "users"
    load_rps: float = 5.0
    overtime: float = 1.0
    late_share: float = 1.0
    timed_out_share: float = 1.0
    promise: RateLimit = PROMISE
    tokens: float = 0.0
    filled_s: float = 0.0

    def judged(self) -> Verdict:
        story = Written()
        self.tokens, self.filled_s = self.burst, 0.0
        story.steady("before", reaches=("users",))
        story.call("arrange", service="users")
        for phase, count, every_s, deadline_s in (
            ("burst", 20, 0.0, 2.0 * self.overtime),
            ("patient", 15, 0.0, 10.0 * self.patience),
            ("load", 75, 1 / 15, 0.5 * self.overtime),
        ):
            story.wait(3.5)
            self.rps = self.load_rps if phase == "load" else self.rps
            begin_s = story.now_s
            for number in range(count):
                self.ask(story, phase, begin_s + number * every_s, deadline_s)
            story.now_s = begin_s + 8
        story.end()
        return self.promise.check(story.recording())

    def ask(self, story: Written, phase: str, at_s: float, deadline_s: float) -> None:
        self.tokens = min(self.burst, self.tokens + self.rps * max(0.0, at_s - self.filled_s))
        self.filled_s = at_s
        wait_s = max(0.0, (1 - self.tokens) / self.rps)
        actor = "load" if phase == "load" else "calls"
        if wait_s > deadline_s:
            story.call(
                phase,
                at_s=at_s,
                status=self.refused_status,
                took_s=self.refusal_s,
                service=self.entry,
                actor=actor,
            )
            return
        self.tokens -= 1
        status, took_s = 200, wait_s + 0.01
        if wait_s > self.late_share * deadline_s:
            status, took_s = 504, self.timed_out_share * deadline_s
        story.call(phase, at_s=at_s, status=status, took_s=took_s, service=self.entry, actor=actor)


def test_a_bucket_as_promised_passes_with_its_figures() -> None:
    verdict = Bucket().judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert "of 95 calls above the limit" in verdict.reason
    assert "all 15 patient ones served" in verdict.reason
    assert [figure.name for figure in verdict.figures] == [
        "closest window passed",
        "slowest refusal of the burst",
        "slowest refusal of the load",
        "longest patient call",
        "passed of the burst",
        "passed of the load",
    ]


@pytest.mark.parametrize(
    ("bucket", "reason"),
    [
        (Bucket(burst=6), "26 calls were sent and answered within 4.01 s, promised at most 25.0"),
        (Bucket(rps=7.0), "calls were sent and answered within"),
        (Bucket(rps=1000.0), "20 calls were sent and answered within 0.03 s, promised at most 5.1"),
        (Bucket(refused_status=500), "a call ended with 500 after 0.01 s, promised an answer or a refusal with 429"),
        (Bucket(refusal_s=0.45), "refusals of the load took more than 0.375 s, at most 10 % may"),
        (Bucket(patience=0.1), "5 of 15 calls were refused though each would have had its token within 2.0 s"),
        (Bucket(burst=4), "each waited about 0.20 s longer than with 5 tokens: 1 of them missing"),
        (Bucket(burst=1, rps=4.9), "each waited about 0."),
        (Bucket(rps=3.0), "15 calls at once took 3.3 s, the limit grants them within 2.0 s"),
        (
            Bucket(overtime=4.0),
            "a call with 2 s left ended with 200 after 3.0 s, promised to be refused at once where its token comes",
        ),
        (
            Bucket(late_share=0.75, timed_out_share=0.02),
            "a call ended with 504 after 0.04 s, promised an answer or a refusal with 429",
        ),
        (Bucket(load_rps=2.0), "only 15 of 75 calls of the load passed, the limit grants at least 23"),
    ],
)
def test_a_broken_limit_fails_and_says_by_how_much(bucket: Bucket, reason: str) -> None:
    verdict = bucket.judged()
    assert verdict.ruling is Ruling.FAIL
    assert reason in verdict.reason
    assert verdict.events


def test_a_call_whose_token_left_it_too_little_time_is_no_broken_limit() -> None:
    verdict = Bucket(late_share=0.75).judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason


def test_a_limit_that_has_calls_wait_beyond_their_time_fails_though_all_run_out_of_it() -> None:
    verdict = Bucket(overtime=4.0, late_share=0.25, timed_out_share=0.25).judged()
    assert verdict.ruling is Ruling.FAIL
    assert "calls were sent and answered within" in verdict.reason


def test_a_limit_that_was_never_reached_is_inconclusive() -> None:
    story = Written()
    for phase, count in (("burst", 20), ("patient", 15), ("load", 5)):
        for _ in range(count):
            story.call(phase, status=200, service="users")
            story.wait(1.0)
    verdict = PROMISE.check(story.recording())
    assert (verdict.ruling, verdict.reason) == (
        Ruling.INCONCLUSIVE,
        "no call was refused: nothing asked for more than the limit grants",
    )


def test_calls_of_another_service_are_inconclusive() -> None:
    verdict = Bucket(entry="gateway").judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert "it must enter at users" in verdict.reason


def test_calls_over_an_edge_enter_at_its_caller() -> None:
    assert Bucket(promise=OVER_AN_EDGE, entry="notifications").judged().ruling is Ruling.PASS
    verdict = Bucket(promise=OVER_AN_EDGE).judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert "the journey enters at users; it must enter at notifications" in verdict.reason
    assert OVER_AN_EDGE.scenario(TOPOLOGY).services == ("users", "notifications")


@pytest.mark.parametrize(
    ("edge", "service"), [("notifications -> users", "users"), (OVER_AN_EDGE.edge, "notifications")]
)
def test_an_edge_that_is_not_there_or_leads_elsewhere_is_refused_by_its_key(edge: str, service: str) -> None:
    with pytest.raises(WrongKeyError) as refused:
        msgspec.structs.replace(PROMISE, edge=edge, service=service).scenario(TOPOLOGY)
    assert refused.value.key == "edge"


def test_nothing_recorded_is_inconclusive() -> None:
    assert PROMISE.check(Written().recording()).ruling is Ruling.INCONCLUSIVE


def test_a_limit_that_lets_nothing_pass_has_no_window_to_judge() -> None:
    with pytest.raises(NoEvidenceError, match="no call passed"):
        largest_excess([], rps=5, burst=5)


def _passes(*times: tuple[float, float]) -> list[Operation]:
    story = Written()
    for sent_s, took_s in times:
        story.call("burst", at_s=sent_s, took_s=took_s)
    return story.recording().history.requests()


def test_the_worst_window_may_lie_in_the_midst_of_quiet_ones() -> None:
    excess = largest_excess(_passes((0, 0.1), (10, 0.1), (10.1, 0.1), (10.2, 0.1), (20, 0.1)), rps=1.0, burst=1)
    assert (excess.passed, excess.seconds) == (3, pytest.approx(0.3))
    assert excess.above == pytest.approx(3 - 1 - 0.3)


def test_completions_bunched_by_a_stall_are_no_excess() -> None:
    stalled = [(float(number), 10.0 - number) for number in range(10)]
    assert largest_excess(_passes(*stalled), rps=1.0, burst=1).above <= 0


def test_a_call_sent_before_a_window_does_not_count_in_it() -> None:
    excess = largest_excess(_passes((0, 5.05), (5, 0.02), (5.01, 0.03)), rps=1.0, burst=1)
    assert excess.passed == 2
    assert excess.above == pytest.approx(2 - 1 - 0.04)


def test_the_worst_window_is_the_one_that_trying_them_all_finds() -> None:
    passes = _passes((0, 0.3), (0.1, 0.7), (0.15, 0.1), (0.4, 0.05), (0.41, 0.9), (1.2, 0.01), (1.2, 0.4), (1.3, 0.1))
    tried = [
        sum(1 for one in passes if one.sent_ns >= first.sent_ns and (one.answered_ns or 0) <= (last.answered_ns or 0))
        - 2
        - 3.0 * ((last.answered_ns or 0) - first.sent_ns) / 1e9
        for first in passes
        for last in passes
        if (last.answered_ns or 0) > first.sent_ns
    ]
    assert largest_excess(passes, rps=3.0, burst=2).above == pytest.approx(max(tried))


def test_the_scenario_bursts_waits_and_overloads() -> None:
    steps = PROMISE.scenario(TOPOLOGY).steps
    calls = [step for step in steps if isinstance(step, Calls)]
    assert [(one.phase, one.count, one.together, one.deadline_ms) for one in calls] == [
        ("burst", 20, True, 2000),
        ("patient", 15, True, 10_000),
    ]
    load = next(step.what for step in steps if isinstance(step, Hold))
    assert (load.rate, load.deadline_ms) == (15.0, 500)


def test_its_environment_holds_in_its_run() -> None:
    environment = {"users": {"RATE_LIMIT_RPS": "5"}}
    promise = msgspec.structs.replace(PROMISE, environment=environment)
    assert promise.scenario(TOPOLOGY).environment == environment


def test_an_unknown_service_is_refused_by_its_key() -> None:
    with pytest.raises(WrongKeyError, match="no service 'usrs'; the topology has users") as refused:
        msgspec.structs.replace(PROMISE, service="usrs").scenario(TOPOLOGY)
    assert refused.value.key == "service"


def test_a_topology_without_a_deadline_header_is_refused() -> None:
    with pytest.raises(WrongKeyError, match="deadline_header"):
        PROMISE.scenario(msgspec.structs.replace(TOPOLOGY, deadline_header=""))
