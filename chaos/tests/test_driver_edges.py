"""A cell's edges held by a real Toxiproxy, in front of small real callees."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest
from aiohttp import web

from brownout.cell import Canary, Cell, Toxic
from brownout.cells.edges import EdgeNetwork
from brownout.cells.toxiproxy import Toxiproxy
from brownout.cells.wiring import Proxy
from brownout.errors import FaultError
from brownout.faults.network import BlackHole, Latency, Outage
from brownout.servers import Addresses
from brownout.servers.ports import free_port
from brownout.topology import HARNESS, Edge

pytestmark = pytest.mark.servers

EDGE = Edge("orders", "users")
SIDE = Edge(HARNESS, "users")
BLACK_HOLE = Toxic("timeout", {"timeout": 0})
_cells = count()


@pytest.fixture
async def callees() -> AsyncIterator[list[web.TCPSite]]:
    """Two instances of a service, each with a /health."""
    app = web.Application()
    app.router.add_get("/health", _healthy)
    runner = web.AppRunner(app)
    await runner.setup()
    sites = [web.TCPSite(runner, "127.0.0.1", free_port()) for _ in range(2)]
    for site in sites:
        await site.start()
    yield sites
    await runner.cleanup()


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="UP")


@pytest.fixture
def proxies(callees: list[web.TCPSite]) -> list[Proxy]:
    cell = f"e{next(_cells)}"
    return [
        Proxy(
            edge,
            f"{cell}.{edge.caller}.{edge.callee}.http.{number}",
            f"127.0.0.1:{free_port()}",
            site.name.removeprefix("http://"),
            "http",
            "/health",
        )
        for edge in (EDGE, SIDE)
        for number, site in enumerate(callees)
    ]


@pytest.fixture
async def toxiproxy(servers: Addresses) -> AsyncIterator[Toxiproxy]:
    async with Toxiproxy(servers.toxiproxy) as opened:
        yield opened


@pytest.fixture
async def network(toxiproxy: Toxiproxy, proxies: list[Proxy]) -> AsyncIterator[EdgeNetwork]:
    network = EdgeNetwork(toxiproxy, proxies)
    await network.create()
    yield network
    await network.destroy()


async def test_a_healthy_edge_answers_at_once(network: EdgeNetwork) -> None:
    canary = await network.canary(EDGE, 2)
    assert not canary.refused
    assert canary.answered_s is not None
    assert canary.answered_s < 1


async def test_proxies_left_by_an_earlier_run_are_made_anew(
    network: EdgeNetwork, toxiproxy: Toxiproxy, proxies: list[Proxy]
) -> None:
    await network.add_toxic(EDGE, BLACK_HOLE)
    await EdgeNetwork(toxiproxy, proxies).create()
    assert (await network.canary(EDGE, 2)).answered_s is not None


async def test_latency_is_seen_on_the_edge_and_not_beside_it(network: EdgeNetwork) -> None:
    toxic = Toxic("latency", {"latency": 300})
    await network.add_toxic(EDGE, toxic)
    slow, fast = await network.canary(EDGE, 2), await network.canary(SIDE, 2)
    await network.remove_toxic(EDGE, toxic)
    assert slow.answered_s is not None
    assert fast.answered_s is not None
    assert slow.answered_s >= 0.3 > fast.answered_s


async def test_a_black_hole_is_silent(network: EdgeNetwork) -> None:
    await network.add_toxic(EDGE, BLACK_HOLE)
    assert await network.canary(EDGE, 0.3) == Canary()


async def test_a_callee_that_hangs_up_is_heard_through_a_toxic(network: EdgeNetwork, proxies: list[Proxy]) -> None:
    await network.add_toxic(EDGE, BLACK_HOLE)
    async with aiohttp.ClientSession(headers={"Connection": "close"}) as session:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.get(f"http://{proxies[0].listen}/health")


async def test_a_callee_that_hangs_up_is_not_heard_through_a_black_hole_before_it_is_lifted(
    network: EdgeNetwork, proxies: list[Proxy]
) -> None:
    async with aiohttp.ClientSession(headers={"Connection": "close"}) as session:
        async with BlackHole(EDGE).injected(cast("Cell", SimpleNamespace(network=network))):
            asking = asyncio.ensure_future(session.get(f"http://{proxies[0].listen}/health"))
            await asyncio.wait([asking], timeout=0.5)
            assert not asking.done()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await asyncio.wait_for(asking, 5)


async def test_an_edge_that_is_off_refuses(network: EdgeNetwork) -> None:
    await network.switch(EDGE, on=False)
    assert await network.canary(EDGE, 2) == Canary(refused=True)


async def test_a_dead_callee_is_refusal_not_silence(network: EdgeNetwork, callees: list[web.TCPSite]) -> None:
    for site in callees:
        await site.stop()
    assert await network.canary(EDGE, 2) == Canary(refused=True)


async def test_a_fault_that_misses_an_instance_is_not_seen_as_the_edges(
    network: EdgeNetwork, toxiproxy: Toxiproxy, proxies: list[Proxy]
) -> None:
    await toxiproxy.switch(proxies[0].name, on=False)
    assert (await network.canary(EDGE, 2)).answered_s is not None


@pytest.mark.parametrize("fault", [Latency(EDGE, 300), BlackHole(EDGE), Outage(EDGE)], ids=str)
async def test_a_fault_bites_while_it_is_held_and_not_after(
    network: EdgeNetwork, fault: Latency | BlackHole | Outage
) -> None:
    cell = cast("Cell", SimpleNamespace(network=network))
    async with fault.injected(cell):
        assert (await fault.bites(cell)).bit
    assert not (await fault.bites(cell)).bit
    assert await network.heal() == []


async def test_what_was_done_is_told_for_each_proxy(network: EdgeNetwork, proxies: list[Proxy]) -> None:
    said = await network.switch(EDGE, on=False)
    assert said == {proxy.name: {"enabled": False} for proxy in proxies[:2]}


async def test_healing_lifts_all_and_says_what_it_found(network: EdgeNetwork, proxies: list[Proxy]) -> None:
    await network.add_toxic(EDGE, BLACK_HOLE)
    await network.switch(SIDE, on=False)
    left = await network.heal()
    assert sorted(left) == [
        f"{proxies[2].name} is off",
        f"{proxies[3].name} is off",
        f"{proxies[0].name} is on and holds timeout {{'timeout': 0}}",
        f"{proxies[1].name} is on and holds timeout {{'timeout': 0}}",
    ]
    assert await network.heal() == []


async def test_carried_bytes_are_those_of_open_connections_as_well(network: EdgeNetwork, proxies: list[Proxy]) -> None:
    before = await network.carried_bytes(EDGE)
    async with aiohttp.ClientSession() as session:
        for proxy in proxies[:2]:
            await (await session.get(f"http://{proxy.listen}/health")).read()
        after = await network.carried_bytes(EDGE)
    assert before == {"upstream": 0, "downstream": 0}
    assert after["upstream"] > 2 * len("GET /health HTTP/1.1")
    assert after["downstream"] > 2 * len("HTTP/1.1 200 OK")


async def test_counting_leaves_an_edge_off_that_was_off(network: EdgeNetwork) -> None:
    await network.switch(EDGE, on=False)
    await network.carried_bytes(EDGE)
    assert (await network.canary(EDGE, 2)).refused


async def test_an_edge_of_another_system_is_refused(network: EdgeNetwork) -> None:
    with pytest.raises(FaultError, match=r"no such edge.*orders -> users"):
        await network.switch(Edge("a", "b"), on=False)
