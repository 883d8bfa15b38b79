"""Each kind of promise, performed by the engine on a simulated system and judged: scenario and check fit each other.

Time is simulated too: the event loop jumps to the next thing that is due.
"""

import asyncio
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any, get_args

import pytest

from brownout.cells.fake import FakeCell, FakeNetwork, FakeProcesses, FakeTelemetry
from brownout.engine import run
from brownout.history import Outcome, Recorder
from brownout.journeys import Request, Response, requests_journey
from brownout.promises.configuration import Configuration
from brownout.promises.consumer import ConsumerShutdown
from brownout.promises.contract import Contract, Kind, parse_contract
from brownout.promises.discovery import Discovery
from brownout.promises.events import Events
from brownout.promises.isolation import Isolation
from brownout.promises.metric import Metric
from brownout.promises.mild import MildTrouble
from brownout.promises.promise import Stated
from brownout.promises.recovery import Recovery
from brownout.promises.registration import Registration
from brownout.promises.tracing import Tracing
from brownout.recording import Recording, Series, Span
from brownout.topology import Edge, parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.workload.driver import Answer
from simulation import Breaker, Numb, Simulated, judged

ORDERS_USERS = Edge("orders", "users")
ORDERS_POSTGRES = Edge("orders", "postgres")
USERS_POSTGRES = Edge("users", "postgres")
TOPOLOGY = parse_topology(
    """
    entry = "users"
    deadline_header = "X-Timeout-Ms"
    [services.users]
    command = ["users"]
    env = { DATABASE_URL = "{postgres}" }
    [services.orders]
    command = ["orders"]
    calls = ["users"]
    env = { DATABASE_URL = "{postgres}" }
    """,
    "topology.toml",
)
CONTRACT = Path(__file__).with_suffix(".toml").read_text()

SERVICE_S = 0.005

ON_EDGES = {Configuration, Discovery, Isolation, MildTrouble, Recovery, Registration}
ELSEWHERE = ON_EDGES | {ConsumerShutdown, Events, Metric, Tracing}
"""Kinds that need another system: test_promises_performed_*.py, and for a consumer's end the mutants."""


