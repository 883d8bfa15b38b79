"""What is done beside something else: tasks that are begun one by one, and none of which is left behind."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

__all__ = ["Beside"]

T = TypeVar("T")


class Beside:
    """Tasks that last no longer than this is held: leaving cancels those that have not ended, and sees their end.

    Unlike a task group, a task that fails takes nothing from the others; leaving raises the first failure.

    Attributes:
        failed: the first failure so far.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self.failed: BaseException | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await self.ended()
        if self.failed and kind is None:
            raise self.failed

    def __len__(self) -> int:
        """How many have not ended."""
        return len(self._tasks)

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin one more."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    async def ended(self, within_s: float | None = None) -> None:
        """Wait until all have ended, so long at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.failed = self.failed or error
