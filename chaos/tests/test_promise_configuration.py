"""Configuration's check on written recordings: a limit, or an answer, that follows what was written."""

from typing import Any

import msgspec
import pytest

from brownout.faults import Outage, Restarted
from brownout.promises.configuration import Configuration
from brownout.promises.health import Said
from brownout.promises.promise import WrongKeyError
from brownout.promises.value import Limit, Value
from brownout.scenario import Hold, Load, Put, Wait
from brownout.topology import Edge, Topology, parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

LOW, HIGH = Value("5", limit=Limit(5, 5)), Value("15", limit=Limit(15, 15))
ON, OFF = Value("on", answer=Said(200, {"new": True})), Value("off", answer=Said(200, {"new": False}))
LIMITED = Configuration(
    name="limit", clause="5", journey="read", edge="users -> consul", key="users/rps", values=(LOW, HIGH, LOW)
)
RESTART = msgspec.structs.replace(LIMITED, restart_s=5.0)
SWITCHED = msgspec.structs.replace(LIMITED, key="users/new", values=(ON, OFF, ON))
TOPOLOGY = parse_topology(
    """
    entry = "users"
    deadline_header = "X-Timeout-Ms"
    [services.users]
    command = ["users"]
    env = { CONSUL_URL = "{consul}", DATABASE_URL = "{postgres}" }
    """,
    "topology.toml",
)


class Run(msgspec.Struct, kw_only=True):
    """A run in which each phase's limit is what it says.

    Args:
        rps: of the limit in the phases value 1 to 3, cut and healed; its burst is the same.
        written: how many of the four writes are done.
        asked: of each phase's calls so many are made, as a share.
        caught_up_s: after so much of the last phase the limit is the one before it no more.
        early_s: by so much each phase begins before it may.
        late: the last write comes after the heal.
        restarted: in the place of the outage, the agent is stopped and started again.
        refusal: the status.
        entry: who is asked.
    """

    rps: tuple[float, ...] = (5, 15, 5, 5, 15)
    written: int = 4
    asked: float = 1.0
    caught_up_s: float = 0.0
    early_s: float = 0.0
    late: bool = False
    restarted: bool = False
    refusal: int = 429
    entry: str = "users"

    def judged(self) -> Verdict:
        story = Written()
        story.steady("before", reaches=("users",))
        for number, value in enumerate((LOW, HIGH, LOW)):
            self.put(story, number, value)
            story.wait(LIMITED.within_s - self.early_s)
            self.look(story, f"value {number + 1}", value, self.rps[number])
        with story.fault("restart of consul" if self.restarted else "outage of users -> consul"):
            self.look(story, "cut", LOW, self.rps[3])
            if not self.late:
                self.put(story, 3, HIGH)
            story.wait(6)
        if self.late:
            self.put(story, 3, HIGH)
        story.wait(LIMITED.healed_within_s)
        self.look(story, "healed", HIGH, self.rps[4])
        story.end()
        return (RESTART if self.restarted else LIMITED).check(story.recording())

    def put(self, story: Written, number: int, value: Value) -> None:
        if number < self.written:
            story.put(LIMITED.key, value.value)

    def look(self, story: Written, phase: str, value: Value, rps: float) -> None:
        assert value.limit
        rate, begin_s = 2 * value.limit.rps * self.asked, story.now_s
        tokens, at_s, now_rps = rps, begin_s, rps
        for number in range(int(4 * rate)):
            sent_s = begin_s + number / rate
            now_rps = 5 if sent_s < begin_s + self.caught_up_s and phase == "healed" else rps
            tokens, at_s = min(now_rps, tokens + now_rps * (sent_s - at_s)), sent_s
            passes = tokens >= 1
            tokens -= passes
            status = 200 if passes else self.refusal
            story.call(phase, at_s=sent_s, status=status, service=self.entry, actor="load")
        story.now_s = begin_s + 4.1