class System:
    """Orders and users as one driver, whose edges and processes are those of a fake cell.

    Args:
        cuts_after_s: after the signal, what users has in flight.
        numb: no fault acts on an edge.
        hangs_up: users accepts what comes after the signal, and hangs up.
        rps: of users' limiter.
        deadline_s: of orders' calls.
        counts_mistakes: in orders' breaker.
        traced: whether it sends spans, and is scraped.
        breaker: the numbers of orders' breaker.
    """

    def __init__(
        self,
        *,
        cuts_after_s: float = inf,
        numb: bool = False,
        hangs_up: bool = False,
        rps: float = 5.0,
        deadline_s: float = 10.0,
        counts_mistakes: bool = False,
        traced: bool = True,
        **breaker: Any,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.now_s = loop.time
        self.network = (NumbCounted if numb else Counted)(ORDERS_USERS, ORDERS_POSTGRES, USERS_POSTGRES)
        self.processes = Restarted(users=1, orders=1)
        self.spans: list[Span] = []
        # A fake's telemetry keeps a list that it is given, unless it is empty.
        self.spans.append(Span("0" * 32, "0" * 16, "", "users", "start", "internal", 0, 0))
        telemetry = FakeTelemetry(self.spans, [Series({"__name__": "up"}, [(0.0, 1.0)])], blind=not traced)
        self.cell = FakeCell(self.network, self.processes, telemetry)
        self.breaker = Breaker(self.now_s, **breaker)
        self.processes.on_start = lambda: self.breaker.begin("closed")
        self.processes.now_s = self.now_s
        self.cuts_after_s, self.hangs_up, self.deadline_s = cuts_after_s, hangs_up, deadline_s
        self.rps, self.free_s = rps, 0.0
        self.lost_s: float | None = None
        self.counts_mistakes = counts_mistakes

    async def send(self, url: str, request: Request, timeout_s: float) -> Answer:
        await asyncio.sleep(SERVICE_S)
        if request.path == "/health":
            return self.health(aside=".aside." in url)
        patience_s = min(timeout_s, float(request.headers.get("X-Timeout-Ms", "60000")) / 1000)
        answers = {
            "/orders": self.order,
            "/mistakes": self.mistaken,
            "/users/1": self.limited,
            "/stored/1": self.stored,
        }
        status = await answers[request.path](request, patience_s)
        if status == 0:
            return Answer(Outcome.UNKNOWN, {"error": "cut"}, Response(0))
        if status < 0:
            return Answer(Outcome.FAILED, {"error": "refused"}, Response(0))
        outcome = Outcome.OK if status < 300 else Outcome.FAILED
        return Answer(outcome, {"status": status, "body": None}, Response(status))

    def span(self, request: Request, service: str, begun_s: float | None = None) -> None:
        trace_id, end_ns = request.headers["traceparent"].split("-")[1], int(self.now_s() * 1e9)
        begun_ns = end_ns if begun_s is None else int(begun_s * 1e9)
        self.spans.append(Span(trace_id, f"{len(self.spans):016x}", "", service, "x", "server", begun_ns, end_ns))

    async def order(self, request: Request, patience_s: float) -> int:
        self.span(request, "orders")
        admission = self.breaker.admit()
        if admission is None:
            return 503
        status = await self.asked_users(request, min(self.deadline_s, patience_s))
        self.breaker.done(admission, ok=status < 300)
        return status

    async def mistaken(self, request: Request, _: float) -> int:
        self.span(request, "orders")
        admission = self.breaker.admit()
        if admission is None:
            return 503
        self.network.carried += 100
        self.span(request, "users")
        self.breaker.done(admission, ok=not self.counts_mistakes)
        return 422

    async def asked_users(self, request: Request, deadline_s: float) -> int:
        if ORDERS_USERS in self.network.off:
            return 502
        self.network.carried += 100
        self.span(request, "users")
        slow_s = self.network.latency_s(ORDERS_USERS)
        await asyncio.sleep(min(slow_s, deadline_s))
        return 504 if slow_s > deadline_s else 201

    async def limited(self, request: Request, patience_s: float) -> int:
        begun_s = self.now_s()
        status = await self.token(patience_s)
        self.span(request, "users", begun_s)
        return status

    async def token(self, patience_s: float) -> int:
        self.free_s = max(self.free_s, self.now_s() - 5 / self.rps)
        wait_s = self.free_s + 1 / self.rps - self.now_s()
        if wait_s > patience_s:
            return 429
        self.free_s += 1 / self.rps
        await asyncio.sleep(max(0.0, wait_s))
        return 200

    async def stored(self, request: Request, _: float) -> int:
        if self.processes.exit_codes["users", 0] is not None:
            return 0 if self.hangs_up else -1
        ends_s = self.now_s() + self.network.latency_s(USERS_POSTGRES)
        while self.now_s() < ends_s:
            await asyncio.sleep(min(0.1, ends_s - self.now_s()))
            if self.now_s() > self.processes.signalled_s + self.cuts_after_s:
                return 0
        self.span(request, "users")
        return 200

    def health(self, *, aside: bool) -> Answer:
        gone = self.processes.exit_codes["users", 0] is not None
        self.lost_s = (self.lost_s or self.now_s()) if gone else None
        users = self.lost_s is None or self.now_s() < self.lost_s + 12
        database = aside or ORDERS_POSTGRES not in self.network.off
        said = "UP" if database and users else "DEGRADED" if database else "DOWN"
        words = {True: "UP", False: "DOWN"}
        body = {"status": said, "database": words[database], "users": words[users]}
        outcome = Outcome.OK if database else Outcome.FAILED
        return Answer(outcome, {"status": 200 if database else 503, "body": body}, Response(200, body))


class Restarted(FakeProcesses):
    """Processes that forget what they knew when they are started again."""

    on_start: Callable[[], None]
    now_s: Callable[[], float]
    signalled_s = inf

    async def terminate(self, service: str, instance: int) -> dict[str, Any]:
        self.signalled_s = self.now_s()
        return await super().terminate(service, instance)

    async def start(self, service: str, instance: int) -> None:
        await super().start(service, instance)
        self.on_start()


class Counted(FakeNetwork):
    """Edges that count what orders and users tell each other."""

    carried = 0

    async def carried_bytes(self, edge: Edge) -> dict[str, int]:
        self._known(edge)
        return {"upstream": self.carried, "downstream": self.carried}

    def latency_s(self, edge: Edge) -> float:
        return sum(toxic.attributes.get("latency", 0) for toxic in self.toxics[edge]) / 1000


class NumbCounted(Numb, Counted):
    """The same, unmoved by faults."""


def contract() -> Contract:
    return parse_contract(CONTRACT, "contract.toml", TOPOLOGY)


def promised(name: str) -> Stated:
    return next(one for one in contract().promises if isinstance(one, Stated) and one.name == name)


def performed(name: str, **wrong: Any) -> Verdict:
    return judged(*recorded(name, **wrong))


def recorded(name: str, **wrong: Any) -> tuple[Stated, Recording]:
    promise = promised(name)
    journeys = {known: requests_journey(requests) for known, requests in contract().journeys.items()}

    async def perform() -> Recording:
        system = System(**wrong)
        recorder = Recorder(lambda: int(system.now_s() * 1e9))
        scenario = promise.scenario(TOPOLOGY)
        return await run(scenario, system.cell, journeys, system, recorder, deadline_header=TOPOLOGY.deadline_header)

    with asyncio.Runner(loop_factory=Simulated) as runner:
        return promise, runner.run(perform())


@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize(
    "name", ["breaker", "deadline", "short-deadline", "limit", "health", "drain", "long-drain", "half-open", "mistakes"]
)
def test_a_system_as_promised_passes_with_or_without_spans(name: str, traced: bool) -> None:  # noqa: FBT001 - a case
    verdict = performed(name, traced=traced)
    assert verdict.ruling is Ruling.PASS, verdict.reason


WRONG = pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("breaker", {"ratio": 0.9}, "15 failures in 25 calls did not trip it: the next call reached users"),
        ("breaker", {"ratio": 0.65}, "15 failures in 25 calls did not trip it: the next call reached users"),
        ("breaker", {"ratio": 0.51}, "10 failures in 17 calls: the next call, on the healthy edge, ended with 503"),
        ("breaker", {"ratio": 0.58}, "10 failures in 17 calls: the next call, on the healthy edge, ended with 503"),
        ("breaker", {"ratio": 0.0}, "10 failures in 17 calls: the next call"),
        ("breaker", {"in_a_row": 3}, "10 failures in 17 calls: the next call"),
        ("breaker", {"in_a_row": 2}, "2 failures in 2 calls: the next call, on the healthy edge, ended with 503"),
        ("breaker", {"in_a_row": 9}, "3 failures in 3 calls over 9.0 s did not trip it: the next call reached users"),
        ("breaker", {"requests": 1}, "2 failures in 2 calls: the next call, on the healthy edge, ended with 503"),
        ("breaker", {"requests": 2}, "2 failures in 2 calls: the next call, on the healthy edge, ended with 503"),
        ("breaker", {"requests": 4}, "3 failures in 3 calls over 9.0 s did not trip it: the next call reached users"),
        ("breaker", {"requests": 5}, "3 failures in 3 calls over 9.0 s did not trip it: the next call reached users"),
        ("breaker", {"window_s": 0.5}, "3 failures in 3 calls over 9.0 s did not trip it"),
        ("breaker", {"window_s": 2}, "3 failures in 3 calls over 9.0 s did not trip it"),
        ("breaker", {"window_s": 5}, "3 failures in 3 calls over 9.0 s did not trip it"),
        ("breaker", {"window_s": 8.9}, "3 failures in 3 calls over 9.0 s did not trip it"),
        ("breaker", {"window_s": 1000}, "3 failures in 3 calls over 9.0 s did not trip it"),
        ("breaker", {"open_s": 30.0}, "call 31 reached users 30.0 s after the trip, promised 60 s"),
        ("breaker", {"open_s": 90.0}, "60.5 s after the trip no call was let through"),
        ("breaker", {"trial": 5}, "half-open let 5 of 20 calls reach users, 5 succeeded; promised exactly 3"),
        ("breaker", {"trial": 1}, "half-open let 1 of 20 calls reach users"),
        (
            "half-open",
            {"closes_after": 1},
            "a call reached users 0.0 s after a failure on trial, promised to open again",
        ),
        (
            "half-open",
            {"forgives": True},
            "a call reached users 0.0 s after a failure on trial, promised to open again",
        ),
        ("half-open", {"open_s": 90.0}, "a call on trial ended with 503 60.5 s after the trip"),
        ("mistakes", {"counts_mistakes": True}, "after 3 mistakes a call ended with 503, promised 422"),
        ("deadline", {"deadline_s": 5.0}, "call 1 ended with 504 after 5.0"),
        ("deadline", {"deadline_s": 20.0}, "call 1 ended with 201 after 11.0"),
        ("short-deadline", {"ratio": 2.0}, "promised a tripped breaker"),
        ("limit", {"rps": 7.0}, "calls were sent and answered within"),
        ("limit", {"rps": 3.0}, "15 calls at once took 3.5 s, the limit grants them within 2.0 s"),
        ("drain", {"cuts_after_s": 0.0}, "10 of 10 requests in flight were cut, the first 0.0 s after the signal"),
        ("long-drain", {"cuts_after_s": 0.0}, "30 of 30 requests in flight were cut"),
        ("long-drain", {"cuts_after_s": 3.0}, "30 of 30 requests in flight were cut, the first 3.0 s after the signal"),
    ],
)


