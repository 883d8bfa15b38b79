"""Processes that stand still: each is written down before it does, and goes on whatever becomes of the runner."""

import asyncio
import signal
from collections.abc import Callable

from brownout.errors import FaultError
from brownout.mending import Identity, Journal, Undo, state_of
from brownout.undo import Process

__all__ = ["Pauses"]

SIGNAL_S = 2.0
"""How long a signal may take, by way of the process's parent; the usual one takes 2 ms."""

POLL_S = 0.001


class Pauses:
    """Pauses processes, and lets them go on.

    Args:
        journal: where each pause is written before.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._paused: dict[Process, Undo] = {}

    async def pause(self, process: Process) -> None:
        """Stop a process with SIGSTOP; returns once it stands still.

        Raises:
            FaultError: it has ended, or does not stand still in time.
        """
        if (identity := Identity.of(process.pid)) is None:
            raise FaultError(process.name, "it has ended, and cannot be paused")
        self._paused[process] = pause = Undo("resume", identity)
        await asyncio.to_thread(self._journal.begun, pause)
        process.signal(signal.SIGSTOP)
        await _until(process, "stand still", lambda: state_of(process.pid) in {"T", None})

    async def resume(self, process: Process) -> None:
        """Let a process go on, if it was paused and has not ended; returns once it does.

        Raises:
            FaultError: it does not in time.
        """
        if pause := self._paused.get(process):
            process.signal(signal.SIGCONT)
            await _until(process, "go on", lambda: state_of(process.pid) != "T")
            self._journal.undone(pause)
            del self._paused[process]


async def _until(process: Process, what: str, condition: Callable[[], bool]) -> None:
    """Poll: of a stop nobody is told but the parent."""
    try:
        async with asyncio.timeout(SIGNAL_S):
            while not condition():  # noqa: ASYNC110  same
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise FaultError(process.name, f"does not {what} within {SIGNAL_S:g} s of the signal") from None
