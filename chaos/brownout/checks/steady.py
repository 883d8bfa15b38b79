"""Whether the system was well before it was broken, and is well again."""

from brownout.history import Operation
from brownout.recording import Recording

__all__ = ["IN_A_ROW", "check_after", "check_before"]

IN_A_ROW = 3
"""Calls of the steady journey that have to succeed."""


def check_before(recording: Recording) -> str | None:
    """How the system was unwell before anything was done to it; None when it was well.

    It may be the system's doing, but shows nothing about how it takes a fault.
    """
    calls = recording.history.requests("before")
    good = [call for call in calls if call.ok]
    if len(calls) >= IN_A_ROW and len(good) == len(calls):
        return None
    return f"not steady before the first fault: {len(good)} of {max(len(calls), IN_A_ROW)} calls succeeded"


def check_after(recording: Recording) -> str | None:
    """How the system is unwell after everything was lifted; None when it is well again.

    It may be the system's doing: so it takes a PASS, and leaves a FAIL. Who promises to be back is held to that by
    `recovery`.
    """
    calls = recording.history.requests("after")
    row = _last_in_a_row(calls)
    if row >= IN_A_ROW:
        return None
    return f"not steady again at the end: only the last {row} of {len(calls)} calls succeeded, not {IN_A_ROW}"


def _last_in_a_row(calls: list[Operation]) -> int:
    return next((row for row, call in enumerate(reversed(calls)) if not call.ok), len(calls))
