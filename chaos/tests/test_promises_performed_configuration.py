"""The kind `configuration`, performed by the engine on a simulated service that watches a key, and judged.

Time is simulated too: the event loop jumps to the next thing that is due.
"""

import asyncio

import pytest

from brownout.cells.fake import FakeCell, FakeConfiguration, FakeNetwork, FakeProcesses, FakeServers, FakeTelemetry
from brownout.engine import run
from brownout.history import Outcome, Recorder
from brownout.journeys import Request, Response, requests_journey
from brownout.promises.contract import parse_contract
from brownout.promises.promise import Checked, trials
from brownout.recording import Recording, Series, Span
from brownout.topology import Edge, parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.workload.driver import Answer
from simulation import Simulated, judged

USERS_CONSUL = Edge("users", "consul")
TOPOLOGY = parse_topology(
    """
    entry = "users"
    deadline_header = "X-Timeout-Ms"
    [services.users]
    command = ["users"]
    env = { CONSUL_URL = "{consul}" }
    """,
    "topology.toml",
)
CONTRACT = """
journeys.read = [{ service = "users", method = "GET", path = "/users/1" }]

[[promise]]
kind = "configuration"
name = "limit"
clause = "5"
edge = "users -> consul"
key = "users/rps"
journey = "read"
values = [
  { value = "5", limit = { rps = 5, burst = 5 } },
  { value = "15", limit = { rps = 15, burst = 15 } },
  { value = "5", limit = { rps = 5, burst = 5 } },
]

[[promise]]
kind = "configuration"
name = "restart"
clause = "5"
edge = "users -> consul"
key = "users/rps"
journey = "read"
restart_s = 5
values = [
  { value = "5", limit = { rps = 5, burst = 5 } },
  { value = "15", limit = { rps = 15, burst = 15 } },
  { value = "5", limit = { rps = 5, burst = 5 } },
]

[[promise]]
kind = "configuration"
name = "answer"
clause = "5"
edge = "users -> consul"
key = "users/rps"
journey = "read"
values = [
  { value = "50", answer = { status = 200, body = { rps = 50 } } },
  { value = "60", answer = { status = 200, body = { rps = 60 } } },
  { value = "70", answer = { status = 200, body = { rps = 70 } } },
]
"""


class Forgetful(FakeServers):
    """An agent that has lost every key when it is back, and counts from the start."""

    def __init__(self, configuration: FakeConfiguration) -> None:
        super().__init__("consul")
        self.configuration, self.agents = configuration, 1

    async def stop(self, server: str) -> dict[str, int]:
        self.configuration.values.clear()
        self.agents += 1
        return await super().stop(server)


class System:
    """Users with a limit that follows a key, but for what it does wrong.

    Args:
        hears: so many changes.
        hears_late_s: each of them.
        waits_s: after an error.
        forgets: what it heard, when Consul is away.
        grows: its bucket stays as large as it ever was.
        deaf: it waits for an index that a new agent does not come to.
    """

    def __init__(
        self,
        *,
        hears: int = 99,
        hears_late_s: float = 0.01,
        waits_s: float = 5.0,
        forgets: bool = False,
        grows: bool = False,
        deaf: bool = False,
    ) -> None:
        self.now_s = asyncio.get_running_loop().time
        self.network, self.configuration = FakeNetwork(USERS_CONSUL), FakeConfiguration()
        self.spans = [Span("0" * 32, "0" * 16, "", "users", "start", "internal", 0, 0)]
        telemetry = FakeTelemetry(self.spans, [Series({"__name__": "up"}, [(0.0, 1.0)])])
        processes = FakeProcesses(users=1)
        self.servers = Forgetful(self.configuration)
        self.cell = FakeCell(self.network, processes, telemetry, configuration=self.configuration, servers=self.servers)
        self.hears, self.hears_late_s, self.waits_s, self.forgets = hears, hears_late_s, waits_s, forgets
        self.grows, self.deaf = grows, deaf
        self.rps = self.burst = self.tokens = 200.0
        self.at_s = 0.0

    async def watch(self) -> None:
        seen = ""
        while True:
            await asyncio.sleep(0.01)
            value = self.configuration.values.get("users/rps", "")
            if USERS_CONSUL in self.network.off or self.servers.stopped:
                if self.forgets:
                    self.limit(200)
                await asyncio.sleep(self.waits_s)
            elif value not in {seen, ""} and self.hears and not (self.deaf and self.servers.agents > 1):
                await asyncio.sleep(self.hears_late_s)
                seen, self.hears = value, self.hears - 1
                self.limit(float(value))

    def limit(self, rps: float) -> None:
        self.settle()
        self.rps, self.burst = rps, max(self.burst, rps) if self.grows else rps

    def settle(self) -> None:
        self.tokens = min(self.burst, self.tokens + self.rps * (self.now_s() - self.at_s))
        self.at_s = self.now_s()

    async def send(self, url: str, request: Request, timeout_s: float) -> Answer:
        assert url.startswith("http://users")
        self.settle()
        wait_s = max(0.0, (1 - self.tokens) / self.rps)
        if wait_s > min(timeout_s, float(request.headers.get("X-Timeout-Ms", "60000")) / 1000):
            return Answer(Outcome.FAILED, {"status": 429, "body": None}, Response(429))
        self.tokens -= 1
        await asyncio.sleep(wait_s + 0.005)
        trace_id, now_ns = request.headers["traceparent"].split("-")[1], int(self.now_s() * 1e9)
        self.spans.append(Span(trace_id, f"{len(self.spans):016x}", "", "users", "x", "server", now_ns, now_ns))
        body = {"rps": self.rps}
        return Answer(Outcome.OK, {"status": 200, "body": body}, Response(200, body))


