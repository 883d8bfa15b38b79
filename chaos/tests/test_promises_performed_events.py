"""Events, tracing and metric, performed by the engine on a simulated system and judged: scenario and check fit.

Time is simulated too: the event loop jumps to the next thing that is due.
"""

import asyncio
from typing import Any

import pytest

from brownout.cells.fake import FakeCell, FakeNetwork, FakeProcesses, FakeStores, FakeTelemetry
from brownout.engine import run
from brownout.history import Outcome, Recorder
from brownout.journeys import Request, Response, requests_journey
from brownout.promises.contract import parse_contract
from brownout.promises.promise import Checked, trials
from brownout.recording import Recording, Series, Span
from brownout.topology import Edge, parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.workload.driver import Answer
from simulation import Numb, Simulated, judged

ORDERS_KAFKA = Edge("orders", "kafka")
SQL = "SELECT order_id FROM notifications"
DEPTH = 'outbox_depth{cell="$cell"}'
TOPOLOGY = parse_topology(
    """
    entry = "orders"
    [services.orders]
    command = ["orders"]
    env = { KAFKA = "{kafka}" }
    [services.notifications]
    command = ["notifications"]
    env = { KAFKA = "{kafka}" }
    """,
    "topology.toml",
)
CONTRACT = f"""
journeys.order = [{{ service = "orders", method = "POST", path = "/orders" }}]

[[promise]]
kind = "events"
name = "events"
clause = "3.3"
journey = "order"
edge = "orders -> kafka"
topic = "order.created"
key = "order_id"
acknowledged = "id"
handled = {{ service = "notifications", sql = "{SQL}" }}
rate = 5
outage_s = 20
within_s = 15

[[promise]]
kind = "metric"
name = "outbox"
clause = "3.3"
of = "events"
query = '{DEPTH}'
expect = [{{ during = "outage of orders -> kafka", at_least = 1 }}, {{ during = "wait 20 s", at_most = 200 }}]

[[promise]]
kind = "tracing"
name = "tracing"
clause = "6.4"
journey = "order"
within_s = 3

[[promise.spans]]
id = "publish"
name = "PublishEvent"
service = "orders"

[[promise.spans]]
id = "consumer"
service = "notifications"
kind = "consumer"
under = "publish"
"""


class System:
    """Orders that tell notifications by a broker, as one driver; what it does wrong is told by name."""

    def __init__(self, wrong: str) -> None:
        self.wrong = wrong
        self.now_s = asyncio.get_running_loop().time
        self.network = Numb(ORDERS_KAFKA) if wrong == "numb" else FakeNetwork(ORDERS_KAFKA)
        self.spans = [Span("0" * 32, "0" * 16, "", "orders", "start", "internal", 0, 0)]
        self.depth = Series({"__name__": "outbox_depth"}, [])
        self.handled: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.orders, self.waiting = 0, 0
        self.cell = FakeCell(
            self.network,
            FakeProcesses(orders=1, notifications=1),
            FakeTelemetry(self.spans, [Series({"__name__": "up"}, [(0.0, 1.0)])], {DEPTH: [self.depth]}),
            stores=FakeStores({("notifications", SQL): self.handled}, {"order.created": self.messages}),
        )
        self.tasks = {asyncio.create_task(self.sample())}

    async def sample(self) -> None:
        while True:
            self.depth.points.append((self.now_s(), 0.0 if self.wrong == "blind" else float(self.waiting)))
            await asyncio.sleep(1)

    @property
    def cut(self) -> bool:
        return ORDERS_KAFKA in self.network.off and self.wrong != "elsewhere"

    async def send(self, url: str, request: Request, timeout_s: float) -> Answer:
        assert url.startswith("http://orders")
        await asyncio.sleep(0.01)
        if self.cut and self.wrong == "hangs":
            await asyncio.sleep(timeout_s)
            return Answer(Outcome.UNKNOWN, {"error": "no answer"}, Response(0))
        if self.cut and self.wrong == "refuses":
            return Answer(Outcome.FAILED, {"status": 503}, Response(503))
        self.orders += 1
        order_id, trace_id = f"o{self.orders}", request.headers["traceparent"].split("-")[1]
        self.tasks.add(asyncio.create_task(self.tell(order_id, trace_id, self.span(trace_id, "PublishEvent"))))
        body = {"id": order_id}
        return Answer(Outcome.OK, {"status": 201, "body": body}, Response(201, body))

    def span(self, trace_id: str, name: str, parent: str = "", service: str = "orders", kind: str = "internal") -> str:
        span_id, now_ns = f"{len(self.spans):016x}", int(self.now_s() * 1e9)
        self.spans.append(Span(trace_id, span_id, parent, service, name, kind, now_ns, now_ns))
        return span_id

    async def tell(self, order_id: str, trace_id: str, parent: str) -> None:
        """Publish, as soon as there is a way, and have it handled."""
        if self.cut and self.wrong == "loses":
            return
        self.waiting += 1
        while self.cut:  # noqa: ASYNC110 - the fake network tells nobody when it changes
            await asyncio.sleep(0.1)
        await asyncio.sleep(20.0 if self.wrong == "late" else 0.05)
        self.waiting -= 1
        self.messages.append({"key": order_id, "value": {"order_id": order_id}, "headers": {"event-id": order_id}})
        self.span(trace_id, "process", "" if self.wrong == "forgets" else parent, "notifications", "consumer")
        self.handled += [{"order_id": order_id}] * (2 if self.wrong == "repeats" else 1)


