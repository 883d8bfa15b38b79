"""A task that outlives whatever its steps meet: a broker or a database that is gone for a while."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from aiokafka.errors import KafkaError

from brownout_shop.problems import Problem
from brownout_shop.telemetry import metrics

__all__ = ["Worker"]

PAUSE_S = 0.5
END_WITHIN_S = 1.0
FORESEEN = (KafkaError, Problem, OSError, TimeoutError)

log = logging.getLogger(__name__)


class Worker:
    """Repeats a step until it is stopped; a step that failed is logged, counted, and repeated after a pause.

    Args:
        name: what the log and the metrics call it.
        step: one step; it returns soon after `stopping` was set.
    """

    def __init__(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        self.stopping = asyncio.Event()
        self._name = name
        self._step = step
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self, within_s: float) -> None:
        """Finish the step at hand; one that takes longer than `within_s` is cancelled."""
        self.stopping.set()
        if self._task is None:
            return
        _, late = await asyncio.wait({self._task}, timeout=within_s)
        if late:
            self._task.cancel()
            await asyncio.wait(late, timeout=END_WITHIN_S)

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than until it is stopped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()

    async def _run(self) -> None:
        while not self.stopping.is_set():
            try:
                await self._step()
            except (Exception, asyncio.CancelledError) as error:
                if _cancelled():
                    raise
                unforeseen = not isinstance(error, FORESEEN)
                log.warning("%s goes on after %r", self._name, error, exc_info=unforeseen)
                metrics.WORKER_FAILURES.labels(self._name).inc()
                await self.pause(PAUSE_S)


def _cancelled() -> bool:
    """Return whether it is this task that was cancelled, and not one of a library's that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