def test_a_limit_that_follows_passes_with_its_figures() -> None:
    verdict = Run().judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.reason == (
        "users/rps was followed 3 times within 2 s of its writing, and within 7 s of the heal when it was written "
        "during an outage"
    )
    assert [str(figure) for figure in verdict.figures] == [
        "'5' 2 s after it was written 24 of 40 calls passed (14 to 25)",
        "'15' 2 s after it was written 74 of 120 calls passed (46 to 75)",
        "'5' 2 s after it was written 24 of 40 calls passed (14 to 25)",
        "'5' while users -> consul was cut 24 of 40 calls passed (14 to 25)",
        "'15' 7 s after users -> consul was healed 74 of 120 calls passed (46 to 75)",
    ]


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run(rps=(200, 200, 200, 200, 200)), "users/rps = '5' 2 s after it was written: 40 calls were sent and"),
        (
            Run(rps=(5, 5, 5, 5, 5)),
            "users/rps = '15' 2 s after it was written: only 14 of 60 calls within 2.0 s passed",
        ),
        (Run(rps=(5, 15, 15, 15, 15)), "users/rps = '5' 2 s after it was written: 40 calls were sent and answered"),
        (
            Run(rps=(5, 15, 5, 200, 15)),
            "users/rps = '5' while users -> consul was cut: 40 calls were sent and answered",
        ),
        (Run(rps=(5, 15, 5, 5, 5)), "users/rps = '15' 7 s after users -> consul was healed: only 14 of 60 calls"),
        (Run(caught_up_s=2.0), "users/rps = '15' 7 s after users -> consul was healed: only"),
        (Run(rps=(5, 15, 4, 5, 15), refusal=500), "a call ended with 500, promised an answer or 429"),
        (Run(rps=(6, 15, 5, 5, 15)), "users/rps = '5' 2 s after it was written: "),
        (
            Run(rps=(5, 15, 5, 5, 5), late=True, restarted=True),
            "users/rps = '15' 7 s after users -> consul had a new agent: only 14 of 60 calls",
        ),
        (
            Run(rps=(5, 15, 5, 200, 15), late=True, restarted=True),
            "users/rps = '5' while users -> consul had no agent: 40 calls were sent and answered",
        ),
    ],
)
def test_a_limit_that_does_not_follow_fails_and_says_when(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.FAIL, verdict.reason
    assert reason in verdict.reason
    assert verdict.events


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run(written=0), "users/rps was written never, and had to be 5, 15, 5, 15"),
        (Run(written=3), "users/rps was written 5, 15, 5, and had to be 5, 15, 5, 15"),
        (Run(late=True), "users/rps was not written while users -> consul was cut"),
        (Run(restarted=True), "users/rps was not written to the new agent"),
        (Run(asked=0.5), "'5' 2 s after it was written: only 20 calls were made, and the limit grants 24"),
        (Run(early_s=0.5), "'5' 2 s after it was written: the calls were not all made in that time"),
        (Run(entry="gateway"), "it must enter at users"),
    ],
)
def test_without_evidence_it_is_inconclusive(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE, verdict.reason
    assert reason in verdict.reason


def test_a_write_that_failed_is_no_evidence() -> None:
    story = Written()
    for value in ("5", "15", "5", "15"):
        story.put(LIMITED.key, value, written=value == "5")
    verdict = LIMITED.check(story.recording())
    assert (verdict.ruling, verdict.reason) == (
        Ruling.INCONCLUSIVE,
        "users/rps was written 5, 5, and had to be 5, 15, 5, 15",
    )


def test_nothing_recorded_is_inconclusive() -> None:
    assert LIMITED.check(Written().recording()).ruling is Ruling.INCONCLUSIVE


def switched(*bodies: Any) -> Verdict:
    """A run of the switch in which the phases' calls are answered so."""
    story = Written()

    def look(phase: str, body: Any) -> None:
        for _ in range(20):
            story.call(phase, status=200, body=body, service="users", actor="load")

    for number, value in enumerate(SWITCHED.values):
        story.put(SWITCHED.key, value.value)
        story.wait(SWITCHED.within_s)
        look(f"value {number + 1}", bodies[number])
    with story.fault("outage of users -> consul"):
        look("cut", bodies[3])
        story.put(SWITCHED.key, "off")
        story.wait(6)
    story.wait(SWITCHED.healed_within_s)
    look("healed", bodies[4])
    return SWITCHED.check(story.recording())


def test_an_answer_that_follows_passes() -> None:
    on, off = {"new": True, "id": 1}, {"new": False, "id": 1}
    verdict = switched(on, off, on, on, off)
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.figures[1].bound == '200 {"new":false}'


def test_an_answer_that_does_not_follow_fails() -> None:
    on, off = {"new": True}, {"new": False}
    verdict = switched(on, off, off, on, off)
    assert verdict.ruling is Ruling.FAIL
    assert verdict.reason == (
        "users/new = 'on' 2 s after it was written: a call was answered 200 {'new': False}, promised 200 {\"new\":true}"
    )


def test_each_value_is_written_and_looked_at_and_the_last_one_while_the_edge_is_cut() -> None:
    def look(phase: str, rate: float) -> Hold:
        return Hold(Load(phase, "read", rate, deadline_ms=500), (Wait(4),))

    assert LIMITED.scenario(TOPOLOGY).steps == (
        *(Put("users/rps", "5"), Wait(2), look("value 1", 10)),
        *(Put("users/rps", "15"), Wait(2), look("value 2", 30)),
        *(Put("users/rps", "5"), Wait(2), look("value 3", 10)),
        Hold(Outage(Edge("users", "consul")), (look("cut", 10), Put("users/rps", "15"), Wait(6))),
        Wait(7),
        look("healed", 30),
    )


def test_a_limit_that_follows_a_new_agent_passes() -> None:
    verdict = Run(late=True, restarted=True).judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.reason == (
        "users/rps was followed 3 times within 2 s of its writing, and within 7 s of its writing to a new agent"
    )


def test_the_last_value_is_written_to_the_new_agent_where_one_is_started() -> None:
    scenario = RESTART.scenario(TOPOLOGY)
    away, put, *_ = scenario.steps[9:]
    look = Hold(Load("cut", "read", 10, deadline_ms=500), (Wait(4),))
    assert (away, put) == (Hold(Restarted("consul"), (look, Wait(5))), Put("users/rps", "15"))
    assert (scenario.private, LIMITED.scenario(TOPOLOGY).private) == (("consul",), ())


@pytest.mark.parametrize(
    ("values", "topology", "reason"),
    [
        ((LOW, Value("6", limit=Limit(6, 6)), LOW), TOPOLOGY, "'5' and '6' cannot be told apart within 4 s"),
        ((ON, Value("1", answer=ON.answer), ON), TOPOLOGY, "'on' and '1' cannot be told apart"),
        ((LOW, Value("15"), LOW), TOPOLOGY, "'15' is shown by a limit or by an answer: name one of them"),
        ((LOW, ON, LOW), TOPOLOGY, "'5' and 'on' cannot be told apart"),
        ((LOW, HIGH, LOW), msgspec.structs.replace(TOPOLOGY, deadline_header=""), "needs a deadline_header"),
    ],
)
def test_values_that_show_nothing_are_refused(values: tuple[Value, ...], topology: Topology, reason: str) -> None:
    with pytest.raises(WrongKeyError, match=reason) as refused:
        msgspec.structs.replace(LIMITED, values=values).scenario(topology)
    assert refused.value.key == "values"


@pytest.mark.parametrize("edge", ["users -> kafka", "users -> postgres", "orders -> consul"])
def test_an_edge_that_leads_to_no_configuration_is_refused_by_its_key(edge: str) -> None:
    with pytest.raises(WrongKeyError) as refused:
        msgspec.structs.replace(LIMITED, edge=edge).scenario(TOPOLOGY)
    assert refused.value.key == "edge"
