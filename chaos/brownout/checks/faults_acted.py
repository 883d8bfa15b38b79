"""Whether every fault was in force, was seen to act, and was lifted."""

from brownout.history import Operation, Outcome
from brownout.recording import Recording
from brownout.windows import Window, windows

__all__ = ["check"]


def check(recording: Recording) -> str | None:
    """What is wrong with the first fault that did not go as it should; None when all did.

    Never the system's doing, with one exception that it can have: a process that was told to end and does not. That is
    a promise of its own (`graceful-shutdown`), whose fault bites by having sent the signal.
    """
    for window in windows(recording.history):
        if wrong := _wrong(window):
            return f"{window.fault} {wrong}"
    return None


def _wrong(window: Window) -> str:
    if not window.entered.ok:
        return f"was not put in force{_because(window.entered, 'error')}"
    if window.canary is None:
        return "was put in force, but nobody looked whether it acts"
    if window.canary.outcome is Outcome.FAILED:
        return f"did not bite{_because(window.canary, 'seen')}"
    if not window.canary.ok:
        return f"was not seen to bite{_because(window.canary, 'seen')}"
    if window.lifted is None or not window.lifted.ok:
        return f"was not lifted{_because(window.lifted, 'error')}"
    return ""


def _because(operation: Operation | None, word: str) -> str:
    said = operation.completed.detail.get(word) if operation and operation.completed else None
    return f": {said}" if said else ""
