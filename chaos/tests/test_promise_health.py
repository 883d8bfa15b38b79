"""Health's check on written recordings: what a service said of itself, second by second."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from brownout.faults import BlackHole, Killed, Outage
from brownout.history import Outcome
from brownout.promises.health import Condition, Health, Said
from brownout.promises.promise import WrongKeyError
from brownout.scenario import Hold, Seen, Wait, Watch
from brownout.topology import Edge, parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

UP = {"status": "UP", "database": "UP", "users": "UP"}
DOWN = {"status": "DOWN", "database": "DOWN", "users": "UP"}
DEGRADED = {"status": "DEGRADED", "database": "UP", "users": "DOWN"}
BOTH = {"status": "DOWN", "database": "DOWN", "users": "DOWN"}
REFUSED = Condition(
    name="database refused",
    refused=("orders -> postgres",),
    status=503,
    body={"status": "DOWN", "database": "DOWN"},
    within_s=3,
)
WORST = Condition(
    name="both",
    lost=("users",),
    refused=("orders -> postgres",),
    status=503,
    body={"status": "DOWN", "database": "DOWN", "users": "DOWN"},
    within_s=15,
)
PROMISE = Health(
    name="health",
    clause="6.5",
    journey="order",
    service="orders",
    healthy=Said(200, {"status": "UP"}),
    conditions=(REFUSED, WORST),
)
TOPOLOGY = parse_topology(
    """
    entry = "orders"
    [services.users]
    command = ["users"]
    [services.orders]
    command = ["orders"]
    health = "/healthz"
    calls = ["users"]
    env = { DATABASE_URL = "{postgres}" }
    """,
    "topology.toml",
)
OUTAGE = "outage of orders -> postgres"
KILLED = "every users killed"
Answer = tuple[int | None, Any]


class Run(msgspec.Struct, kw_only=True):
    """A run of two conditions; each list is (status, body) of the answers, one every half second."""

    before: Sequence[Answer] = ((200, UP),) * 6
    refused: Sequence[Answer] = ((503, DOWN),) * 6
    refused_after: Sequence[Answer] = ((503, DOWN), *[(200, UP)] * 6)
    worst: Sequence[Answer] = ((503, DOWN),) * 8 + ((503, BOTH),) * 6
    worst_after: Sequence[Answer] = ((200, DEGRADED), *[(200, UP)] * 7)
    slow: int = -1
    holds_worst: bool = True
    asked: int = 0

    def judged(self) -> Verdict:
        story = Written()
        story.steady("before")
        self.say(story, self.before)
        with story.fault(OUTAGE):
            self.say(story, self.refused)
        self.say(story, self.refused_after)
        if self.holds_worst:
            with story.fault(KILLED, lifting_s=4.0), story.fault(OUTAGE):
                self.say(story, self.worst)
            self.say(story, self.worst_after)
        story.watch("health", at_s=story.now_s, took_s=None)
        story.end()
        return PROMISE.check(story.recording())

    def say(self, story: Written, answers: Sequence[Answer]) -> None:
        for status, body in answers:
            took_s = 3.4 if self.asked == self.slow else 0.01
            story.watch("health", at_s=story.now_s + 0.1, status=status, body=body, took_s=took_s)
            self.asked += 1
            story.wait(0.5)


def test_the_promised_answers_pass_with_their_times() -> None:
    verdict = Run().judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.reason == "the promised answer in 2 of 2 conditions, healthy again after each"
    assert [str(figure) for figure in verdict.figures] == [
        "slowest answer 0.01 s (at most 3 s)",
        "database refused told from 0.10 s (at most 3 s)",
        "healthy again from 0.60 s (at most 13 s)",
        "both told from 4.10 s (at most 15 s)",
        "healthy again from 0.60 s (at most 13 s)",
    ]


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (
            Run(refused=[(200, UP)] * 12),
            "database refused: orders said 200 {'status': 'UP'",
        ),
        (Run(refused=[(200, UP)] * 12), "3.1 s after it began"),
        (Run(refused=[(503, DOWN), (200, UP), *[(503, DOWN)] * 6]), "said 200"),
        (Run(refused=[(503, DOWN), (None, None), *[(503, DOWN)] * 6]), "said no answer 0.6 s after it began"),
        (Run(worst=[(503, DOWN)] * 4 + [(200, DEGRADED)] * 36), "both: orders said 200"),
        (Run(worst=[(503, BOTH)] * 4 + [(200, DEGRADED)] * 6), "both: orders said 200"),
        (Run(refused_after=[(503, DOWN)] * 36), "after database refused: orders said 503"),
        (Run(worst_after=[(200, UP), (200, DEGRADED), *[(200, UP)] * 6]), "after both: orders said 200"),
        (Run(slow=2), "orders took 3.4 s to say how it is, promised 3 s whatever is broken"),
        (Run(before=[(200, DEGRADED)] * 6), "before the first condition: orders said 200"),
    ],
)
def test_a_wrong_or_late_answer_fails_and_is_named(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.FAIL
    assert reason in verdict.reason
    assert verdict.events


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run(refused=[(503, DOWN)]), "database refused: only 1 answers to judge by"),
        (Run(refused=[(200, UP)] * 4), "database refused: only 0 answers to judge by"),
        (Run(refused_after=[]), "after database refused: only 0 answers"),
        (Run(holds_worst=False), "both: every users killed was never in force and lifted again"),
        (Run(before=[]), "before the first condition: only 0 answers"),
    ],
)
def test_without_answers_or_faults_it_is_inconclusive(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert reason in verdict.reason


def test_a_service_that_nobody_asked_is_inconclusive() -> None:
    verdict = PROMISE.check(Written().recording())
    assert (verdict.ruling, verdict.reason) == (Ruling.INCONCLUSIVE, "orders was never asked how it is")


def test_an_answer_without_a_body_to_look_for_is_told_by_its_status() -> None:
    assert str(Said(204)) == "204"


def test_each_condition_is_held_until_its_answer_has_come_and_stayed() -> None:
    (held,) = PROMISE.scenario(TOPOLOGY).steps
    assert isinstance(held, Hold)
    assert held.what == Watch("health", "orders", "/healthz", 0.5, timeout_s=5.0)
    first = held.steps[1]
    body = {"status": 503, "body": {"status": "DOWN", "database": "DOWN"}}
    assert first == Hold(
        Outage(Edge("orders", "postgres")),
        (Wait(3, until=Seen("watch", "health", Outcome.FAILED, body)), Wait(9.5)),
    )
    healthy = {"status": 200, "body": {"status": "UP"}}
    assert held.steps[2] == Wait(15.0, until=Seen("watch", "health", Outcome.OK, healthy))


def test_a_condition_of_several_faults_holds_them_all_at_the_same_time() -> None:
    edge = "orders -> postgres"
    condition = Condition(name="all", status=503, within_s=3, refused=(edge,), silent=(edge,), lost=("users",))
    (held,) = msgspec.structs.replace(PROMISE, conditions=(condition,)).scenario(TOPOLOGY).steps
    assert isinstance(held, Hold)
    kinds, step = [], held.steps[1]
    while isinstance(step, Hold):
        kinds.append(type(step.what))
        step = step.steps[0]
    assert kinds == [Killed, Outage, BlackHole]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"refused": ("orders -> redis",)}, "conditions[0].refused"),
        ({"silent": ("orders -> redis",)}, "conditions[0].silent"),
        ({"lost": ("usrs",)}, "conditions[0].lost"),
        ({"refused": ()}, "conditions[0]"),
    ],
)
def test_a_condition_that_cannot_be_made_is_refused_by_its_key(changes: dict[str, Any], wrong: str) -> None:
    condition = msgspec.structs.replace(REFUSED, **changes)
    with pytest.raises(WrongKeyError) as refused:
        msgspec.structs.replace(PROMISE, conditions=(condition,)).scenario(TOPOLOGY)
    assert refused.value.key == wrong


def test_an_unknown_service_is_refused_by_its_key() -> None:
    with pytest.raises(WrongKeyError) as refused:
        msgspec.structs.replace(PROMISE, service="order").scenario(TOPOLOGY)
    assert refused.value.key == "service"
