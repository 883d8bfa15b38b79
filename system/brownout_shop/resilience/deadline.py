"""The caller's deadline: when the answer to the request at hand is no longer waited for (clause 3.1)."""

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar

__all__ = ["HEADER", "deadline_ns", "kept", "within_s"]

HEADER = "X-Timeout-Ms"
MARGIN_NS = 200 * 10**6  # what our own answer needs on its way back
TOTAL_NS = 10 * 10**9
MOST_DIGITS = 15

_deadline_ns: ContextVar[int | None] = ContextVar("deadline_ns", default=None)


def deadline_ns() -> int | None:
    """Return the deadline of the request at hand on the monotonic clock, if its caller has one."""
    return _deadline_ns.get()


def within_s() -> float:
    """Return how long a call may take: min(10 s, time left - 200 ms), in seconds; 0 or less: not at all."""
    deadline = _deadline_ns.get()
    if deadline is None:
        return TOTAL_NS / 1e9
    return min(TOTAL_NS, deadline - time.monotonic_ns() - MARGIN_NS) / 1e9


@contextlib.contextmanager
def kept(timeout_ms: str | None) -> Iterator[None]:
    """Hold the deadline that a caller sent as its time left; anything but up to 15 digits counts as none."""
    deadline = None
    if timeout_ms is not None and timeout_ms.isascii() and timeout_ms.isdigit() and len(timeout_ms) <= MOST_DIGITS:
        deadline = time.monotonic_ns() + int(timeout_ms) * 10**6
    token = _deadline_ns.set(deadline)
    try:
        yield
    finally:
        _deadline_ns.reset(token)
