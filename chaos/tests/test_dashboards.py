"""The dashboard shows something: each query, asked of a real Prometheus after real traffic and real trouble."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import pytest_asyncio
import yaml
from aiokafka import AIOKafkaProducer
from prometheus_client.metrics import MetricWrapperBase

from brownout.cells.local import LocalCell, World, local_cell
from brownout.cells.prometheus import Prometheus
from brownout.clock import steady_clock
from brownout.history import Recorder
from brownout.promises.contract import read_journeys
from brownout.recording import Series
from brownout.scenario import Calls, Load
from brownout.topology import Edge, read_topology
from brownout.workload.driver import HttpDriver
from brownout.workload.traffic import Traffic
from brownout.world import hold_world
from brownout_shop.telemetry import metrics

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "dashboards/grafana"
DASHBOARD = json.loads((GRAFANA / "resilience.json").read_text())
CELL = "dashboards"
BURST = 20
JOURNEYS = ("browse", "order", "pay", "notify", "read-user")
LOAD_S = 8
TROUBLE_S = 30.0


@dataclass(frozen=True)
class Query:
    """One query of a panel, as Grafana sends it."""

    panel: str
    expression: str
    legend: str

    def __str__(self) -> str:
        return f"{self.panel}: {self.legend}"


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    return [
        Query(panel["title"], _chosen(target["expr"]), target["legendFormat"])
        for panel in panels()
        for target in panel["targets"]
    ]


def _chosen(expression: str) -> str:
    """The query with Grafana's variables filled in: this test's cell, all services."""
    for variable, value in {"$cell": CELL, "$service": ".*", "$__rate_interval": "5s"}.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def named() -> set[str]:
    """The names of all metrics of the shop, without the suffixes of their series."""
    found = [value for name in metrics.__all__ if isinstance(value := getattr(metrics, name), MetricWrapperBase)]
    return {metric.name for each in found for metric in each.describe()}


def shown(expression: str) -> set[str]:
    """The names of the metrics that a query asks for; that of what is scraped at all is Prometheus' own."""
    names = set(re.findall(r"(\w+){", expression)) - {"up"}
    return {re.sub("_(bucket|count|sum|total)$", "", name) for name in names}


def test_every_metric_is_on_some_panel_and_no_other() -> None:
    assert set().union(*(shown(query.expression) for query in queries())) == named()


def test_every_panel_has_a_place_of_its_own_and_reads_a_data_source_that_is_provisioned() -> None:
    servers = yaml.safe_load((GRAFANA / "provisioning/datasources/servers.yml").read_text())["datasources"]
    known = {(each["type"], each["uid"]) for each in servers}
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    for each in (*panels(), *DASHBOARD["templating"]["list"]):
        assert (each["datasource"]["type"], each["datasource"]["uid"]) in known


def test_the_dashboard_lies_where_grafana_looks() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/files.yml").read_text())["providers"]
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    mounted = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    assert mounted["./dashboards/grafana/resilience.json"].startswith(provider["options"]["path"] + "/")
    assert mounted["./dashboards/grafana/provisioning"] == "/etc/grafana/provisioning"


@dataclass(frozen=True)
class Seen:
    """A Prometheus that has scraped a shop which was used and broken."""

    prometheus: Prometheus
    from_ns: int
    to_ns: int

    async def of(self, expression: str) -> list[Series]:
        return await self.prometheus.evaluate(expression, self.from_ns, self.to_ns)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen() -> AsyncIterator[Seen]:
    """The whole shop, used for some seconds and then broken in each way that the dashboard tells of."""
    topology = read_topology(ROOT / "system/topology.toml")
    with TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            hold_world(topology, lambda log: folder / f"{log}.log", lambda *_: None, asyncio.Event()) as world,
            local_cell(
                world, CELL, tuple(topology.services), environment={"users": {"RATE_LIMIT_RPS": str(BURST)}}
            ) as cell,
            Prometheus(world.servers.prometheus) as prometheus,
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
            begun_ns = time.time_ns()
            await _use(traffic)
            await _break(traffic, cell, world, prometheus)
            end_ns = time.time_ns() + 2 * 10**9  # a point a second: the last thing that happened is to be on one
            await prometheus.collect(CELL, begun_ns, end_ns)  # it waits for the scrapes of that time
            yield Seen(prometheus, begun_ns, end_ns)


