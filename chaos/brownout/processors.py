"""The host's processors: what became of their time."""

import contextlib
import os
from pathlib import Path

import msgspec

__all__ = ["ProcessorTime", "processor_time", "waited_s"]


class ProcessorTime(msgspec.Struct, frozen=True):
    """All processors' time since the machine started.

    Attributes:
        passed: in the kernel's ticks.
        idle: of it, with nothing to do.
        stolen: of it, given by the hypervisor to other machines.
    """

    passed: int
    idle: int
    stolen: int

    def busy_since(self, before: "ProcessorTime") -> float:
        """The share of the time since then in which there was something to do, the stolen among it."""
        passed = self.passed - before.passed
        return 1 - (self.idle - before.idle) / passed if passed else 0.0

    def stolen_since(self, before: "ProcessorTime") -> float:
        """The share of the time since then that was stolen."""
        passed = self.passed - before.passed
        return (self.stolen - before.stolen) / passed if passed else 0.0


def processor_time() -> ProcessorTime:
    """The time so far: proc(5), /proc/stat."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ProcessorTime(sum(fields), fields[3] + fields[4], fields[7])


def waited_s(pid: int) -> float:
    """How long that thread of a process which waited most has been ready to run while others ran.

    From /proc/<pid>/task/*/schedstat; 0 for a process that has ended, and where the kernel does not keep it.
    """
    waited_ns = [0]
    with contextlib.suppress(OSError):
        for thread in os.scandir(f"/proc/{pid}/task"):
            with open(f"{thread.path}/schedstat", "rb") as schedstat:  # noqa: PTH123 - hundreds each second
                waited_ns.append(int(schedstat.read().split()[1]))
    return max(waited_ns) / 1e9
