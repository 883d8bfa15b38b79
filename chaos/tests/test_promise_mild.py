"""Mild trouble's check on written recordings: a second of latency, and what became of the requests."""

from typing import Any

import msgspec
import pytest

from brownout.faults import Latency
from brownout.promises.health import Said
from brownout.promises.mild import MildTrouble
from brownout.promises.promise import WrongKeyError
from brownout.scenario import Calls, Hold, Load, Wait, Watch
from brownout.topology import Edge, parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

UP = {"status": "UP"}
PROMISE = MildTrouble(
    name="mild",
    clause="6",
    journey="order",
    journeys={"users -> postgres": "read-user"},
    background=("consul",),
    health=Said(200, UP),
)
TOPOLOGY = parse_topology(
    """
    entry = "orders"
    [services.users]
    command = ["users"]
    health = "/healthz"
    env = { DATABASE_URL = "{postgres}" }
    [services.orders]
    command = ["orders"]
    calls = ["users"]
    env = { CONSUL_URL = "{consul}" }
    """,
    "topology.toml",
)
EDGES = ("users -> postgres", "orders -> users", "orders -> consul")


class Run(msgspec.Struct, kw_only=True):
    """A run over three edges; what is said of one stands for its last request, or for its caller's health."""

    promise: MildTrouble = PROMISE
    took_s: dict[str, float] = {}
    last: dict[str, dict[str, Any]] = {}
    health: dict[str, Any] = {}
    unasked: str = ""
    unheld: str = ""
    left_out: tuple[str, ...] = ()
    afterwards: int = 201
    at_first: str = "UP"

    def judged(self) -> Verdict:
        story = Written()
        story.steady("before")
        story.watch("health of orders", at_s=story.now_s, body={"status": self.at_first})
        story.wait(1)
        for edge in EDGES:
            self.slow(story, edge)
        for journey in ("read-user", "order"):
            story.call(f"afterwards: {journey}", status=self.afterwards)
        story.end()
        return self.promise.check(story.recording())

    def slow(self, story: Written, edge: str) -> None:
        took_s = self.took_s.get(edge, 0.01 if "consul" in edge else 1.01)
        with story.fault(f"latency 1000 ms on {edge}", lifted=edge != self.unheld):
            if edge not in self.left_out:
                for number in range(6):
                    fate = {"took_s": took_s, **(self.last.get(edge, {}) if number == 5 else {})}
                    story.call(f"slow: {edge}", at_s=story.now_s + number / 2, actor="load", **fate)
            if edge != self.unasked:
                service = edge.partition(" ")[0]
                story.watch(f"health of {service}", at_s=story.now_s + 1, body=self.health.get(edge, UP), took_s=1)
            story.wait(5)


def test_latency_that_harms_nobody_passes() -> None:
    verdict = Run().judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.reason == (
        "18 of 18 requests succeeded with 1000 ms of latency on one of 3 edges after another, "
        "services said 4 of 4 times that all is well"
    )
    assert [str(figure) for figure in verdict.figures] == ["slowest 1.01 s (at most 10 s)"]


def test_without_a_promised_health_nobody_has_to_be_asked() -> None:
    verdict = Run(promise=msgspec.structs.replace(PROMISE, health=None), unasked="orders -> users").judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert "services said" not in verdict.reason


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (
            Run(last={"orders -> users": {"status": 504}}),
            "on orders -> users: orders ? ? ended with 504 after 1.0 s, promised to succeed within 10 s",
        ),
        (
            Run(last={"orders -> consul": {"status": 503}}),
            "1000 ms of latency on orders -> consul: orders ? ? ended with 503 after 0.0 s",
        ),
        (
            Run(last={"users -> postgres": {"took_s": 10.5}}),
            "1000 ms of latency on users -> postgres: orders ? ? ended with 201 after 10.5 s",
        ),
        (Run(afterwards=503), "after the last latency: orders ? ? ended with 503"),
        (
            Run(health={"orders -> consul": {"status": "DEGRADED"}}),
            "orders said 200 {'status': 'DEGRADED'} 2.0 s after orders -> consul became slow, promised 200 {",
        ),
    ],
)
def test_harm_fails_and_names_the_edge_and_the_request(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.FAIL
    assert reason in verdict.reason
    assert verdict.events


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (
            Run(took_s={"orders -> users": 0.5}),
            "0 of 6 requests took 0.9 s with 1000 ms on orders -> users, 3 are needed: order does not use the edge",
        ),
        (Run(took_s={"users -> postgres": 0.5}), "read-user does not use the edge"),
        (Run(promise=msgspec.structs.replace(PROMISE, background=())), "with 1000 ms on orders -> consul"),
        (Run(unasked="orders -> users"), "orders was not asked how it is while orders -> users was slow"),
        (Run(at_first="DEGRADED"), "orders said 200 {'status': 'DEGRADED'} before any edge was slow"),
        (Run(unheld="orders -> users"), "latency 1000 ms on orders -> users was in force 0 times"),
        (Run(left_out=EDGES), "no request was made while an edge was slow"),
        (
            Run(promise=msgspec.structs.replace(PROMISE, edges=EDGES), left_out=EDGES[2:]),
            "no request was made while orders -> consul was slow",
        ),
    ],
)
def test_without_evidence_it_is_inconclusive(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert reason in verdict.reason


def test_each_edge_of_the_topology_is_slowed_under_the_load_that_uses_it() -> None:
    scenario = PROMISE.scenario(TOPOLOGY)
    (orders,) = scenario.steps
    assert isinstance(orders, Hold)
    assert orders.what == Watch("health of orders", "orders", "/health", 1.0, timeout_s=10.0)
    (users,) = orders.steps
    assert isinstance(users, Hold)
    assert users.what == Watch("health of users", "users", "/healthz", 1.0, timeout_s=10.0)
    first, *_, ours, theirs = users.steps
    load = Load("slow: users -> postgres", "read-user", 2.0, timeout_s=12.0)
    assert first == Hold(Latency(Edge("users", "postgres"), 1000), (Hold(load, (Wait(3.0),)),))
    slowed = [step.what.edge for step in users.steps if isinstance(step, Hold) and isinstance(step.what, Latency)]
    assert tuple(map(str, slowed)) == EDGES
    assert (ours, theirs) == (Calls("afterwards: read-user", "read-user", 3), Calls("afterwards: order", "order", 3))


def test_only_the_edges_that_are_named_are_slowed() -> None:
    promise = MildTrouble(name="mild", clause="6", journey="read-user", edges=("users -> postgres",))
    steps = promise.scenario(TOPOLOGY).steps
    assert [str(step.what) for step in steps if isinstance(step, Hold)] == ["latency 1000 ms on users -> postgres"]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"edges": ("users -> redis",)}, "edges"),
        ({"journeys": {"users -> redis": "order"}}, "journeys.users -> redis"),
        ({"edges": ("orders -> users",)}, "journeys.users -> postgres"),
        ({"background": ("kafka",)}, "background"),
    ],
)
def test_what_is_not_there_to_be_slowed_is_refused_by_its_key(changes: dict[str, Any], wrong: str) -> None:
    with pytest.raises(WrongKeyError) as refused:
        msgspec.structs.replace(PROMISE, **changes).scenario(TOPOLOGY)
    assert refused.value.key == wrong
