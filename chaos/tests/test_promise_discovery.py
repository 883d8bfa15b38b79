"""Discovery's check on written recordings: which instance took which request."""

from collections.abc import Sequence

import msgspec
import pytest

from brownout.faults import AGENT, Lost
from brownout.promises.discovery import Discovery
from brownout.promises.promise import WrongKeyError
from brownout.scenario import Hold, Load, Wait
from brownout.topology import parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

PROMISE = Discovery(name="discovery", clause="4.1", journey="order", edge="orders -> users")
RESTART = msgspec.structs.replace(PROMISE, restart_s=5.0)
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
ALL = ("users-0", "users-1", "users-2")
ALIVE = ALL[:2]
FAILS = ("", *ALIVE)
"""Whose turn it is: the dead instance's is a failure."""


class Run(msgspec.Struct, kw_only=True):
    """Ten requests a second; who takes turns in each part of the run, and from when, in seconds of that part."""

    early: Sequence[str] = ALL
    early_s: float = 5.0
    dead: Sequence[str] = FAILS
    noticed_s: float = 11.0
    alive: Sequence[str] = ALIVE
    dead_s: float = 20.0
    back_s: float = 5.0
    back: Sequence[str] = ALL
    after_s: float = 20.0
    starting: Sequence[str] = ALIVE
    entry: str = "orders"
    lifted: bool = True
    restarted: bool = False

    def judged(self, promise: Discovery = PROMISE) -> Verdict:
        story = Written()
        story.steady("before")
        if self.restarted:
            with story.fault("restart of consul"):
                story.wait(5)
            story.wait(10)
        self.load(story, self.early_s, self.early)
        with story.fault("users-2 killed", lifting_s=4.0, lifted=self.lifted):
            self.load(story, self.noticed_s, self.dead)
            self.load(story, self.dead_s - self.noticed_s, self.alive)
            started_s = story.now_s
        self.load(story, 4.0, self.starting, from_s=started_s)
        self.load(story, self.back_s, ALIVE)
        self.load(story, self.after_s - self.back_s, self.back)
        story.end()
        return promise.check(story.recording())

    def load(self, story: Written, seconds: float, turns: Sequence[str], from_s: float | None = None) -> None:
        begin_s = story.now_s if from_s is None else from_s
        for number in range(round(seconds * 10)):
            taker = turns[number % len(turns)]
            at_s = begin_s + number / 10 + 0.05
            story.call(
                "load",
                at_s=at_s,
                status=201 if taker else 502,
                actor="load",
                service=self.entry,
                reaches=("users",) if taker else (),
            )
            if taker:
                story.spans[-1] = msgspec.structs.replace(story.spans[-1], attributes={"service.instance.id": taker})
        if from_s is None:
            story.wait(seconds)


def test_a_dead_instance_that_is_soon_called_no_more_and_soon_again_passes() -> None:
    verdict = Run().judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.reason == (
        "37 of 150 calls failed until users-2 was known to be dead, then 0 of 290; "
        "it was called again 5.2 s after its return"
    )
    assert [str(figure) for figure in verdict.figures] == [
        "last failure after 10.85 s (at most 15 s)",
        "called again after 5.25 s (at most 15 s)",
    ]


def test_an_instance_may_be_called_again_as_soon_as_it_is_registered() -> None:
    verdict = Run(starting=ALL, back_s=0.0).judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.figures[1].value == 0.0


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (
            Run(noticed_s=17.0),
            "a request ended with 502 15.1 s after users-2 was killed, promised none from 15 s on",
        ),
        (Run(early=ALL[::2]), "users-1 had none of 50 requests before the kill, these had: users-0, users-2"),
        (Run(alive=("users-0",)), "users-1 had none of 50 requests without users-2"),
        (Run(starting=FAILS), "a request ended with 502 20.1 s after users-2 was killed, promised none from 15 s on"),
        (Run(back=FAILS), "a request ended with 502"),
        (Run(back_s=16.0), "users-2 had its first request only 16.2 s after it was well again, promised within 15 s"),
        (Run(back=ALIVE), "users-2 had no request 19.9 s after it was well again, promised within 15 s"),
    ],
)
def test_a_dead_instance_that_is_still_called_or_one_that_is_forgotten_fails(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.FAIL
    assert reason in verdict.reason
    assert verdict.events


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run(early_s=4.0), "only 40 requests before the kill, 45 are needed"),
        (Run(early=ALIVE), "users-2 has no span from before the kill, which may have taken them with it"),
        (Run(early=FAILS), "17 requests failed before the kill, the first with 502"),
        (Run(entry="gateway"), "the journey enters at gateway; it must enter at orders"),
        (Run(dead_s=16.0), "only 10 requests after its death had to be known, 15 are needed"),
        (Run(alive=ALL), "users-2 had a request while it was dead: it is another process"),
        (Run(after_s=8.0, back=ALIVE), "the load ended 8.0 s after users-2 was well again, before it had a request"),
        (Run(lifted=False), "users-2 killed was in force 0 times instead of once"),
    ],
)
def test_without_evidence_it_is_inconclusive(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert reason in verdict.reason


def test_without_spans_nobody_knows_who_was_called() -> None:
    story = Written()
    story.traced = False
    verdict = PROMISE.check(story.recording())
    assert (verdict.ruling, verdict.reason) == (
        Ruling.INCONCLUSIVE,
        "which instance had a request shows in spans only, and the system sends none",
    )


def test_nothing_recorded_is_inconclusive() -> None:
    assert PROMISE.check(Written().recording()).ruling is Ruling.INCONCLUSIVE


def test_the_last_instance_is_dead_for_longer_than_may_go_unnoticed() -> None:
    scenario = PROMISE.scenario(TOPOLOGY)
    dead = Hold(Lost("users", 2), (Wait(20.0),))
    assert scenario.steps == (Hold(Load("load", "order", 10.0), (Wait(5.5), dead, Wait(20.0))),)
    assert scenario.instances == {"users": 3}
    assert scenario.services == ("users", "orders")


def test_before_it_dies_the_agent_is_restarted_where_that_is_promised() -> None:
    scenario = RESTART.scenario(TOPOLOGY)
    assert scenario.steps == (Hold(AGENT, (Wait(5.0),)), Wait(10.0), *PROMISE.scenario(TOPOLOGY).steps)
    assert (scenario.private, PROMISE.scenario(TOPOLOGY).private) == (("consul",), ())


def test_after_a_restart_the_same_is_promised() -> None:
    assert Run(restarted=True).judged(RESTART).ruling is Ruling.PASS
    assert Run(restarted=True, noticed_s=17.0).judged(RESTART).ruling is Ruling.FAIL


def test_without_a_restart_nobody_knows_what_would_be_after_it() -> None:
    verdict = Run().judged(RESTART)
    assert (verdict.ruling, verdict.reason) == (
        Ruling.INCONCLUSIVE,
        "restart of consul was in force 0 times instead of once",
    )


@pytest.mark.parametrize("edge", ["orders -> user", "orders -> postgres"])
def test_an_edge_to_what_is_no_service_is_refused_by_its_key(edge: str) -> None:
    with pytest.raises(WrongKeyError) as refused:
        msgspec.structs.replace(PROMISE, edge=edge).scenario(TOPOLOGY)
    assert refused.value.key == "edge"
