"""The harness's own pulse: on a starved machine it is late itself, and every time that it takes is too long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from brownout.history import Recorder
from brownout.workload.beside import Beside

__all__ = ["BEAT_S", "NOTED_S", "pulse"]

BEAT_S = 0.05
"""How often the event loop is asked whether it comes in time."""

NOTED_S = 0.1
"""A beat so late is noted when it happens."""


@asynccontextmanager
async def pulse(recorder: Recorder) -> AsyncIterator[None]:
    """Note how late the event loop is while this is held: every late beat, and the latest of all in the end."""
    async with Beside() as beside:
        beside.begin(_beat(recorder))
        yield


async def _beat(recorder: Recorder) -> None:
    latest_s = 0.0
    begun_ns = recorder.now_ns()
    try:
        while True:
            await asyncio.sleep(BEAT_S)
            late_s = _late_s(recorder, begun_ns)
            if late_s > NOTED_S:
                recorder.note("engine", "late", late_s=late_s)
            latest_s = max(latest_s, late_s)
            begun_ns = recorder.now_ns()
    finally:
        recorder.note("engine", "late", late_s=max(latest_s, _late_s(recorder, begun_ns)))


def _late_s(recorder: Recorder, begun_ns: int) -> float:
    return round((recorder.now_ns() - begun_ns) / 1e9 - BEAT_S, 3)
