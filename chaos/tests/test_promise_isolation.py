"""Isolation's check on written recordings: who failed while an edge was cut, and who did not."""

from typing import Any

import msgspec
import pytest

from brownout.faults import Outage
from brownout.promises.isolation import Isolated, Isolation
from brownout.promises.promise import WrongKeyError
from brownout.scenario import Calls, Hold, Wait
from brownout.topology import Edge, parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

USERS = Isolated("orders -> users", spares=("list-orders", "read-user"), hits="order")
KAFKA = Isolated("orders -> kafka", spares=("order",), settle_s=1)
PROMISE = Isolation(name="isolation", clause="2", journey="order", cases=(USERS, KAFKA))
TOPOLOGY = parse_topology(
    """
    entry = "orders"
    [services.users]
    command = ["users"]
    [services.orders]
    command = ["orders"]
    calls = ["users"]
    env = { KAFKA = "{kafka}" }
    """,
    "topology.toml",
)


class Run(msgspec.Struct, kw_only=True):
    """A run of both cases; what is said of a phase stands for the last of its calls."""

    said: dict[str, dict[str, Any]] = {}
    left_out: str = ""
    cut: bool = True
    hit_early: bool = False

    def judged(self) -> Verdict:
        story = Written()
        story.steady("before")
        if self.hit_early:
            self.call(story, "hit: orders -> users", 1, status=502)
        with story.fault("outage of orders -> users", lifted=self.cut):
            if not self.hit_early:
                self.call(story, "hit: orders -> users", 1, status=502)
            self.call(story, "spared: orders -> users: list-orders", 3)
            self.call(story, "spared: orders -> users: read-user", 3, service="users")
        story.wait(2)
        self.call(story, "again: orders -> users", 1)
        with story.fault("outage of orders -> kafka"):
            self.call(story, "spared: orders -> kafka: order", 3)
        story.end()
        return PROMISE.check(story.recording())

    def call(self, story: Written, phase: str, count: int, **fate: Any) -> None:
        for number in range(count):
            if number == count - 1:
                if phase == self.left_out:
                    return
                fate |= self.said.get(phase, {})
            story.call(phase, **fate)


def test_a_fault_that_stays_in_its_radius_passes() -> None:
    verdict = Run().judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.reason == (
        "2 of 2 edges cut one after another: what needs them failed in 1 of 1 cases, "
        "9 of 9 calls of what does not went on"
    )
    assert [str(figure) for figure in verdict.figures] == ["slowest spared 0.01 s (at most 3 s)"]


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (
            Run(said={"spared: orders -> users: list-orders": {"status": 502}}),
            "orders -> users cut: list-orders ended with 502, promised to go on without the edge",
        ),
        (
            Run(said={"spared: orders -> users: read-user": {"status": None, "error": "cut"}}),
            "orders -> users cut: read-user ended with cut",
        ),
        (
            Run(said={"spared: orders -> kafka: order": {"took_s": 3.2}}),
            "orders -> kafka cut: order took 3.2 s, promised 3 s without the edge",
        ),
        (
            Run(said={"again: orders -> users": {"status": 503}}),
            "orders -> users healed: order still ended with 503 2.0 s later, promised within 2 s",
        ),
    ],
)
def test_a_fault_that_spreads_or_stays_fails_and_says_to_whom(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.FAIL
    assert reason in verdict.reason
    assert verdict.events


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (
            Run(said={"hit: orders -> users": {"status": 201}}),
            "order succeeded during the outage of orders -> users: it does not need the edge",
        ),
        (
            Run(said={"hit: orders -> users": {"service": "gateway"}}),
            "the journey enters at gateway; it must enter at orders",
        ),
        (Run(left_out="hit: orders -> users"), "no requests in the phase 'hit: orders -> users'"),
        (Run(left_out="again: orders -> users"), "no requests in the phase 'again: orders -> users'"),
        (Run(left_out="spared: orders -> kafka: order"), "only 2 requests of order during the outage of orders -> kaf"),
        (Run(cut=False), "outage of orders -> users was in force 0 times instead of once"),
        (Run(hit_early=True), "a call was under way when orders -> users was cut or healed"),
    ],
)
def test_without_evidence_it_is_inconclusive(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert reason in verdict.reason


def test_nothing_recorded_is_inconclusive() -> None:
    assert PROMISE.check(Written().recording()).ruling is Ruling.INCONCLUSIVE


def test_each_edge_is_cut_for_one_call_of_its_own_and_some_of_all_that_it_spares() -> None:
    scenario = PROMISE.scenario(TOPOLOGY)
    assert scenario.steps == (
        Hold(
            Outage(Edge("orders", "users")),
            (
                Calls("hit: orders -> users", "order"),
                Calls("spared: orders -> users: list-orders", "list-orders", 3),
                Calls("spared: orders -> users: read-user", "read-user", 3),
            ),
        ),
        Wait(2.0),
        Calls("again: orders -> users", "order"),
        Hold(Outage(Edge("orders", "kafka")), (Calls("spared: orders -> kafka: order", "order", 3),)),
        Wait(1),
    )
    assert scenario.services == ("users", "orders")


@pytest.mark.parametrize("edge", ["orders -> redis", "orders->users"])
def test_an_edge_that_is_unknown_or_named_twice_is_refused_by_its_key(edge: str) -> None:
    wrong = msgspec.structs.replace(PROMISE, cases=(USERS, Isolated(edge, spares=("order",))))
    with pytest.raises(WrongKeyError) as refused:
        wrong.scenario(TOPOLOGY)
    assert refused.value.key == "cases[1].edge"
