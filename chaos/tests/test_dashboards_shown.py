"""The dashboards show something and the alerts tell: each query, asked of a real Prometheus after real trouble.

The Prometheus is that of the compose file, with its configuration, rules and flags; only the addresses are others, and
the rules are looked at each second. About a minute.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

import compose_prometheus
from boards import ROOT, RULES, Query, alerts, queries, recorded
from brownout.cells.jaeger import Jaeger
from brownout.cells.local import LocalCell, World, local_cell
from brownout.cells.prometheus import Prometheus
from brownout.clock import steady_clock
from brownout.history import Recorder
from brownout.promises.contract import read_journeys
from brownout.recording import Series
from brownout.scenario import Calls, Load
from brownout.servers.stage import Stage
from brownout.topology import Edge, read_topology
from brownout.workload.driver import HttpDriver
from brownout.workload.traffic import Traffic
from brownout.world import hold_world

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="module")]

CELL = "dashboards"
BURST = 20
AWAY = {"users": {"RATE_LIMIT_RPS": str(BURST)}, "notifications": {"SMS": "127.0.0.1:1"}}
"""A limit that is reached, and a gateway for SMS that nobody is at."""

JOURNEYS = ("browse", "order", "pay", "notify", "tell-as-preferred", "read-user")
LOAD_S = 8
TROUBLE_S = 40.0
"""Longest wait for one trouble to show; Consul asks for health each 10 s."""

SHOP = [query for query in queries() if query.board != "gate-history"]


@dataclass(frozen=True)
class Seen:
    """A Prometheus that has scraped a shop which was used and broken, and the Jaeger with its traces."""

    prometheus: Prometheus
    jaeger: str
    from_ns: int
    to_ns: int

    async def of(self, expression: str) -> list[Series]:
        return await self.prometheus.evaluate(expression, self.from_ns, self.to_ns)

    async def exemplars(self, expression: str) -> set[tuple[str, str]]:
        """The service and the trace of each exemplar of the histograms that a query is about."""
        form = {"query": expression, "start": f"{self.from_ns / 1e9:.3f}", "end": f"{self.to_ns / 1e9:.3f}"}
        body, _ = await self.prometheus.ask("POST", "/api/v1/query_exemplars", expression, data=form)
        return {
            (series["seriesLabels"]["service"], each["labels"]["trace_id"])
            for series in msgspec.json.decode(body)["data"]
            for each in series["exemplars"]
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen() -> AsyncIterator[Seen]:
    """The whole shop, used for some seconds and then broken in each way that the dashboards and alerts tell of."""
    topology = read_topology(ROOT / "system/topology.toml")
    with TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            hold_world(topology, lambda log: folder / f"{log}.log", lambda *_: None, asyncio.Event()) as world,
            Prometheus(await observed(world, folder)) as prometheus,
            local_cell(world, CELL, tuple(topology.services), environment=AWAY) as cell,
            HttpDriver() as driver,
        ):
            traffic = Traffic(
                read_journeys(ROOT / "scenarios/contract.toml"),
                cell.url,
                driver,
                Recorder(steady_clock()),
                deadline_header=topology.deadline_header,
                seed=1,
            )
            trouble = Trouble(traffic, cell, world, prometheus)
            begun_ns = time.time_ns()
            await use(traffic)
            await trouble.at_the_limit()
            await trouble.with_the_broker()
            await trouble.with_a_service()
            await trouble.with_what_health_tells()
            end_ns = time.time_ns() + 2 * 10**9  # a point a second: the last thing that happened is to be on one
            await prometheus.collect(CELL, begun_ns, end_ns)  # it waits for the scrapes of that time
            assert world.servers.jaeger is not None
            yield Seen(prometheus, world.servers.jaeger, begun_ns, end_ns)


async def observed(world: World, folder: Path) -> str:
    assert world.servers.consul is not None
    stage = Stage(world.supervisor, folder, lambda name: folder / f"{name}.log")
    addresses = {"consul": world.servers.consul, "toxiproxy": world.servers.toxiproxy}
    return await compose_prometheus.start(world.programs["prometheus"], stage, **addresses)


async def use(traffic: Traffic) -> None:
    for name in JOURNEYS:
        await traffic.arrange(name)
    async with AsyncExitStack() as loads:
        for name in JOURNEYS:
            await loads.enter_async_context(traffic.load(Load(name, name, rate=2)))
        await asyncio.sleep(LOAD_S)  # the time is what is wanted: rates are of some seconds


@dataclass(frozen=True)
class Trouble:
    """What is broken, and stays so until all of it shows; a counter has to be seen before it can be seen to grow."""

    traffic: Traffic
    cell: LocalCell
    world: World
    prometheus: Prometheus

    async def at_the_limit(self) -> None:
        await self.traffic.calls(Calls("burst", "read-user", count=3 * BURST, together=True, deadline_ms=600))
        await self._until("shop_limiter_refusals_total > 0")

    async def with_the_broker(self) -> None:
        assert self.world.servers.kafka is not None
        producer = AIOKafkaProducer(bootstrap_servers=self.world.servers.kafka.direct)
        await producer.start()
        await producer.send_and_wait(f"{CELL}.order.created", b"no JSON")
        await producer.stop()
        await self._until("shop_events_skipped_total > 0")
        await self.cell.network.switch(Edge("orders", "kafka"), on=False)
        await self.traffic.calls(Calls("no broker", "order", count=2))
        await self._until("shop_worker_failures_total > 0")

    async def with_a_service(self) -> None:
        await self.cell.network.switch(Edge("orders", "users"), on=False)
        await self.traffic.calls(Calls("no users", "order", count=20))
        await self._until('http_server_request_duration_seconds_count{service="orders", error_type!=""} > 0')
        await self.traffic.calls(Calls("still no users", "order", count=40))
        await self.cell.network.switch(Edge("notifications", "users:grpc"), on=False)
        await self.traffic.calls(Calls("nobody to notify", "notify", count=2))

    async def with_what_health_tells(self) -> None:
        """Three at once: it is asked for each 10 s only."""
        await self.cell.network.switch(Edge("orders", "consul"), on=False)
        await self.cell.network.switch(Edge("payments", "postgres"), on=False)
        await self.cell.processes.kill("provider", 0)
        for name in alerts():
            await self._told(name)

    async def _told(self, alert: str) -> None:
        await self._until(f'last_over_time(ALERTS{{alertname="{alert}", cell="{CELL}"}}[10m])')  # it may be over

    async def _until(self, expression: str) -> None:
        deadline_s = time.monotonic() + TROUBLE_S
        while not await self.prometheus.evaluate(expression, now_ns := time.time_ns(), now_ns):
            assert time.monotonic() < deadline_s, f"never true: {expression}"
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("query", SHOP, ids=str)
async def test_a_query_has_numbers_and_the_labels_that_its_legend_names(seen: Seen, query: Query) -> None:
    series = await seen.of(query.about(cell=CELL))
    assert series, "no number at all"
    assert {label for each in series for label in each.labels} >= set(re.findall(r"{{(\w+)}}", query.legend))


@pytest.mark.parametrize(
    ("panel", "labels", "at_least"),
    [
        ("Requests by service", {"service": "gateway"}, 1),
        ("Errors by service", {"service": "orders"}, 0.5),
        ("Failed calls by edge", {"service": "orders", "server_address": "users"}, 0.5),
        ("Calls by outcome", {"service": "notifications", "server_address": "users"}, 0.5),
        ("Alerts", {"alertname": "BreakerOpen", "service": "orders"}, 1),
        ("Error budget burnt, times as fast as allowed", {"service": "orders"}, 14.4),
        ("Instances scraped", {"service": "payments"}, 1),
        ("Breaker state", {"service": "orders", "callee": "users"}, 2),
        ("Breaker transitions so far", {"service": "orders", "callee": "users", "to_state": "open"}, 1),
        ("Wait for a token", {"service": "users"}, 0.05),
        ("Tokens taken and refused", {"service": "users"}, 1),
        ("Outbox depth", {"service": "orders"}, 1),
        ("Events published and handled", {"service": "notifications"}, 0.5),
        ("Events skipped and steps repeated so far", {"service": "notifications"}, 1),
        ("Events skipped and steps repeated so far", {"service": "orders"}, 1),
        ("Deliveries by channel", {"channel": "email", "state": "sent"}, 0.5),
        ("Deliveries by channel", {"channel": "sms", "state": "waiting"}, 0.1),
        ("Arrivals and answers", {}, 5),
    ],
)
async def test_what_happened_can_be_seen(seen: Seen, panel: str, labels: dict[str, str], at_least: float) -> None:
    found = [each for query in SHOP if query.panel == panel for each in await seen.of(query.about(cell=CELL))]
    values = [value for each in found if labels.items() <= each.labels.items() for _, value in each.points]
    assert max(values) >= at_least


async def test_what_was_down_can_be_seen(seen: Seen) -> None:
    (health,) = (query for query in SHOP if query.panel == "Health by part")
    series = {(each.labels["service"], each.labels["part"]): each for each in await seen.of(health.about(cell=CELL))}
    for service, part in (("payments", "database"), ("orders", "consul")):
        assert {value for _, value in series[service, part].points} == {0, 1}, (service, part)


@pytest.mark.parametrize("query", [query for query in SHOP if query.exemplars], ids=str)
async def test_an_exemplar_names_a_trace_that_jaeger_has_of_that_service(seen: Seen, query: Query) -> None:
    named = sorted(await seen.exemplars(query.about(cell=CELL)))[:5]
    assert named
    async with Jaeger(seen.jaeger) as jaeger:
        spans = await jaeger.collect(frozenset(trace for _, trace in named))
    assert {(span.service, span.trace_id) for span in spans} >= set(named)


@pytest.mark.parametrize("name", sorted(recorded()))
async def test_what_is_recorded_is_there_of_every_service_that_was_asked(seen: Seen, name: str) -> None:
    series = await seen.of(f'{name}{{cell="{CELL}"}}')
    assert {"gateway", "orders", "payments", "users"} <= {each.labels["service"] for each in series}
    assert all(0 <= value <= 1 for each in series for _, value in each.points)


@pytest.mark.parametrize("name", alerts())
async def test_an_alert_was_told_of(seen: Seen, name: str) -> None:
    assert await seen.of(f'ALERTS{{alertname="{name}", cell="{CELL}"}}')


async def test_no_rule_ever_failed(seen: Seen) -> None:
    body, _ = await seen.prometheus.ask("GET", "/api/v1/rules")
    found: list[Any] = [rule for group in msgspec.json.decode(body)["data"]["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in found} == {"ok"}
    assert len(found) == len(RULES)
