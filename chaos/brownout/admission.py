"""How many cells run at once: as many as the machine has room for."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from brownout.processors import processor_time

__all__ = ["PROCESSORS", "Admission"]

ROOM = 0.7
"""Share of all processors' time above which a further cell would disturb those that are being measured; found by trying
on two processors: at 0.75 services waited for half a second in 4 % of all seconds, at 0.7 in 1 %."""

PACE_S = 3.8
"""From one start to the next, times the processors: what begins together ends together, and both are the busiest times
of a scenario. Half of it where half of the room is left, as in the beginning, when the long scenarios mostly wait.
Found by trying on two: a quicker pace wherever there was time left over had services wait, and took no less time."""

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
        room = self._room / 2
        while asyncio.get_running_loop().time() < deadline_s:
            before = processor_time()
            await asyncio.sleep(PACE_S / 2 / PROCESSORS)
            if processor_time().busy_since(before) < room:
                return
            room = self._room
