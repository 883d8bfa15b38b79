"""What Grafana is told of a recording, by a server that takes annotations as its HTTP API documents them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from brownout.cells.grafana import Grafana
from brownout.errors import CellError
from brownout.servers.ports import free_port
from brownout.written import Written

FAULT = "outage of orders -> users"


@pytest.fixture
async def grafana() -> AsyncIterator[tuple[str, list[Any]]]:
    """Its address, and the annotations that it has taken; it refuses those of an instant."""
    taken: list[Any] = []

    async def annotate(request: web.Request) -> web.Response:
        annotation = await request.json()
        if annotation["timeEnd"] <= annotation["time"]:
            return web.json_response({"message": "no time"}, status=400)
        taken.append(annotation)
        return web.json_response({"message": "Annotation added", "id": len(taken)})

    app = web.Application()
    app.router.add_post("/api/annotations", annotate)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"127.0.0.1:{port}", taken
    await runner.cleanup()


async def test_the_time_of_each_fault_is_written_down_in_milliseconds(grafana: tuple[str, list[Any]]) -> None:
    address, taken = grafana
    story = Written()
    with story.fault(FAULT):
        story.wait(5)
    recording = story.recording()
    async with Grafana(address) as told:
        assert await told.annotate(recording) == 1
    text = f"{FAULT} ({recording.scenario})"
    assert taken == [{"time": 10, "timeEnd": 5010, "tags": ["brownout", recording.scenario], "text": text}]


async def test_a_fault_that_was_never_lifted_has_no_time(grafana: tuple[str, list[Any]]) -> None:
    address, taken = grafana
    story = Written()
    with story.fault(FAULT, canary=None, lifted=False):
        story.wait(1)
    async with Grafana(address) as told:
        assert await told.annotate(story.recording()) == 0
    assert taken == []


async def test_a_refusal_names_the_fault(grafana: tuple[str, list[Any]]) -> None:
    story = Written()
    with story.fault(FAULT):
        pass
    async with Grafana(grafana[0]) as told:
        with pytest.raises(CellError, match=f"the annotation of {FAULT}: status 400"):
            await told.annotate(story.recording())
