"""The kinds about edges in general, performed by the engine on a simulated system and judged: scenario and check fit.

Time is simulated too: the event loop jumps to the next thing that is due.
"""

import asyncio
from itertools import count
from typing import Any

import pytest

from brownout.cells.fake import FakeCell, FakeNetwork, FakeProcesses, FakeTelemetry
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

SHOP_STOCK = Edge("shop", "stock")
SHOP_POSTGRES = Edge("shop", "postgres")
SHOP_CONSUL = Edge("shop", "consul")
TOPOLOGY = parse_topology(
    """
    entry = "shop"
    [services.shop]
    command = ["shop"]
    calls = ["stock"]
    env = { DATABASE_URL = "{postgres}", CONSUL_URL = "{consul}" }
    [services.stock]
    command = ["stock"]
    """,
    "topology.toml",
)
CONTRACT = """
journeys.buy = [{ service = "shop", method = "POST", path = "/buy" }]
journeys.read = [{ service = "shop", method = "GET", path = "/read" }]
journeys.about = [{ service = "shop", method = "GET", path = "/about" }]

[[promise]]
kind = "mild-trouble"
name = "mild"
clause = "6"
journey = "buy"
journeys = { "shop -> postgres" = "read" }
background = ["consul"]
health = { status = 200, body = { status = "UP" } }

[[promise]]
kind = "isolation"
name = "isolation"
clause = "2"
journey = "buy"

[[promise.cases]]
edge = "shop -> stock"
hits = "buy"
spares = ["read", "about"]

[[promise.cases]]
edge = "shop -> postgres"
hits = "read"
spares = ["buy", "about"]

[[promise.cases]]
edge = "shop -> consul"
spares = ["buy", "read"]

[[promise]]
kind = "recovery"
name = "recovery"
clause = "6"
journey = "buy"

[[promise.cases]]
edge = "shop -> stock"
journey = "buy"
within_s = 75

[[promise.cases]]
edge = "shop -> postgres"
journey = "read"
within_s = 5

[[promise.cases]]
edge = "shop -> consul"
within_s = 12

[[promise]]
kind = "discovery"
name = "discovery"
clause = "4.1"
journey = "buy"
edge = "shop -> stock"
"""


class Network(FakeNetwork):
    """Edges over which an answer comes every second, whoever waits for it; one that is deaf never asks again."""

    def __init__(self, *edges: Edge, deaf: bool) -> None:
        super().__init__(*edges)
        self.deaf = deaf
        self.cut: set[Edge] = set()

    async def switch(self, edge: Edge, *, on: bool) -> dict[str, Any]:
        self.cut.add(edge)
        return await super().switch(edge, on=on)

    async def carried_bytes(self, edge: Edge) -> dict[str, int]:
        now_s = int(asyncio.get_running_loop().time())
        return {"upstream": 100 * now_s, "downstream": 900 if self.deaf and edge in self.cut else 200 * now_s}


class NumbNetwork(Numb, Network):
    """The same, unmoved by faults."""


