"""Registration's check on written recordings."""

import msgspec
import pytest

from brownout.faults import AGENT
from brownout.promises.promise import Checked, WrongKeyError
from brownout.promises.registration import Registration
from brownout.recording import Recording
from brownout.scenario import Forget, Hold, Load, Lookup, Wait
from brownout.topology import parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

PROMISE = Registration(name="registration", clause="4.1", journey="order", edge="orders -> users")
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


class Run(msgspec.Struct, kw_only=True):
    """Four requests a second for 16 s; users is forgotten after 2 s. `fails_s`: until when requests fail, from then."""

    there: tuple[str, ...] = ("c-users-0",)
    again: tuple[str, ...] = ("c-users-0",)
    fails_s: float = 3.0
    early_fails: bool = False
    lasts_s: float = 16.0
    service: str = "orders"
    looked_up: bool = True

    def judged(self) -> Verdict:
        return PROMISE.check(self.recorded())

    def recorded(self) -> Recording:
        story = Written()
        story.steady("before")
        with story.step("load"):
            begin_s = story.now_s
            for number in range(int(4 * self.lasts_s)):
                at_s = number / 4 + 0.1
                failed = 2 < at_s < 2 + self.fails_s or (self.early_fails and at_s < 1)
                status = 503 if failed else 201
                story.call(
                    "load",
                    at_s=begin_s + at_s,
                    status=status,
                    actor="load",
                    service=self.service,
                    reaches=("orders",),
                )
            story.wait(2)
            story.beside("forget", "users", instances=list(self.there))
            story.wait(10)
            if self.looked_up:
                story.beside("lookup", "users", instances=list(self.again))
            story.wait(4)
        story.end()
        return story.recording()


class Restart(msgspec.Struct, kw_only=True):
    """Four requests a second; the agent is gone from 2 s to 7 s. `fails_s`: how long requests fail from then on."""

    there: tuple[str, ...] = ("c-users-0",)
    again: tuple[str, ...] = ("c-users-0",)
    fails_s: float = 0.0
    early_fails: bool = False
    lasts_s: float = 21.0
    looked_up: bool = True
    restarted: bool = True

    def judged(self) -> Verdict:
        story = Written()
        story.steady("before")
        with story.step("load"):
            for number in range(int(4 * self.lasts_s)):
                at_s = number / 4 + 0.1
                failed = 7 < at_s < 7 + self.fails_s or (self.early_fails and at_s < 1)
                status = 503 if failed else 201
                story.call("load", at_s=story.now_s + at_s, status=status, actor="load", reaches=("orders",))
            story.wait(2)
            if self.looked_up:
                story.beside("lookup", "users", instances=list(self.there))
            if self.restarted:
                with story.fault("restart of consul"):
                    story.wait(5)
            story.wait(10)
            story.beside("lookup", "users", instances=list(self.again))
            story.wait(4)
        story.end()
        return RESTART.check(story.recording())


def recorded(_: str, wrong: str = "") -> tuple[Checked, Recording]:
    """A whole run, for what every kind is tested by."""
    assert not wrong
    return PROMISE, Run().recorded()


def test_a_service_that_is_registered_again_passes() -> None:
    verdict = Run().judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.reason == (
        "1 of 1 instances that the registry had lost were registered again; 12 calls failed meanwhile, then 0 of 16"
    )


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run(again=()), "c-users-0 was not registered 10.0 s after the registry had lost it, promised within 10 s"),
        (Run(there=("c-users-0", "c-users-1")), "c-users-1 was not registered 10.0 s after"),
        (Run(fails_s=11), "a request ended with 503 10.1 s after the registry had lost it, promised none from 10 s"),
    ],
)
def test_one_that_is_not_or_is_not_found_fails(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.FAIL, verdict.reason
    assert reason in verdict.reason
    assert verdict.events


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run(there=(), again=()), "no instance of users was registered before"),
        (Run(early_fails=True), "requests failed before, the first with 503"),
        (Run(lasts_s=13), "only 4 requests when it had to be back, 5 are needed"),
        (Run(lasts_s=0), "no requests in the phase 'load'"),
        (Run(looked_up=False), "lookup users was done 0 times instead of 1"),
        (Run(service="gateway"), "the journey enters at gateway; it must enter at orders"),
    ],
)
def test_without_evidence_it_is_inconclusive(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE, verdict.reason
    assert reason in verdict.reason


def test_a_service_that_a_new_agent_is_told_of_passes() -> None:
    verdict = Restart(fails_s=1).judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.reason == (
        "1 of 1 instances that the registry had lost were registered again; 4 calls failed meanwhile, then 0 of 16"
    )


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Restart(again=()), "c-users-0 was not registered 10.0 s after the registry was back, promised within 10 s"),
        (Restart(fails_s=11), "a request ended with 503 10.1 s after the registry was back, promised none from 10 s"),
    ],
)
def test_one_that_a_new_agent_is_not_told_of_fails(run: Restart, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.FAIL, verdict.reason
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Restart(there=(), again=()), "no instance of users was registered before"),
        (Restart(early_fails=True), "requests failed before, the first with 503"),
        (Restart(lasts_s=18), "only 4 requests when it had to be back, 5 are needed"),
        (Restart(looked_up=False), "lookup users was done 1 times instead of 2"),
        (Restart(restarted=False), "restart of consul was in force 0 times instead of once"),
    ],
)
def test_without_evidence_of_a_restart_it_is_inconclusive(run: Restart, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE, verdict.reason
    assert reason in verdict.reason


def test_the_agent_is_the_cells_own_where_it_is_stopped_and_started_again() -> None:
    scenario = RESTART.scenario(TOPOLOGY)
    restart = (Wait(2.0), Lookup("users"), Hold(AGENT, (Wait(5.0),)), Wait(10.0), Lookup("users"), Wait(4.0))
    assert scenario.steps == (Hold(Load("load", "order", 4.0), restart),)
    assert (scenario.private, PROMISE.scenario(TOPOLOGY).private) == (("consul",), ())


def test_the_service_is_forgotten_and_looked_for_in_the_midst_of_a_load() -> None:
    steps = (Wait(2.0), Forget("users"), Wait(10.0), Lookup("users"), Wait(4.0))
    assert PROMISE.scenario(TOPOLOGY).steps == (Hold(Load("load", "order", 4.0), steps),)


@pytest.mark.parametrize("edge", ["orders -> user", "orders -> postgres"])
def test_an_edge_to_what_is_no_service_is_refused_by_its_key(edge: str) -> None:
    with pytest.raises(WrongKeyError) as refused:
        msgspec.structs.replace(PROMISE, edge=edge).scenario(TOPOLOGY)
    assert refused.value.key == "edge"
