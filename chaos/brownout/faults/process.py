"""Faults of a service's processes, one or all of them: killed, paused, or asked to end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec

from brownout.cell import Bite, Cell

__all__ = ["Killed", "Lost", "Paused", "Terminated"]

SILENCE_S = 1.0
"""How long no answer has to stay out before a pause is believed."""

DRAIN_S = 35.0
"""How long the end of a terminated process is waited for: clause 6.6 grants it 30 s."""


class Killed(msgspec.Struct, frozen=True, tag="killed"):
    """All instances of a service are gone at once; they are started again afterwards."""

    service: str

    def __str__(self) -> str:
        return f"every {self.service} killed"

    @asynccontextmanager
    async def injected(self, cell: Cell) -> AsyncIterator[dict[str, Any]]:
        """Kill every instance; start them all again."""
        instances = range(cell.processes.instances(self.service))
        try:
            ends = [await cell.processes.kill(self.service, instance) for instance in instances]
            yield {"instances": ends}
        finally:
            for instance in instances:
                await cell.processes.start(self.service, instance)

    async def bites(self, cell: Cell) -> Bite:
        """Every process has ended."""
        ends = [
            await cell.processes.exited(self.service, instance, within_s=1)
            for instance in range(cell.processes.instances(self.service))
        ]
        return Bite(all("exit_code" in end for end in ends), f"{len(ends)} ended", {"instances": ends})


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """One instance is killed and stays dead, while the others run; it is started again afterwards."""

    service: str
    instance: int = 0

    def __str__(self) -> str:
        return f"{self.service}-{self.instance} killed"

    @asynccontextmanager
    async def injected(self, cell: Cell) -> AsyncIterator[dict[str, Any]]:
        """Kill the instance; start it again."""
        try:
            yield await cell.processes.kill(self.service, self.instance)
        finally:
            await cell.processes.start(self.service, self.instance)

    async def bites(self, cell: Cell) -> Bite:
        """The process has ended."""
        end = await cell.processes.exited(self.service, self.instance, within_s=1)
        return Bite("exit_code" in end, "ended" if end else "still running", end)


class Paused(msgspec.Struct, frozen=True, tag="paused"):
    """A service stands still, by SIGSTOP: connections are accepted and nothing is answered; it goes on afterwards.

    Attributes:
        instance: the one that does; None: every one.
    """

    service: str
    instance: int | None = None

    def __str__(self) -> str:
        return f"every {self.service} paused" if self.instance is None else f"{self.service}-{self.instance} paused"

    @asynccontextmanager
    async def injected(self, cell: Cell) -> AsyncIterator[dict[str, Any]]:
        """Pause the instances; let them go on."""
        async with AsyncExitStack() as resuming:
            paused = []
            for instance in self._instances(cell):
                resuming.push_async_callback(cell.processes.resume, self.service, instance)
                paused.append(await cell.processes.pause(self.service, instance))
            yield {"instances": paused}

    async def bites(self, cell: Cell) -> Bite:
        """The processes stand still, and are silent when they are asked."""
        instances = self._instances(cell)
        asked = (cell.processes.paused(self.service, instance, within_s=SILENCE_S) for instance in instances)
        paused = sum(await asyncio.gather(*asked))
        return Bite(paused == len(instances), f"{paused} of {len(instances)} paused, and silent")

    def _instances(self, cell: Cell) -> range:
        if self.instance is None:
            return range(cell.processes.instances(self.service))
        return range(self.instance, self.instance + 1)


class Terminated(msgspec.Struct, frozen=True, tag="terminated"):
    """One instance is sent SIGTERM and left to end by itself; it is started again afterwards."""

    service: str
    instance: int = 0

    def __str__(self) -> str:
        return f"SIGTERM to {self.service}-{self.instance}"

    @asynccontextmanager
    async def injected(self, cell: Cell) -> AsyncIterator[dict[str, Any]]:
        """Send the signal; wait for the end, kill what is left, and start the instance again."""
        try:
            yield await cell.processes.terminate(self.service, self.instance)
        finally:
            await cell.processes.kill(self.service, self.instance)
            await cell.processes.start(self.service, self.instance)

    async def bites(self, cell: Cell) -> Bite:
        """The process ended after the signal, or outlived what a drain may take; it ran when the signal came."""
        end = await cell.processes.exited(self.service, self.instance, within_s=DRAIN_S)
        if "exit_code" not in end:
            return Bite(bit=True, seen="still running", detail=end)
        seen = "exit code {exit_code} after {after_s:.2f} s".format(**end)
        if end["after_s"] < 0:
            return Bite(bit=False, seen=f"{seen}: it had ended before the signal", detail=end)
        return Bite(bit=True, seen=seen, detail=end)
