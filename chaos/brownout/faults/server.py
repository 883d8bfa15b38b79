"""A fault of a server that the cell has to itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from brownout.cell import Bite, Cell

__all__ = ["AGENT", "Restarted"]

SILENCE_S = 1.0
"""How long the answer of a server that was stopped is waited for."""


class Restarted(msgspec.Struct, frozen=True, tag="restarted"):
    """A server is stopped at once, as by a crash, and started again afterwards, at the same address.

    Postgres has the data that it had. Consul has forgotten everyone and every key, and counts from the start again.
    """

    server: str

    def __str__(self) -> str:
        return f"restart of {self.server}"

    @asynccontextmanager
    async def injected(self, cell: Cell) -> AsyncIterator[dict[str, Any]]:
        """Stop the server; start it again, and see it answer."""
        try:
            yield await cell.servers.stop(self.server)
        finally:
            await cell.servers.start(self.server)

    async def bites(self, cell: Cell) -> Bite:
        """Nobody listens at its address."""
        canary = await cell.servers.canary(self.server, within_s=SILENCE_S)
        seen = "refused" if canary.refused else "no answer" if canary.answered_s is None else "answered"
        return Bite(canary.refused, seen)


AGENT = Restarted("consul")
"""The agent is gone, and another one is there in its place."""
