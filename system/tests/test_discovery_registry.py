"""The registry against a small Consul on loopback: clause 4.1."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from brownout_shop.discovery.fake import FakeConsul
from brownout_shop.discovery.registry import Instance, Registration, Registry
from wires import until

VIA = {"via-orders": {"Address": "127.0.0.1", "Port": 20123}}
ME = Registration("users", "users-0", "c1", "127.0.0.1", 8001, VIA)


@pytest.fixture
async def consul() -> AsyncIterator[FakeConsul]:
    async with FakeConsul() as consul:
        yield consul


@pytest.fixture
async def registry(consul: FakeConsul) -> AsyncIterator[Registry]:
    async with Registry(consul.url, ME) as registry:
        yield registry


def services(*ports: int) -> dict[str, dict[str, Any]]:
    return {
        f"c1-orders-{port}": {
            "ID": f"c1-orders-{port}",
            "Name": "orders",
            "Address": "127.0.0.1",
            "Port": port,
            "TaggedAddresses": VIA,
        }
        for port in ports
    }


async def test_it_registers_as_passing_with_a_check_on_the_real_address(registry: Registry, consul: FakeConsul) -> None:
    registry.register()
    await until(lambda: consul.services)
    sent = consul.services["c1-users-0"]
    assert (sent["Name"], sent["Address"], sent["Port"]) == ("users", "127.0.0.1", 8001)
    assert sent["Meta"]["cell"] == "c1"
    assert sent["TaggedAddresses"] == VIA
    assert sent["Check"] == {
        "HTTP": "http://127.0.0.1:8001/health",
        "Interval": "10s",
        "Timeout": "3s",
        "Status": "passing",
    }


async def test_it_registers_again_when_the_agent_has_lost_it(registry: Registry, consul: FakeConsul) -> None:
    registry.register()
    await until(lambda: consul.services)
    await consul.change({}, index=1)
    await until(lambda: "c1-users-0" in consul.services, within_s=10)


async def test_it_deregisters_and_stays_so(registry: Registry, consul: FakeConsul) -> None:
    registry.register()
    await until(lambda: consul.services)
    await registry.deregister()
    assert not consul.services
    await asyncio.sleep(3.5)  # longer than it takes to notice a loss
    assert not consul.services


async def test_deregistering_gives_a_black_hole_2_s() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:  # the kernel accepts, nobody answers
        async with Registry(f"http://127.0.0.1:{hole.getsockname()[1]}", ME) as registry:
            began = time.monotonic()
            await registry.deregister()
            assert 1.9 < time.monotonic() - began < 2.5


async def test_it_knows_the_passing_instances_of_its_cell(registry: Registry, consul: FakeConsul) -> None:
    await consul.change(services(9001))
    registry.watch("orders")
    await until(lambda: registry.instances("orders"))
    expected = Instance("c1-orders-9001", "127.0.0.1:9001", {"via-orders": "127.0.0.1:20123"})
    assert registry.instances("orders") == (expected,)
    assert expected.address_for("orders") == "127.0.0.1:20123"
    assert expected.address_for("gateway") == "127.0.0.1:9001"
    asked = consul.queries[0]
    assert asked == {"passing": "1", "filter": 'Service.Meta.cell == "c1"', "index": "0", "wait": "10s"}


async def test_a_change_is_known_without_polling(registry: Registry, consul: FakeConsul) -> None:
    registry.watch("orders")
    await until(lambda: len(consul.queries) == 2)
    await consul.change(services(9001, 9002))
    await until(lambda: len(registry.instances("orders")) == 2, within_s=1)
    await consul.change({})
    await until(lambda: not registry.instances("orders"), within_s=1)


async def test_the_last_known_list_is_kept_while_consul_is_gone(consul: FakeConsul) -> None:
    async with Registry(consul.url, ME) as registry:
        await consul.change(services(9001))
        registry.watch("orders")
        await until(lambda: registry.instances("orders") and registry.reachable)
        await consul.__aexit__()
        await until(lambda: not registry.reachable, within_s=6)
        assert len(registry.instances("orders")) == 1


async def test_after_a_restart_the_watch_starts_again_and_an_empty_list_waits(
    registry: Registry, consul: FakeConsul
) -> None:
    await consul.change(services(9001))
    registry.watch("orders")
    await until(lambda: registry.instances("orders"))
    await consul.change({}, index=3)  # restarted: it knows nobody yet
    await until(lambda: consul.queries[-1]["index"] == "3")
    assert len(registry.instances("orders")) == 1
    await consul.change(services(9001, 9002), index=4)
    await until(lambda: len(registry.instances("orders")) == 2, within_s=1)
    assert [query["index"] for query in consul.queries] == ["0", "101", "0", "3", "4"]


async def test_a_new_agent_that_has_counted_further_does_not_empty_the_list_either() -> None:
    async with FakeConsul() as first, Registry(first.url, ME) as registry:
        await first.change(services(9001))
        registry.watch("orders")
        await until(lambda: registry.instances("orders"))
        await first.__aexit__()
        async with FakeConsul(int(first.url.rpartition(":")[2])) as second:
            await second.change({}, index=500)
            await until(lambda: second.queries and second.queries[-1]["index"] == "500")
            assert second.queries[0]["index"] == "0"
            assert len(registry.instances("orders")) == 1
            await second.change(services(9001, 9002))
            await until(lambda: len(registry.instances("orders")) == 2, within_s=1)


async def test_a_consul_that_comes_back_is_found_again() -> None:
    async with FakeConsul() as first:
        port = int(first.url.rpartition(":")[2])
    async with Registry(f"http://127.0.0.1:{port}", ME) as registry:
        registry.register()
        registry.watch("orders")
        await asyncio.sleep(0.2)
        assert not registry.reachable
        async with FakeConsul(port) as consul:
            await consul.change(services(9001))
            await until(lambda: registry.instances("orders") and "c1-users-0" in consul.services)
            assert registry.reachable
