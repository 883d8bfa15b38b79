"""The wiring in containers: a gate's cells have names and ports of their own, beside the compose file's."""

import asyncio
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from brownout.cells.compose import ComposeWorld, forget
from brownout.cells.composed import LISTENERS, celled, composed
from brownout.cells.consul import Consul, Registration
from brownout.cells.wiring import Wiring
from brownout.servers import Addresses, Listener
from brownout.topology import read_topology

TOPOLOGY = read_topology(Path(__file__).parents[2] / "system/topology.toml")
ALL = tuple(TOPOLOGY.services)


def cell(name: str, ports: Iterator[int], listeners: Iterator[Listener], *services: str, **more: int) -> Wiring:
    return celled(TOPOLOGY, name, services or ALL, ports, lambda _: next(listeners), instances=more)


def taken(wiring: Wiring) -> list[str]:
    """Every address at which somebody listens, every database, and every proxy's name."""
    listens = [each.listen for each in wiring.instances]
    proxies = [name for proxy in wiring.proxies for name in (proxy.listen, proxy.name)]
    return [*listens, *proxies, *wiring.databases]


def test_cells_share_nothing_with_each_other_or_with_the_file() -> None:
    ports, listeners = count(22000), iter(LISTENERS)
    both = [cell(name, ports, listeners, users=2) for name in ("c1", "c2")]
    everything = [each for wiring in (composed(TOPOLOGY), *both) for each in taken(wiring)]
    assert len(set(everything)) == len(everything)


def test_what_is_a_cells_own_is_called_after_it() -> None:
    wiring = cell("c1", count(22000), iter(LISTENERS), "users", "notifications", users=2)
    assert {each.listen for each in wiring.instances} == {
        "users-0.c1:8000",
        "users-1.c1:8000",
        "notifications-0.c1:8000",
    }
    leads = {proxy.name: proxy.upstream for proxy in wiring.proxies}
    assert leads["c1.notifications.users.grpc.1"] == "users-1.c1:9000"
    assert leads["c1.users.postgres.postgres.0"] == "postgres:5432"


def test_a_private_server_is_reached_at_a_name_of_the_cells_own() -> None:
    wiring = celled(TOPOLOGY, "c1", ("users",), count(22000), lambda _: LISTENERS[0], private=("consul",))
    leads = {proxy.edge.callee: proxy.upstream for proxy in wiring.proxies}
    assert (leads["consul"], leads["postgres"]) == ("consul.c1:8500", "postgres:5432")


def test_a_proxy_to_the_broker_is_where_its_listener_tells_clients_to_go() -> None:
    wiring = cell("c1", count(22000), iter(LISTENERS))
    pairs = [(proxy.upstream, proxy.listen) for proxy in wiring.proxies if proxy.protocol == "kafka"]
    assert pairs == [(each.upstream, each.advertised) for each in LISTENERS[: len(pairs)]]


def test_a_scenarios_settings_are_those_of_every_instance_of_the_service() -> None:
    wiring = celled(
        TOPOLOGY,
        "c1",
        ("users",),
        count(22000),
        lambda _: LISTENERS[0],
        instances={"users": 2},
        environment={"users": {"RATE_LIMIT_RPS": "5"}},
    )
    assert {each.env["RATE_LIMIT_RPS"] for each in wiring.instances if each.service == "users"} == {"5"}


@pytest.mark.servers
async def test_what_a_cell_has_registered_is_forgotten_and_nothing_else(servers: Addresses) -> None:
    assert servers.consul
    cells = {"cell-a": {"cell": "forget-a"}, "cell-b": {"cell": "forget-b"}, "none": {}}
    async with Consul(servers.consul) as agent:
        for name, meta in cells.items():
            await agent.register(Registration(f"forget-{name}", "forgotten", "127.0.0.1", 1, meta))
        await forget(servers.consul, 'Meta.cell == "forget-a"')
        assert await _known(agent) == {"forget-cell-b", "forget-none"}
        await forget(servers.consul, 'Service == "forgotten" and cell in Meta and Meta.cell != "compose"')
        assert await _known(agent) == {"forget-none"}
        await agent.deregister("forget-none")


async def _known(agent: Consul) -> set[str]:
    body, _ = await agent.ask("GET", "/v1/agent/services", params={"filter": 'Service == "forgotten"'})
    return set(json.loads(body))


def world(places: int) -> ComposeWorld:
    nobody: Any = None  # it asks no container and starts nothing
    return ComposeWorld(TOPOLOGY, nobody, nobody, Path, places)


async def test_a_cell_waits_until_there_is_room_for_all_of_it_and_the_largest_has_all_of_it() -> None:
    small, entered = world(4), []

    async def cell(name: str, containers: int, leave: asyncio.Event) -> None:
        async with small.room(containers):
            entered.append(name)
            await leave.wait()

    first, others = asyncio.Event(), asyncio.Event()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for name, containers, leave in (("a", 3, first), ("b", 9, others), ("c", 1, others)):
            group.create_task(cell(name, containers, leave))
        await asyncio.sleep(0.05)
        assert entered == ["a"]
        first.set()
        others.set()
    assert entered == ["a", "b", "c"]


def test_no_two_cells_have_one_name_and_each_fits_into_a_databases() -> None:
    one = world(1)
    names = [one.name_of_cell("a-scenario-with-a-name-that-is-long_2") for _ in range(2)]
    assert len(set(names)) == 2
    assert all(len(f"{name}_{'s' * 22}") <= 63 and "_" not in name for name in names)
