"""The edges of one cell as its Toxiproxy holds them."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from brownout.cell import Canary, Toxic
from brownout.cells.canary import exchange
from brownout.cells.toxiproxy import ProxyState, Toxiproxy
from brownout.cells.wiring import Proxy
from brownout.errors import BrownoutError, FaultError
from brownout.topology import Edge

__all__ = ["EdgeNetwork"]

STILL_S = 0.05
"""How long counters have to stand: connections are counted shortly after the answer that they are cut."""

COUNT_BOUND_S = 2.0
"""Longest wait for that."""

T = TypeVar("T")


class EdgeNetwork:
    """The network of a cell; implements :class:`brownout.cell.Network`.

    Args:
        toxiproxy: the server that all its proxies are in.
        proxies: those of the cell's edges, and of ``brownout -> callee`` for side canaries.
    """

    def __init__(self, toxiproxy: Toxiproxy, proxies: Iterable[Proxy]) -> None:
        self._toxiproxy = toxiproxy
        self._edges: dict[Edge, list[Proxy]] = {}
        for proxy in proxies:
            self._edges.setdefault(proxy.edge, []).append(proxy)

    @property
    def _proxies(self) -> list[Proxy]:
        return [proxy for proxies in self._edges.values() for proxy in proxies]

    async def create(self) -> None:
        """Make all proxies, in the place of those that an earlier run may have left under their names.

        Raises:
            CellError: one of them could not be made.
        """
        await self.destroy()
        for proxy in self._proxies:
            await self._toxiproxy.create(proxy.name, proxy.listen, proxy.upstream)

    async def destroy(self) -> None:
        """Remove all proxies."""
        for proxy in self._proxies:
            await self._toxiproxy.destroy(proxy.name)

    async def add_toxic(self, edge: Edge, toxic: Toxic) -> dict[str, Any]:
        """Put a toxic on all proxies of an edge; returns what each read back, by its name.

        Raises:
            FaultError: one of them refused, or read back something else; the others may have it.
        """
        return {proxy.name: await self._toxiproxy.add(proxy.name, toxic) for proxy in self._of(edge)}

    async def remove_toxic(self, edge: Edge, toxic: Toxic) -> None:
        """Take a toxic off all proxies of an edge, where it is on.

        Raises:
            FaultError: it could not be taken off some of them; it was tried on all.
        """
        await _on_all(edge, [self._toxiproxy.remove(proxy.name, toxic) for proxy in self._of(edge)])

    async def switch(self, edge: Edge, *, on: bool) -> dict[str, Any]:
        """Switch all proxies of an edge on or off; returns whether each is on, by its name.

        Raises:
            FaultError: some of them could not be switched; it was tried on all.
        """
        states = await _on_all(edge, [self._toxiproxy.switch(proxy.name, on=on) for proxy in self._of(edge)])
        return {state.name: {"enabled": state.enabled} for state in states}

    async def carried_bytes(self, edge: Edge) -> dict[str, int]:
        """Bytes that the edge's callers (``upstream``) and callees (``downstream``) have sent into it.

        Cuts the open connections, which would not count; a proxy that is off stays off. Under a black hole
        the server counts only what came before it.

        Raises:
            FaultError: the server did not do it or counts nothing.
        """
        for proxy in self._of(edge):
            if (await self._toxiproxy.state(proxy.name)).enabled:
                await self._cut(proxy.name)
        return await self._settled_count(edge)

    async def canary(self, edge: Edge, within_s: float) -> Canary:
        """Talk to the edge's callee through its own proxies; the least broken one answers for it."""
        return await self._least_broken([proxy.listen for proxy in self._of(edge)], edge, within_s)

    async def heal(self) -> list[str]:
        """Lift whatever is left on this cell's proxies; returns what was found, in words.

        Raises:
            FaultError: something could not be lifted; all else is.
        """
        left = await self._broken(self._proxies)
        await _on_all("heal", [self._toxiproxy.heal(state.name) for state in left])
        return [str(state) for state in left]

    async def broken(self, edge: Edge | None = None) -> list[str]:
        """What is left of a fault on an edge, or on any of this cell, in words; whoever put it there.

        Raises:
            CellError: the server did not answer.
        """
        return [str(state) for state in await self._broken(self._of(edge) if edge else self._proxies)]

    async def _broken(self, proxies: Iterable[Proxy]) -> list[ProxyState]:
        names = {proxy.name for proxy in proxies}
        return [state for state in await self._toxiproxy.dirty() if state.name in names]

    def _of(self, edge: Edge) -> list[Proxy]:
        try:
            return self._edges[edge]
        except KeyError:
            raise FaultError(str(edge), f"no such edge; there are {', '.join(map(str, self._edges))}") from None

    async def _cut(self, name: str) -> None:
        """Close a proxy's connections."""
        try:
            await self._toxiproxy.switch(name, on=False)
        finally:
            await self._toxiproxy.switch(name, on=True)

    async def _settled_count(self, edge: Edge) -> dict[str, int]:
        deadline = asyncio.get_running_loop().time() + COUNT_BOUND_S
        count = await self._count(edge)
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(STILL_S)
            before, count = count, await self._count(edge)
            if before == count:
                return count
        raise FaultError(str(edge), f"its counters did not come to rest within {COUNT_BOUND_S:g} s")

    async def _count(self, edge: Edge) -> dict[str, int]:
        counts = [await self._toxiproxy.carried(proxy.name) for proxy in self._of(edge)]
        return {way: sum(count[way] for count in counts) for way in ("upstream", "downstream")}

    async def _least_broken(self, addresses: list[str], edge: Edge, within_s: float) -> Canary:
        """Answered soonest, else silent, else refused: a fault bites when it bites all proxies."""
        proxy = self._of(edge)[0]
        seen = await asyncio.gather(*(exchange(address, proxy.protocol, proxy.path, within_s) for address in addresses))
        return min(seen, key=lambda canary: (canary.answered_s is None, canary.refused, canary.answered_s or 0))


async def _on_all(subject: object, changes: list[Coroutine[Any, Any, T]]) -> list[T]:
    """Make every change, whatever becomes of the others.

    Raises:
        FaultError: some failed; their causes are joined.
    """
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for failure in failures:
        if not isinstance(failure, BrownoutError):
            raise failure
    if failures:
        raise FaultError(str(subject), "; ".join(map(str, failures))) from failures[0]
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
