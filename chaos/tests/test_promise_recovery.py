"""Recovery's check on written recordings: when each edge's journey failed for the last time."""

from typing import Any

import msgspec
import pytest

from brownout.faults import Outage
from brownout.history import Outcome
from brownout.promises.promise import WrongKeyError
from brownout.promises.recovery import Recovering, Recovery
from brownout.scenario import Bytes, Hold, Load, Seen, Wait
from brownout.topology import Edge, parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

USERS = Recovering("orders -> users", journey="order", within_s=75)
DATABASE = Recovering("users -> postgres", journey="read-user", within_s=5)
CONSUL = Recovering("users -> consul", within_s=12)
PROMISE = Recovery(name="recovery", clause="6", journey="order", cases=(CONSUL, USERS, DATABASE))
TOPOLOGY = parse_topology(
    """
    entry = "orders"
    [services.users]
    command = ["users"]
    env = { DATABASE_URL = "{postgres}", CONSUL_URL = "{consul}" }
    [services.orders]
    command = ["orders"]
    calls = ["users"]
    """,
    "topology.toml",
)
HEALED = 24
"""The first request of each load that is sent after the heal: two a second, for 2 s before and 10 s of outage."""


class Run(msgspec.Struct, kw_only=True):
    """A run of all cases; the numbers of the requests that failed, 24 the first one after the heal.

    What Consul had answered is counted after the heal, and once more in its time.
    """

    users: frozenset[int] = frozenset(range(4, HEALED + 120))
    database: frozenset[int] = frozenset(range(4, HEALED + 1))
    requests: int = HEALED + 130
    service: str = "users"
    whole: bool = True
    answered: tuple[int, ...] = (900, 1300)

    def judged(self) -> Verdict:
        story = Written()
        story.steady("before")
        begin_s = story.now_s
        for number in range(self.requests):
            at_s = begin_s + 0.1 + number / 2
            self.send(story, at_s, USERS.edge, self.users, number, service="orders")
            self.send(story, at_s, DATABASE.edge, self.database, number, service=self.service)
        story.wait(2)
        with (
            story.fault("outage of users -> consul"),
            story.fault("outage of orders -> users"),
            story.fault("outage of users -> postgres", lifted=self.whole),
        ):
            story.wait(10)
        for asked, answered in enumerate(self.answered):
            story.note("bytes", CONSUL.edge, upstream=400 * (asked + 1), downstream=answered)
            story.wait(12)
        story.wait(58)
        story.end()
        return PROMISE.check(story.recording())

    def send(
        self, story: Written, at_s: float, edge: str, failing: frozenset[int], number: int, *, service: str
    ) -> None:
        status = 503 if number in failing else 200
        story.call(f"over {edge}", at_s=at_s, status=status, actor="load", service=service)


def test_edges_that_are_back_in_their_time_pass_with_when_they_were() -> None:
    verdict = Run().judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.reason == "3 of 3 edges were back in their time after 10 s without all of them"
    assert [str(figure) for figure in verdict.figures] == [
        "orders -> users last failed 59.54 s after the heal (at most 75 s)",
        "users -> postgres last failed 0.04 s after the heal (at most 5 s)",
    ]


def test_an_edge_that_never_fails_after_the_heal_was_back_at_once() -> None:
    verdict = Run(database=frozenset(range(4, HEALED))).judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.figures[1].value == 0.0


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (
            Run(database=frozenset(range(4, HEALED + 20))),
            "users -> postgres: read-user ended with 503 9.5 s after the heal, promised to be back within 5 s",
        ),
        (
            Run(database=frozenset([*range(4, HEALED), HEALED + 100])),
            "users -> postgres: read-user ended with 503 50.0 s after the heal, promised to be back within 5 s",
        ),
        (
            Run(users=frozenset(range(4, HEALED + 160)), requests=HEALED + 160),
            "orders -> users: order ended with 503 79.5 s after the heal, promised to be back within 75 s",
        ),
        (
            Run(answered=(900, 900)),
            "users -> consul carried no answer within 12 s of the heal, promised to be back by then",
        ),
    ],
)
def test_an_edge_that_is_back_late_or_falls_back_fails(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.FAIL
    assert reason in verdict.reason
    assert verdict.events


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run(users=frozenset(range(2, HEALED))), "orders -> users: 2 of 4 requests succeeded before the outage"),
        (Run(users=frozenset()), "orders -> users: no request of order failed in the outage; it uses no such edge"),
        (Run(service="gateway"), "the journey enters at gateway; it must enter at users"),
        (Run(requests=HEALED + 123), "orders -> users: only 3 requests after the last failure, 5 are needed"),
        (Run(requests=0), "no requests in the phase 'over orders -> users'"),
        (Run(answered=(0, 300)), "users -> consul carried no bytes when calls passed"),
        (Run(answered=(900,)), "the bytes of users -> consul were read 1 times instead of twice"),
        (Run(whole=False), "outage of users -> postgres was in force 0 times instead of once"),
    ],
)
def test_without_evidence_it_is_inconclusive(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert reason in verdict.reason


def test_all_edges_are_cut_together_under_all_loads_until_each_is_seen_to_be_back() -> None:
    scenario = PROMISE.scenario(TOPOLOGY)
    (outer,) = scenario.steps
    assert isinstance(outer, Hold)
    (inner,) = outer.steps
    assert isinstance(inner, Hold)
    assert {outer.what, inner.what} == {
        Load("over orders -> users", "order", 2.0, timeout_s=5.0),
        Load("over users -> postgres", "read-user", 2.0, timeout_s=5.0),
    }
    outages = Hold(Outage(Edge("orders", "users")), (Hold(Outage(Edge("users", "postgres")), (Wait(10.0),)),))
    consul, healed = Edge("users", "consul"), "outage of users -> consul"
    assert inner.steps == (
        Wait(2.0),
        Hold(Outage(consul), (outages,)),
        Bytes(consul),
        Wait(12, since=healed),
        Bytes(consul),
        Wait(75, since=healed, until=Seen("load", "over orders -> users", Outcome.OK)),
        Wait(5, since=healed, until=Seen("load", "over users -> postgres", Outcome.OK)),
        Wait(3.0),
    )
    assert scenario.services == ("users", "orders")


@pytest.mark.parametrize("edge", ["orders -> redis", "orders->users"])
def test_an_edge_that_is_unknown_or_named_twice_is_refused_by_its_key(edge: str) -> None:
    wrong: Any = (USERS, Recovering(edge, journey="order", within_s=5))
    with pytest.raises(WrongKeyError) as refused:
        msgspec.structs.replace(PROMISE, cases=wrong).scenario(TOPOLOGY)
    assert refused.value.key == "cases[1].edge"
