"""How many cells run at once: as many as the machine has room for, and the longest scenarios first."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from brownout.processors import processor_time

__all__ = ["Admission"]

ROOM = 0.75
"""Share of all processors' time above which a further cell would disturb those that are being measured; found by trying
on two processors, where 0.65 left them idle and the wait for it ran out of patience."""

PACE_S = 3.8
"""From one start to the next, times the processors: what begins together ends together, and both are the busiest times
of a scenario. Found by trying on two: at 3.6 the harness itself was held up for half a second, at 4.8 for 0.3 s."""

PROCESSORS = len(os.sched_getaffinity(0))
"""Those that this process may use."""

PATIENCE_S = 15.0
"""Longest that a cell waits once it is its turn: others may keep the machine busy for ever, and whether it was fit to
measure is judged from what was recorded."""


class Admission:
    """Lets cells start one after another while there is room: what one costs is seen before the next.

    Args:
        room: see ``ROOM``.
    """

    def __init__(self, room: float = ROOM) -> None:
        self._room = room
        self._turn = asyncio.Lock()
        self._ready = asyncio.Semaphore(PROCESSORS)
        self._first = True

    @asynccontextmanager
    async def starting(self) -> AsyncIterator[None]:
        """Hold one's place while a cell is started; those who ask first come first."""
        async with self._ready:
            async with self._turn:
                if not self._first:
                    await self._until_room()
                self._first = False
            yield

    async def _until_room(self) -> None:
        deadline_s = asyncio.get_running_loop().time() + PATIENCE_S
        while asyncio.get_running_loop().time() < deadline_s:
            before = processor_time()
            await asyncio.sleep(PACE_S / PROCESSORS)
            if processor_time().busy_since(before) < self._room:
                return
