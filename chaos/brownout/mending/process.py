"""Processes told apart for good: a pid is used again, a pid with the time of its beginning is not."""

import contextlib
import os
import signal
from pathlib import Path
from typing import NamedTuple

__all__ = ["Identity", "began_at", "boot_id", "state_of"]


class Identity(NamedTuple):
    """One process of this boot of the machine.

    Attributes:
        pid: its process id.
        began_at: when it began, in clock ticks since boot.
    """

    pid: int
    began_at: int

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        """The process that has a pid now; None if it has ended."""
        began = began_at(pid)
        return None if began is None else cls(pid, began)

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return began_at(self.pid) == self.began_at

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, which never meets another process; one that has ended gets none."""
        with contextlib.suppress(ProcessLookupError):
            process = os.pidfd_open(self.pid)
            try:
                if self.alive:  # asked after the pidfd was opened, so both mean one process
                    signal.pidfd_send_signal(process, number)
            finally:
                os.close(process)


def began_at(pid: int) -> int | None:
    """When a process began, in clock ticks since boot (proc(5), ``stat``, field 22); None if it has ended."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def state_of(pid: int) -> str | None:
    """The letter of a process's state, ``T`` when it is paused (proc(5), ``stat``, field 3); None if it has ended."""
    fields = _stat(pid)
    return fields[0] if fields else None


def boot_id() -> str:
    """What the kernel calls the time since it was started; another after a power cut."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold anything; none of a process that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] in "ZX" else fields
