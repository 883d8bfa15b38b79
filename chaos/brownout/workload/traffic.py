"""Performing journeys: scripted calls and open-model load, every request written to the recorder."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from random import Random
from secrets import token_hex
from typing import Any

from brownout.errors import BrownoutError
from brownout.history import Operation, Outcome, Recorder
from brownout.journeys import Journey, Request, Response, with_headers
from brownout.scenario import Calls, Load
from brownout.workload.beside import Beside
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

        self._arranged[name] = await _through(name, journey.arrange(self._random), send)

    async def calls(self, calls: Calls) -> list[Operation]:
        """Perform a script of single calls; all have ended on return."""
        if calls.together:
            due_ns = self._recorder.now_ns()
            async with Beside() as acts:
                done = [acts.begin(self._act(calls, "calls", due_ns)) for _ in range(calls.count)]
                await acts.ended()
            return [operation for act in done for operation in act.result()]
        operations: list[Operation] = []
        begin_ns = self._recorder.now_ns()
        for number in range(calls.count):
            due_ns = max(begin_ns + int(number * calls.every_s * 1e9), self._recorder.now_ns())
            await self._until(due_ns)
            operations += await self._act(calls, "calls", due_ns)
        return operations

    @asynccontextmanager
    async def load(self, load: Load) -> AsyncIterator[None]:
        """Start a journey at each due time while this is held; leaving waits for those under way.

        When what is done meanwhile fails, they are cut off instead: none sends anything once this is left.

        Raises:
            BrownoutError: a journey failed; no further one was started.
        """
        async with Beside() as journeys:
            async with Beside() as arrivals:
                arrivals.begin(self._arrive(load, journeys))
                yield
            await journeys.ended(load.timeout_s + 1)

    async def _arrive(self, load: Load, journeys: Beside) -> None:
        begin_ns = self._recorder.now_ns()
        number = 0
        while journeys.failed is None:
            due_ns = begin_ns + int(number * 1e9 / load.rate)
            await self._until(due_ns)
            if len(journeys) >= MOST_IN_FLIGHT:
                self._recorder.note("load", load.phase, Outcome.FAILED, dropped=True, due_ns=due_ns)
            else:
                journeys.begin(self._act(load, "load", due_ns))
            number += 1

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

        await _through(what.journey, journey.act(self._arranged.get(what.journey), self._random), send)
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


async def _through(
    name: str, steps: Generator[Request, Response, Any], send: Callable[[Request], Awaitable[Response]]
) -> Any:
    """Send every request that a journey yields, give it the answer, and return what it returns.

    Raises:
        BrownoutError: the journey itself failed.
    """
    answer: Response | None = None
    while True:
        try:
            request = steps.send(answer)  # type: ignore[arg-type]  # a generator is begun with None
        except StopIteration as done:
            return done.value
        except Exception as error:
            raise BrownoutError(f"journey {name}", f"crashed: {type(error).__name__}: {error}") from error
        answer = await send(request)


def _told(operation: Operation) -> str:
    detail = operation.completed.detail if operation.completed else {}
    return str(detail.get("error") or f"{detail.get('status')} {detail.get('body')}")
