"""The harness's own pulse: what it notes of the machine while a scenario runs."""

import asyncio

from brownout.clock import steady_clock
from brownout.history import Recorder
from brownout.workload.pulse import pulse


async def test_who_was_kept_waiting_for_a_processor_is_noted() -> None:
    recorder = Recorder(steady_clock())
    waits = iter([{"orders-0": 7.0}, {"orders-0": 7.25, "orders-1": 0.05}])
    async with pulse(recorder, lambda: next(waits, {})):
        await asyncio.sleep(1.2)
    (sample, *_) = recorder.history.alone("engine", "host")
    assert sample.detail["kept_waiting"] == {"orders-0": 0.25}
