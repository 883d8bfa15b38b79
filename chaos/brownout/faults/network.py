"""Faults of an edge, held open by Toxiproxy."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from brownout.cell import Bite, Canary, Cell, Toxic
from brownout.topology import Edge

__all__ = ["AnyToxic", "BlackHole", "Latency", "Outage"]

Milliseconds = Annotated[int, Meta(ge=1)]

SILENCE_S = 1.0
"""How long no answer has to stay out before a black hole is believed."""

DAY_MS = 86_400_000
"""Nobody hears before that through a black hole that the callee has hung up: a caller that asks it to close after its
answer would be turned away at once."""

ANSWER_S = 5.0
"""How long an answer may take besides what it is held up: the machine is busy."""


class Latency(msgspec.Struct, frozen=True, tag="latency"):
    """Answers come later, by whole milliseconds a chunk."""

    edge: Edge
    latency_ms: Milliseconds

    def __str__(self) -> str:
        return f"latency {self.latency_ms} ms on {self.edge}"

    @asynccontextmanager
    async def injected(self, cell: Cell) -> AsyncIterator[dict[str, Any]]:
        """Hold the latency on the edge."""
        async with _held(cell, self.edge, Toxic("latency", {"latency": self.latency_ms})) as said:
            yield said

    async def bites(self, cell: Cell) -> Bite:
        """An answer comes through the edge, and takes at least nine tenths of the latency.

        Silence would tell nothing: a callee that hangs is silent as well.
        """
        latency_s = self.latency_ms / 1000
        canary = await cell.network.canary(self.edge, within_s=2 * latency_s + ANSWER_S)
        return Bite(canary.answered_s is not None and canary.answered_s >= 0.9 * latency_s, _seen(canary))


class BlackHole(msgspec.Struct, frozen=True, tag="black-hole"):
    """Connections are accepted and nothing ever comes back; lifting it closes them."""

    edge: Edge

    def __str__(self) -> str:
        return f"black hole on {self.edge}"

    @asynccontextmanager
    async def injected(self, cell: Cell) -> AsyncIterator[dict[str, Any]]:
        """Hold the edge silent, for those too whose callee hangs up when it has answered."""
        async with (
            _held(cell, self.edge, Toxic("timeout", {"timeout": 0})) as said,
            _held(cell, self.edge, Toxic("slow_close", {"delay": DAY_MS})),
        ):
            yield said

    async def bites(self, cell: Cell) -> Bite:
        """A connection is accepted, and no answer comes."""
        canary = await cell.network.canary(self.edge, within_s=SILENCE_S)
        return Bite(not canary.refused and canary.answered_s is None, _seen(canary))


class Outage(msgspec.Struct, frozen=True, tag="outage"):
    """Open connections are cut and new ones refused."""

    edge: Edge

    def __str__(self) -> str:
        return f"outage of {self.edge}"

    @asynccontextmanager
    async def injected(self, cell: Cell) -> AsyncIterator[dict[str, Any]]:
        """Hold the edge's proxies off."""
        try:
            yield await cell.network.switch(self.edge, on=False)
        finally:
            await cell.network.switch(self.edge, on=True)

    async def bites(self, cell: Cell) -> Bite:
        """A connection is refused."""
        canary = await cell.network.canary(self.edge, within_s=SILENCE_S)
        return Bite(canary.refused, _seen(canary))


class AnyToxic(msgspec.Struct, frozen=True, tag="toxic"):
    """Any toxic of Toxiproxy by its own name and attributes; the read-back guards against misspelt ones."""

    edge: Edge
    toxic: Toxic

    def __str__(self) -> str:
        return f"{self.toxic.type} {self.toxic.attributes} on {self.edge}"

    @asynccontextmanager
    async def injected(self, cell: Cell) -> AsyncIterator[dict[str, Any]]:
        """Hold the toxic on the edge."""
        async with _held(cell, self.edge, self.toxic) as said:
            yield said

    async def bites(self, cell: Cell) -> Bite:
        """Nothing is known in general of what it does: the exchange must differ from a quick answer."""
        canary = await cell.network.canary(self.edge, within_s=SILENCE_S)
        return Bite(canary.refused or canary.answered_s is None or canary.answered_s > SILENCE_S / 10, _seen(canary))


@asynccontextmanager
async def _held(cell: Cell, edge: Edge, toxic: Toxic) -> AsyncIterator[dict[str, Any]]:
    try:
        yield await cell.network.add_toxic(edge, toxic)
    finally:
        await cell.network.remove_toxic(edge, toxic)


def _seen(canary: Canary) -> str:
    if canary.refused:
        return "refused"
    return "no answer" if canary.answered_s is None else f"answered after {canary.answered_s:.3f} s"
