"""Whether the engine came to the end of the scenario and left the cell clean."""

from brownout.history import Outcome
from brownout.recording import Recording

__all__ = ["check"]


def check(recording: Recording) -> str | None:
    """Why the run says nothing: it was given up, has a gap or no end, or left a fault behind; None when it is whole.

    Never the system's doing: the engine gives up for want of its own means, and a fault that cannot be lifted is the
    harness's. What a system does to a request is in the history, and aborts nothing.
    """
    if aborted := recording.history.alone("engine", "aborted"):
        return f"the scenario was not finished: {aborted[0].detail.get('why', 'no reason was given')}"
    if lost := next((place for place, event in enumerate(recording.history) if event.index != place), None):
        return f"the history has a gap: event {lost} is missing"
    clean = recording.history.alone("engine", "clean")
    if not clean:
        return "the scenario has no end: nobody saw that the cell was left clean"
    if clean[-1].outcome is not Outcome.OK:
        return f"faults were left in the cell: {', '.join(clean[-1].detail.get('left', []))}"
    return None