async def _use(traffic: Traffic) -> None:
    for name in JOURNEYS:
        await traffic.arrange(name)
    async with AsyncExitStack() as loads:
        for name in JOURNEYS:
            await loads.enter_async_context(traffic.load(Load(name, name, rate=2)))
        await asyncio.sleep(LOAD_S)  # the time is what is wanted: rates are of some seconds


async def _break(traffic: Traffic, cell: LocalCell, world: World, prometheus: Prometheus) -> None:
    """A limiter that refuses, a malformed event, a relay without its broker, a breaker that opens."""
    await traffic.calls(Calls("burst", "read-user", count=3 * BURST, together=True, deadline_ms=600))
    await _send_malformed(world, f"{CELL}.order.created")
    events, users = Edge("orders", "kafka"), Edge("orders", "users")
    await cell.network.switch(events, on=False)
    await traffic.calls(Calls("no broker", "order", count=2))
    await _scraped(prometheus, f'shop_worker_failures_total{{cell="{CELL}"}} > 0')
    await cell.network.switch(events, on=True)
    await cell.network.switch(users, on=False)
    await traffic.calls(Calls("no users", "order", count=12))
    await cell.network.switch(users, on=True)
    await _scraped(prometheus, f'shop_breaker_state{{cell="{CELL}", service="orders", callee="users"}} == 2')
    await _scraped(prometheus, f'shop_events_skipped_total{{cell="{CELL}"}} > 0')


async def _send_malformed(world: World, topic: str) -> None:
    assert world.servers.kafka is not None
    producer = AIOKafkaProducer(bootstrap_servers=world.servers.kafka.direct)
    await producer.start()
    await producer.send_and_wait(topic, b"no JSON")
    await producer.stop()


async def _scraped(prometheus: Prometheus, expression: str) -> None:
    async with asyncio.timeout(TROUBLE_S):
        now_ns = time.time_ns()
        while not await prometheus.evaluate(expression, now_ns, now_ns):
            await asyncio.sleep(0.2)
            now_ns = time.time_ns()


@pytest.mark.servers
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("query", queries(), ids=str)
async def test_a_query_has_numbers_and_the_labels_that_its_legend_names(seen: Seen, query: Query) -> None:
    series = await seen.of(query.expression)
    assert series, "no number at all"
    assert {label for each in series for label in each.labels} >= set(re.findall(r"{{(\w+)}}", query.legend))


@pytest.mark.servers
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("panel", "labels", "at_least"),
    [
        ("Requests by service", {"service": "gateway"}, 1),
        ("Calls by edge and outcome", {"service": "notifications", "server_address": "users"}, 0.5),
        ("Breaker state", {"service": "orders", "callee": "users"}, 2),
        ("Breaker transitions so far", {"service": "orders", "callee": "users", "to_state": "open"}, 1),
        ("Wait for a token", {"service": "users"}, 0.05),
        ("Tokens taken and refused", {"service": "users"}, 1),
        ("Instances scraped", {"service": "payments"}, 1),
        ("Outbox depth", {"service": "orders"}, 1),
        ("Events published and handled", {"service": "notifications"}, 0.5),
        ("Events skipped and steps repeated so far", {"service": "notifications"}, 1),
        ("Deliveries by channel", {"channel": "email", "state": "sent"}, 0.5),
        ("Events skipped and steps repeated so far", {"service": "orders"}, 1),
    ],
)
async def test_what_happened_can_be_seen(seen: Seen, panel: str, labels: dict[str, str], at_least: float) -> None:
    found = [each for query in queries() if query.panel == panel for each in await seen.of(query.expression)]
    values = [value for each in found if labels.items() <= each.labels.items() for _, value in each.points]
    assert max(values) >= at_least
