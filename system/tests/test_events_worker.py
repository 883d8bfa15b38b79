"""A worker goes on, whatever its steps meet, until it is stopped."""

import asyncio
import logging

import pytest

from brownout_shop.events.worker import Worker


class Steps:
    """A step that raises what it is given, one after another, and then waits."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.quiet = asyncio.Event()
        self.cancelled = False

    async def step(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.quiet.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


@pytest.mark.parametrize("error", [OSError("gone"), KeyError("a mistake"), asyncio.CancelledError()])
async def test_a_failed_step_is_logged_and_repeated(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps(error)
    worker = Worker("relay", steps.step)
    worker.start()
    async with asyncio.timeout(5):
        await steps.quiet.wait()
    await worker.stop(0)
    assert "relay goes on after" in caplog.text


async def test_only_an_error_that_nobody_foresaw_brings_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    steps = Steps(OSError("gone"), KeyError("a mistake"))
    worker = Worker("relay", steps.step)
    worker.start()
    async with asyncio.timeout(5):
        await steps.quiet.wait()
    await worker.stop(0)
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]


async def test_a_step_that_outlasts_the_stop_is_cancelled() -> None:
    steps = Steps()
    worker = Worker("relay", steps.step)
    worker.start()
    await steps.quiet.wait()
    async with asyncio.timeout(1):
        await worker.stop(0.05)
    assert steps.cancelled


async def test_one_that_was_never_started_stops_at_once() -> None:
    async with asyncio.timeout(0.5):
        await Worker("relay", Steps().step).stop(10)