@WRONG
def test_a_system_with_one_wrong_number_fails(name: str, wrong: dict[str, float], reason: str) -> None:
    verdict = performed(name, **wrong)
    assert verdict.ruling is Ruling.FAIL, verdict.reason
    assert reason in verdict.reason


@WRONG
def test_a_wrong_number_shows_from_outside_by_the_same_events(name: str, wrong: dict[str, float], reason: str) -> None:
    verdict = performed(name, traced=False, **wrong)
    assert verdict.ruling is Ruling.FAIL, f"{verdict.reason}; with spans: {reason}"
    assert verdict.events == performed(name, **wrong).events


def test_a_breaker_that_trips_only_when_all_fail_passes_if_that_is_promised() -> None:
    verdict = performed("strict-breaker", requests=2, ratio=1.0)
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.reason.endswith("half-open let 3 of 20 pass, closed")


def test_a_drain_that_hangs_up_on_whoever_comes_is_not_called_a_refusal() -> None:
    verdict = performed("drain", hangs_up=True)
    assert verdict.ruling is Ruling.INCONCLUSIVE, verdict.reason
    assert "11 of 11 requests after the signal were cut" in verdict.reason


def test_every_promise_of_the_contract_is_performed_here() -> None:
    kinds = {type(promise) for promise in contract().promises}
    assert kinds | ELSEWHERE == set(get_args(Kind))
