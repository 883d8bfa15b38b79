"""Running until done, or until a signal asks to stop."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["Stopped", "StoppedByError", "run_until_signalled", "unless_stopped"]

T = TypeVar("T")


class Stopped(BaseException):
    """The run was asked to stop; everything it started has been ended."""


class StoppedByError(Exception):
    """A signal ended the run, and everything that it had started.

    Args:
        number: the signal.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"stopped by {number.name}")
        self.exit_code = 128 + number
        """The shell's for that signal."""


def run_until_signalled(work: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    """Run some work to its end; SIGINT, SIGTERM and SIGHUP set the event that it is given.

    Raises:
        StoppedByError: the work said that it was stopped.
    """
    received: list[signal.Signals] = []

    async def guarded() -> T:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def ask(number: signal.Signals) -> None:
            received.append(number)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, ask, number)
        return await work(stop)

    try:
        return asyncio.run(guarded())
    except Stopped:
        raise StoppedByError(received[0]) from None


async def unless_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T:
    """The result of some work, which is cancelled, and unwound, when it is asked to stop.

    Raises:
        Stopped: ``stop`` was set first.
    """
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        raise Stopped
    return working.result()
