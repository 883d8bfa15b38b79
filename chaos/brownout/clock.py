"""The clock of a run: Unix time that never steps back."""

import time
from collections.abc import Callable

__all__ = ["steady_clock"]


def steady_clock() -> Callable[[], int]:
    """Unix nanoseconds, read once from the wall clock and carried on by the monotonic one.

    Events can be laid beside the spans of services on the same host, and a clock that is set during the run does
    not change their order.
    """
    offset_ns = time.time_ns() - time.monotonic_ns()
    return lambda: time.monotonic_ns() + offset_ns
