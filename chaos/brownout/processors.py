"""The host's processors: what became of their time."""

from pathlib import Path

import msgspec

__all__ = ["ProcessorTime", "processor_time"]

_PRESSURE = Path("/proc/pressure/cpu")


class ProcessorTime(msgspec.Struct, frozen=True):
    """All processors' time since the machine started.

    Attributes:
        passed: in the kernel's ticks.
        idle: of it, with nothing to do.
        stolen: of it, given by the hypervisor to other machines.
        waited_us: in which somebody waited for a processor; 0 where the kernel does not keep it.
    """

    passed: int
    idle: int
    stolen: int
    waited_us: int = 0

    def busy_since(self, before: "ProcessorTime") -> float:
        """The share of the time since then in which there was something to do, the stolen among it."""
        passed = self.passed - before.passed
        return 1 - (self.idle - before.idle) / passed if passed else 0.0

    def stolen_since(self, before: "ProcessorTime") -> float:
        """The share of the time since then that was stolen."""
        passed = self.passed - before.passed
        return (self.stolen - before.stolen) / passed if passed else 0.0


def processor_time() -> ProcessorTime:
    """The time so far: proc(5), /proc/stat and /proc/pressure/cpu."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ProcessorTime(sum(fields), fields[3] + fields[4], fields[7], _waited_us())


def _waited_us() -> int:
    try:
        some = _PRESSURE.read_text().split("\n", 1)[0]
    except OSError:  # a kernel without pressure stall information, or one that was told not to keep it
        return 0
    return int(some.rpartition("total=")[2])
