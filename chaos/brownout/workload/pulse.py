"""The harness's own pulse: on a starved machine it is late itself, and every time that it takes is too long."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from brownout.history import Recorder
from brownout.processors import processor_time
from brownout.workload.beside import Beside

__all__ = ["BEAT_S", "NOTED_S", "pulse"]

BEAT_S = 0.05
"""How often the event loop is asked whether it comes in time."""

NOTED_S = 0.1
"""A beat so late is noted when it happens."""

WAITED_S = 0.1
"""A process of the system that waited so long for a processor between two samples is noted."""

SAMPLED_S = 1.0
"""How often it is noted what became of the processors' time."""


@asynccontextmanager
async def pulse(recorder: Recorder, waited_s: Callable[[], Mapping[str, float]]) -> AsyncIterator[None]:
    """Note how late the event loop is while this is held: every late beat, and the latest of all in the end.

    And each second how busy the processors were, and who of the system had to wait for one.

    Args:
        recorder: where it is noted.
        waited_s: how long each process of the system has waited so far.
    """
    async with Beside() as beside:
        beside.begin(_beat(recorder))
        beside.begin(_sample(recorder, waited_s))
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


async def _sample(recorder: Recorder, waited_s: Callable[[], Mapping[str, float]]) -> None:
    before, waited_before_s, begun_ns = processor_time(), waited_s(), recorder.now_ns()
    while True:
        await asyncio.sleep(SAMPLED_S)
        after, waited_after_s, now_ns = processor_time(), waited_s(), recorder.now_ns()
        since_s = {name: each_s - waited_before_s.get(name, 0.0) for name, each_s in waited_after_s.items()}
        recorder.note(
            "engine",
            "host",
            sampled_s=round((now_ns - begun_ns) / 1e9, 3),
            busy=round(after.busy_since(before), 3),
            stolen=round(after.stolen_since(before), 3),
            kept_waiting={name: round(each_s, 2) for name, each_s in since_s.items() if each_s >= WAITED_S},
        )
        before, waited_before_s, begun_ns = after, waited_after_s, now_ns


def _late_s(recorder: Recorder, begun_ns: int) -> float:
    return round((recorder.now_ns() - begun_ns) / 1e9 - BEAT_S, 3)
