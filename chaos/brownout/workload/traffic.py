"""Performing journeys: scripted calls and open-model load, every request written to the recorder."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from random import Random
from secrets import token_hex
from typing import Any

from brownout.errors import BrownoutError
from brownout.history import Operation, Outcome, Recorder
from brownout.journeys import Journey, Request, Response, with_headers
from brownout.scenario import Calls, Load
from brownout.workload.driver import Driver

__all__ = ["Traffic"]

MOST_IN_FLIGHT = 2_000
"""Arrivals under way at which a further one is dropped, and recorded as dropped."""


class Traffic:
    """Turns the journeys of a scenario into recorded requests.

    Args:
        journeys: by name.
        url: the address of a service.
        driver: sends a request.
        recorder: where everything is written.
        deadline_header: carries a caller's deadline in milliseconds; empty where the system knows none.
        seed: of all that the journeys draw.
    """

    def __init__(
        self,
        journeys: Mapping[str, Journey],
        url: Callable[[str], str],
        driver: Driver,
        recorder: Recorder,
        *,
        deadline_header: str,
        seed: int,
    ) -> None:
        self._journeys = journeys
        self._url = url
        self._driver = driver
        self._recorder = recorder
        self._deadline_header = deadline_header
        self._random = Random(seed)  # noqa: S311 - reproducible, not secret
        self._arranged: dict[str, Any] = {}

    async def arrange(self, name: str) -> None:
        """Do what a journey needs to be there before, once.

        Raises:
            BrownoutError: the journey gave up, or one of its requests got no answer in the 2xx range.
        """
        journey = self._journeys[name]
        if name in self._arranged or journey.arrange is None:
            return

        async def send(request: Request) -> Response:
            operation, response = await self._send(request, "calls", "arrange", timeout_s=15)
            if not operation.ok:
                raise BrownoutError(f"journey {name}", f"{request.method} {request.path} failed: {_told(operation)}")
            return response

        self._arranged[name] = await _through(journey.arrange(self._random), send)

    async def calls(self, calls: Calls) -> list[Operation]:
        """Perform a script of single calls; all have ended on return."""
        if calls.together:
            due_ns = self._recorder.now_ns()
            acts = [self._act(calls, "calls", due_ns) for _ in range(calls.count)]
            return [operation for done in await asyncio.gather(*acts) for operation in done]
        operations: list[Operation] = []
        begin_ns = self._recorder.now_ns()
        for number in range(calls.count):
            due_ns = max(begin_ns + int(number * calls.every_s * 1e9), self._recorder.now_ns())
            await self._until(due_ns)
            operations += await self._act(calls, "calls", due_ns)
        return operations

    async def load(self, load: Load) -> None:
        """Start a journey at each due time until cancelled; then wait for those under way."""
        begin_ns = self._recorder.now_ns()
        number = 0
        under_way: set[asyncio.Task[Any]] = set()
        try:
            while True:
                due_ns = begin_ns + int(number * 1e9 / load.rate)
                await self._until(due_ns)
                if len(under_way) >= MOST_IN_FLIGHT:
                    self._recorder.note("load", load.phase, Outcome.FAILED, dropped=True, due_ns=due_ns)
                else:
                    task = asyncio.create_task(self._act(load, "load", due_ns))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                number += 1
        finally:
            if under_way:
                await asyncio.wait(under_way, timeout=load.timeout_s + 1)
            for task in under_way:
                task.cancel()

    async def _until(self, due_ns: int) -> None:
        await asyncio.sleep(max(0, due_ns - self._recorder.now_ns()) / 1e9)

    async def _act(self, what: Calls | Load, actor: str, due_ns: int) -> list[Operation]:
        """One journey from its first request to its last; the first is due when the journey is."""
        journey = self._journeys[what.journey]
        operations: list[Operation] = []

        async def send(request: Request) -> Response:
            if what.deadline_ms:
                request = with_headers(request, {self._deadline_header: str(what.deadline_ms)})
            due = due_ns if not operations else self._recorder.now_ns()
            operation, response = await self._send(request, actor, what.phase, timeout_s=what.timeout_s, due_ns=due)
            operations.append(operation)
            return response

        await _through(journey.act(self._arranged.get(what.journey), self._random), send)
        return operations

    async def _send(
        self, request: Request, actor: str, phase: str, *, timeout_s: float, due_ns: int = 0
    ) -> tuple[Operation, Response]:
        trace_id, span_id = token_hex(16), token_hex(8)  # not of the seed: cells share one tracing server
        traced = with_headers(request, {"traceparent": f"00-{trace_id}-{span_id}-01"})
        url = self._url(request.service)
        begun = self._recorder.begin(
            actor,
            phase,
            trace_id=trace_id,
            service=request.service,
            method=request.method,
            path=request.path,
            due_ns=due_ns or self._recorder.now_ns(),
        )
        answer = await self._driver.send(url, traced, timeout_s)
        ended = self._recorder.end(begun, answer.outcome, **answer.detail)
        return Operation(begun, ended), answer.response


async def _through(steps: Generator[Request, Response, Any], send: Callable[[Request], Awaitable[Response]]) -> Any:
    """Send every request that a journey yields, give it the answer, and return what it returns."""
    try:
        request = next(steps)
        while True:
            request = steps.send(await send(request))
    except StopIteration as done:
        return done.value


def _told(operation: Operation) -> str:
    detail = operation.completed.detail if operation.completed else {}
    return str(detail.get("error") or f"{detail.get('status')} {detail.get('body')}")
