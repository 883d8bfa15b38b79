"""Metrics of a real scrape, collected from a real Prometheus that found its target in a real Consul."""

import time
from collections.abc import AsyncIterator
from itertools import count

import aiohttp
import pytest
from aiohttp import web

from brownout.cells.prometheus import Prometheus
from brownout.errors import CellError
from brownout.recording import Series
from brownout.servers import Addresses
from brownout.servers.ports import free_port

pytestmark = pytest.mark.servers

METRICS = """\
# TYPE shop_requests_total counter
shop_requests_total{route="/orders"} 7
# TYPE shop_duration_seconds histogram
shop_duration_seconds_bucket{le="+Inf"} 3
shop_duration_seconds_sum 0.5
shop_duration_seconds_count 3
# TYPE shop_unknown gauge
shop_unknown NaN
# TYPE python_gc_objects_collected_total counter
python_gc_objects_collected_total 5
process_open_fds 9
"""
FIRST_SCRAPE_S = 20.0
_cells = count()


@pytest.fixture
async def cell(servers: Addresses) -> AsyncIterator[str]:
    """A cell with one scraped service."""
    app = web.Application()
    app.router.add_get("/metrics", _metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    name = f"p{next(_cells)}"
    instance = {
        "ID": f"{name}-orders-0",
        "Name": "orders",
        "Address": "127.0.0.1",
        "Port": port,
        "Meta": {"cell": name},
    }
    agent = f"http://{servers.consul}/v1/agent/service"
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{agent}/register", json=instance) as response:
            assert response.ok
        yield name
        async with session.put(f"{agent}/deregister/{instance['ID']}") as response:
            assert response.ok
    await runner.cleanup()


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(text=METRICS)


@pytest.fixture
async def prometheus(servers: Addresses) -> AsyncIterator[Prometheus]:
    async with Prometheus(servers.prometheus) as opened:
        yield opened


async def scraped(prometheus: Prometheus, cell: str) -> list[Series]:
    """The series of the cell, once there are some."""
    begun_ns = time.time_ns()
    deadline_s = time.monotonic() + FIRST_SCRAPE_S
    while not (series := await prometheus.collect(cell, begun_ns, time.time_ns())):
        assert time.monotonic() < deadline_s, "nothing was scraped"
    return series


async def test_the_series_of_a_cell_are_collected(prometheus: Prometheus, cell: str) -> None:
    found = {series.labels["__name__"]: series for series in await scraped(prometheus, cell)}
    assert found["shop_requests_total"].labels["route"] == "/orders"
    assert {series.labels["cell"] for series in found.values()} == {cell}
    assert found["shop_requests_total"].points[-1][1] == 7


async def test_buckets_internals_and_unknown_values_are_left_out(prometheus: Prometheus, cell: str) -> None:
    names = {series.labels["__name__"] for series in await scraped(prometheus, cell)}
    assert names == {"shop_requests_total", "shop_duration_seconds_sum", "shop_duration_seconds_count", "up"}


async def test_the_samples_are_those_of_the_time_asked_for(prometheus: Prometheus, cell: str) -> None:
    await scraped(prometheus, cell)
    to_ns = time.time_ns() + 2 * 10**9
    from_ns = to_ns - 2 * 10**9
    series = await prometheus.collect(cell, from_ns, to_ns)  # it waits for them
    points = [at for each in series for at, _ in each.points]
    assert points
    assert min(points) >= from_ns / 1e9 - 0.002
    assert to_ns / 1e9 - 0.002 <= max(points) <= to_ns / 1e9 + 2  # the scrape that follows is the last one


async def test_samples_are_at_the_times_of_their_scrapes_about_a_second_apart(
    prometheus: Prometheus, cell: str
) -> None:
    await scraped(prometheus, cell)
    from_ns = time.time_ns()
    series = await prometheus.collect(cell, from_ns, from_ns + 3 * 10**9)
    up = next(each for each in series if each.labels["__name__"] == "up")
    assert 2 <= len(up.points) <= 4


async def test_a_cell_without_targets_has_no_series(prometheus: Prometheus) -> None:
    now_ns = time.time_ns()
    assert await prometheus.collect("nowhere", now_ns - 10**9, now_ns) == []


async def test_a_server_that_is_gone_is_an_error() -> None:
    async with Prometheus(f"127.0.0.1:{free_port()}") as gone:
        with pytest.raises(CellError, match="does not answer"):
            await gone.collect("c1", 0, 1)


async def test_a_query_is_answered_over_the_whole_time_a_point_a_second(prometheus: Prometheus, cell: str) -> None:
    await scraped(prometheus, cell)
    from_ns = time.time_ns()
    await prometheus.collect(cell, from_ns, from_ns + 3 * 10**9)  # it waits for them
    query = f'sum(shop_requests_total{{cell="{cell}"}}) * 2'
    (series,) = await prometheus.evaluate(query, from_ns, from_ns + 3 * 10**9)
    assert [value for _, value in series.points] == [14] * 4
    assert [round(at - from_ns / 1e9) for at, _ in series.points] == [0, 1, 2, 3]


async def test_points_that_are_no_finite_number_are_left_out_of_an_answer(prometheus: Prometheus) -> None:
    now_ns = time.time_ns()
    assert await prometheus.evaluate("vector(1) / 0", now_ns - 10**9, now_ns) == []


async def test_what_is_no_query_is_an_error_that_tells_it(prometheus: Prometheus) -> None:
    with pytest.raises(CellError, match=r"sum\(: status 400"):
        await prometheus.evaluate("sum(", 0, 10**9)