class System:
    """A shop that asks the instances of a stock in turn, behind a breaker; what it does wrong is told by name."""

    def __init__(self, wrong: str, stocks: int) -> None:
        self.wrong = wrong
        self.now_s = asyncio.get_running_loop().time
        network = NumbNetwork if wrong == "numb" else Network
        self.network = network(SHOP_STOCK, SHOP_POSTGRES, SHOP_CONSUL, deaf=wrong == "deaf")
        self.processes = FakeProcesses(shop=1, stock=stocks)
        self.spans = [Span("0" * 32, "0" * 16, "", "shop", "start", "internal", 0, 0)]
        telemetry = FakeTelemetry(self.spans, [Series({"__name__": "up"}, [(0.0, 1.0)])])
        self.cell = FakeCell(self.network, self.processes, telemetry)
        self.turns, self.failed, self.open_until_s = count(), 0, 0.0
        self.open_s = 90.0 if wrong == "stays open" else 60.0
        self.known = list(range(stocks))
        self.changed_s: dict[int, float] = {}
        self.cut_s: dict[Edge, float] = {}

    async def send(self, url: str, request: Request, timeout_s: float) -> Answer:
        assert url.startswith("http://")
        assert timeout_s > 2
        await asyncio.sleep(0.01)
        answers = {"/buy": self.buy, "/read": self.read, "/about": self.about, "/health": self.health}
        status = await answers[request.path](request)
        body = {"status": "UP" if status == 200 else "DOWN"}
        outcome = Outcome.OK if status == 200 else Outcome.FAILED
        return Answer(outcome, {"status": status, "body": body}, Response(status, body))

    def span(self, request: Request, service: str, instance: int = 0, lasting_s: float = 0.0) -> None:
        trace_id, now_ns = request.headers["traceparent"].split("-")[1], int(self.now_s() * 1e9)
        named = {"service.instance.id": f"{service}-{instance}"}
        begun_ns = now_ns - int(lasting_s * 1e9)
        span_id = f"{len(self.spans):016x}"
        self.spans.append(Span(trace_id, span_id, "", service, "x", "server", begun_ns, now_ns, named))

    async def over(self, edge: Edge) -> bool:
        """Go over an edge: whether it is there, after the latency that is on it."""
        if edge in self.network.off:
            self.cut_s[edge] = self.now_s()
            return False
        slow_s = sum(toxic.attributes["latency"] for toxic in self.network.toxics[edge]) / 1000
        await asyncio.sleep(min(slow_s, 0.5) if self.wrong == "impatient" else slow_s)
        return not (self.wrong == "impatient" and slow_s > 0.5)

    async def buy(self, request: Request) -> int:
        self.span(request, "shop")
        if self.now_s() < self.open_until_s:
            return 503
        good = await self.over(SHOP_STOCK) and self.ask_stock(request)
        self.failed = 0 if good else self.failed + 1
        if self.failed >= 3:
            self.failed, self.open_until_s = 0, self.now_s() + self.open_s
        return 200 if good else 502

    def ask_stock(self, request: Request) -> bool:
        self.look_around()
        instance = self.known[next(self.turns) % len(self.known)]
        if self.processes.exit_codes["stock", instance] is not None:
            return False
        self.span(request, "stock", instance)
        return True

    def look_around(self) -> None:
        """Notice 12 s late what has become of each instance."""
        notices_s = 30.0 if self.wrong == "notices late" else 12.0
        for (service, number), code in self.processes.exit_codes.items():
            if service == "shop" or (code is None) == (number in self.known):
                self.changed_s.pop(number, None)
            elif self.now_s() > self.changed_s.setdefault(number, self.now_s()) + notices_s:
                if code is not None:
                    self.known.remove(number)
                elif self.wrong != "forgets":
                    self.known.append(number)

    async def read(self, request: Request) -> int:
        self.span(request, "shop")
        if self.wrong == "couples" and SHOP_STOCK in self.network.off:
            return 502
        good = await self.over(SHOP_POSTGRES)
        hangs = self.wrong == "hangs" and self.now_s() < self.cut_s.get(SHOP_POSTGRES, 0.0) + 20
        return 200 if good and not hangs else 500

    async def about(self, request: Request) -> int:
        waits_s = 5.0 if self.wrong == "waits" and SHOP_POSTGRES in self.network.off else 0.0
        await asyncio.sleep(waits_s)
        self.span(request, "shop", lasting_s=waits_s)
        return 200

    async def health(self, _: Request) -> int:
        return 503 if self.wrong == "alarmed" and self.network.toxics[SHOP_CONSUL] else 200


def performed(name: str, wrong: str = "") -> Verdict:
    return judged(*recorded(name, wrong))


def recorded(name: str, wrong: str = "") -> tuple[Checked, Recording]:
    contract = parse_contract(CONTRACT, "contract.toml", TOPOLOGY)
    journeys = {known: requests_journey(requests) for known, requests in contract.journeys.items()}
    (trial,) = trials(contract.promises, TOPOLOGY, {name})

    async def perform() -> Recording:
        system = System(wrong, trial.scenario.instances.get("stock", 1))
        recorder = Recorder(lambda: int(system.now_s() * 1e9))
        return await run(trial.scenario, system.cell, journeys, system, recorder)

    with asyncio.Runner(loop_factory=Simulated) as runner:
        return trial.promises[0], runner.run(perform())


@pytest.mark.parametrize("name", ["mild", "isolation", "recovery", "discovery"])
def test_a_system_as_promised_passes(name: str) -> None:
    verdict = performed(name)
    assert verdict.ruling is Ruling.PASS, verdict.reason


def test_the_figures_are_those_of_the_run() -> None:
    figures = {figure.name: figure.value for name in ("recovery", "discovery") for figure in performed(name).figures}
    assert 50 < figures["shop -> stock last failed"] < 61
    assert figures["shop -> postgres last failed"] == 0
    assert 11 < figures["last failure after"] < 13
    assert 11 < figures["called again after"] < 13


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("mild", "impatient", "1000 ms of latency on shop -> stock: shop POST /buy ended with 502 after 0.5 s"),
        ("mild", "alarmed", "s after shop -> consul became slow, promised 200 {"),
        ("isolation", "couples", "shop -> stock cut: read ended with 502, promised to go on without the edge"),
        ("isolation", "waits", "shop -> postgres cut: about took 5.0 s, promised 3 s without the edge"),
        ("isolation", "hangs", "shop -> postgres healed: read still ended with 500 2.0 s later"),
        ("recovery", "stays open", "shop -> stock: buy ended with 503 78.0"),
        ("recovery", "hangs", "shop -> postgres: read ended with 500"),
        ("recovery", "deaf", "shop -> consul carried no answer within 12 s of the heal"),
        ("discovery", "notices late", "a request ended with 502 15."),
        ("discovery", "forgets", "stock-2 had no request 19.9 s after it was well again, promised within 15 s"),
    ],
)
def test_a_system_that_does_one_thing_wrong_fails(name: str, wrong: str, reason: str) -> None:
    verdict = performed(name, wrong)
    assert verdict.ruling is Ruling.FAIL, verdict.reason
    assert reason in verdict.reason