def recorded(name: str, **wrong: float) -> tuple[Checked, Recording]:
    contract = parse_contract(CONTRACT, "contract.toml", TOPOLOGY)
    journeys = {known: requests_journey(requests) for known, requests in contract.journeys.items()}
    (trial,) = trials(contract.promises, TOPOLOGY, {name})

    async def perform() -> Recording:
        system = System(**wrong)  # type: ignore[arg-type]  # numbers and truths, by name
        recorder = Recorder(lambda: int(system.now_s() * 1e9))
        watch = asyncio.create_task(system.watch())
        try:
            return await run(
                trial.scenario, system.cell, journeys, system, recorder, deadline_header=TOPOLOGY.deadline_header
            )
        finally:
            watch.cancel()

    with asyncio.Runner(loop_factory=Simulated) as runner:
        return trial.promises[0], runner.run(perform())


def performed(name: str, **wrong: float) -> Verdict:
    return judged(*recorded(name, **wrong))


@pytest.mark.parametrize("name", ["limit", "answer", "restart"])
def test_a_service_that_follows_its_key_passes(name: str) -> None:
    verdict = performed(name)
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert len(verdict.figures) == 5


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("limit", {"hears": 0}, "users/rps = '5' 2 s after it was written: 41 calls were sent and answered within"),
        ("limit", {"hears": 1}, "users/rps = '15' 2 s after it was written: only"),
        ("limit", {"hears": 2}, "users/rps = '5' 2 s after it was written: 40 calls were sent and answered within"),
        ("limit", {"hears": 3}, "users/rps = '15' 7 s after users -> consul was healed: only"),
        ("limit", {"hears_late_s": 4}, "users/rps = '5' 2 s after it was written: "),
        ("limit", {"waits_s": 10}, "users/rps = '15' 7 s after users -> consul was healed: only"),
        ("limit", {"waits_s": 1e6}, "users/rps = '15' 7 s after users -> consul was healed: only"),
        ("limit", {"forgets": True}, "users/rps = '5' while users -> consul was cut: 40 calls were sent and answered"),
        ("limit", {"grows": True}, "users/rps = '5' 2 s after it was written: 41 calls were sent and answered"),
        ("restart", {"deaf": True}, "users/rps = '15' 7 s after users -> consul had a new agent: only"),
        ("restart", {"waits_s": 20}, "users/rps = '15' 7 s after users -> consul had a new agent: only"),
        ("restart", {"forgets": True}, "users/rps = '5' while users -> consul had no agent: 40 calls were sent"),
        ("answer", {"hears": 1}, "users/rps = '60' 2 s after it was written: a call was answered 200 {'rps': 50.0}"),
        ("answer", {"waits_s": 1e6}, "users/rps = '60' 7 s after users -> consul was healed: a call was answered 200"),
    ],
)
def test_a_service_that_follows_wrongly_fails(name: str, wrong: dict[str, float], reason: str) -> None:
    verdict = performed(name, **wrong)
    assert verdict.ruling is Ruling.FAIL, verdict.reason
    assert reason in verdict.reason
