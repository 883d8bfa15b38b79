"""What performances of promises share: simulated time, any breaker, edges without faults, a watched judge."""

import asyncio
import builtins
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from brownout import judge
from brownout.cell import Canary, Toxic
from brownout.cells.fake import FakeNetwork
from brownout.promises.promise import Promise
from brownout.recording import Recording
from brownout.topology import Edge
from brownout.verdict import Verdict

__all__ = ["Breaker", "Numb", "Simulated", "judged"]

OUTSIDE = {
    builtins: ("open",),
    os: ("open", "environ", "urandom"),
    socket: ("socket",),
    time: ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"),
}
"""Where a judge could learn what is not in the recording."""


def judged(promise: Promise, recording: Recording) -> Verdict:
    """The verdict, which is the same when it is asked for again and nothing but the recording can be read."""
    verdict = judge.judged(promise, recording)
    with _nothing_outside():
        again = judge.judged(promise, recording)
    assert again == verdict
    return verdict


@contextmanager
def _nothing_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module, names in OUTSIDE.items():
            for name in names:
                patch.setattr(module, name, None)
        yield


class Simulated(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while anything can be done, and then jumps to its next timer."""

    now_s = 1000.0

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self.now_s = max(self.now_s, self._scheduled[0].when())
        super()._run_once()


class Breaker:
    """A breaker of the documented semantics, with numbers that may be wrong.

    Args:
        now_s: the time in seconds.
        requests: see `Trips`.
        ratio: see `Trips`.
        window_s: after it the counts start anew, with the next call.
        in_a_row: failures in a row that trip it, whatever else there was; 0: they do not matter.
        open_s: how long it refuses.
        trial: calls that are let through then, and that close it.
        closes_after: successes on trial that close it; 0: as many as are let through.
        forgives: a failure on trial does not open it again.
    """

    def __init__(
        self,
        now_s: Callable[[], float],
        *,
        requests: int = 3,
        ratio: float = 0.6,
        window_s: float = 10,
        in_a_row: int = 0,
        open_s: float = 60,
        trial: int = 3,
        closes_after: int = 0,
        forgives: bool = False,
    ) -> None:
        self.now_s, self.open_s, self.trial = now_s, open_s, trial
        self.fewest, self.ratio, self.window_s, self.in_a_row = requests, ratio, window_s, in_a_row
        self.closes_after, self.forgives = closes_after or trial, forgives
        self.begin("closed")

    def begin(self, state: str) -> None:
        self.state, self.requests, self.failed, self.good, self.since_s = state, 0, 0, 0, self.now_s()
        self.row = 0
        self.generation = object()

    def admit(self) -> object | None:
        age_s = self.now_s() - self.since_s
        if self.state == "closed" and age_s > self.window_s:
            self.begin("closed")
        if self.state == "open" and age_s > self.open_s:
            self.begin("half-open")
        if self.state == "open" or (self.state == "half-open" and self.requests >= self.trial):
            return None
        self.requests += 1
        return self.generation

    def done(self, generation: object, *, ok: bool) -> None:
        if self.state == "closed" and self.now_s() - self.since_s > self.window_s:
            self.begin("closed")
        if generation is not self.generation:
            return
        self.good, self.failed = self.good + ok, self.failed + (not ok)
        self.row = 0 if ok else self.row + 1
        if self.state == "half-open" and not ok and self.forgives:
            self.requests -= 1
        elif self.state == "half-open" and (not ok or self.good >= self.closes_after):
            self.begin("closed" if ok else "open")
        elif self.state == "closed" and not ok and self.trips:
            self.begin("open")

    @property
    def trips(self) -> bool:
        if self.in_a_row:
            return self.row >= self.in_a_row
        return self.requests >= self.fewest and self.failed >= self.ratio * self.requests


class Numb(FakeNetwork):
    """Edges on which every fault is said to be in force, and is seen to be, while everything passes."""

    def __init__(self, *edges: Edge, **how: Any) -> None:
        super().__init__(*edges, **how)
        self.said = FakeNetwork(*edges)

    async def add_toxic(self, edge: Edge, toxic: Toxic) -> dict[str, Any]:
        return await self.said.add_toxic(edge, toxic)

    async def remove_toxic(self, edge: Edge, toxic: Toxic) -> None:
        await self.said.remove_toxic(edge, toxic)

    async def switch(self, edge: Edge, *, on: bool) -> dict[str, Any]:
        return await self.said.switch(edge, on=on)

    async def canary(self, edge: Edge, within_s: float) -> Canary:
        return await self.said.canary(edge, within_s)