def performed(name: str, wrong: str = "") -> Verdict:
    return judged(*recorded(name, wrong))


def recorded(name: str, wrong: str = "") -> tuple[Checked, Recording]:
    contract = parse_contract(CONTRACT, "contract.toml", TOPOLOGY)
    journeys = {known: requests_journey(requests) for known, requests in contract.journeys.items()}
    (trial,) = trials(contract.promises, TOPOLOGY, {name})

    async def perform() -> Recording:
        system = System(wrong)
        recorder = Recorder(lambda: int(system.now_s() * 1e9))
        return await run(trial.scenario, system.cell, journeys, system, recorder)

    with asyncio.Runner(loop_factory=Simulated) as runner:
        return trial.promises[0], runner.run(perform())


@pytest.mark.parametrize("name", ["events", "outbox", "tracing"])
def test_a_system_as_promised_passes(name: str) -> None:
    verdict = performed(name)
    assert verdict.ruling is Ruling.PASS, verdict.reason


def test_the_figures_are_those_of_the_run() -> None:
    figures = {figure.name: figure.value for figure in performed("events").figures}
    assert figures["acknowledged"] == figures["published"] == figures["handled"]
    assert 125 <= figures["acknowledged"] <= 140
    assert 0 < figures["longest delay after the heal"] < 1


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("events", "loses", "acknowledged were not handled 15.0 s after the heal, promised within 15 s"),
        ("events", "late", "acknowledged were not handled 15.0 s after the heal, promised within 15 s"),
        ("events", "repeats", "was handled 2 times, promised once"),
        ("events", "refuses", "a request ended with 503 0.0 s after the outage of orders -> kafka began"),
        ("events", "hangs", "a request ended with no answer 0.0 s after the outage of orders -> kafka began"),
        ("outbox", "blind", "outbox_depth said 0 2."),
        ("tracing", "forgets", "hangs at the top, or below a span that was lost, promised under publish"),
        ("tracing", "late", "consumer (notifications consumer span) is missing"),
    ],
)
def test_a_system_that_does_one_thing_wrong_fails(name: str, wrong: str, reason: str) -> None:
    verdict = performed(name, wrong)
    assert verdict.ruling is Ruling.FAIL, verdict.reason
    assert reason in verdict.reason


def test_events_that_go_another_way_show_nothing() -> None:
    verdict = performed("events", "elsewhere")
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert "their events go another way" in verdict.reason
