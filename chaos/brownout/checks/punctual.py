"""Whether the harness itself kept time: what it measures with a clock is no more exact than it is punctual."""

from brownout.recording import Recording

__all__ = ["LATE_S", "check"]

LATE_S = 1.0
"""The event loop may be held up so long: the second that a refusal at once is given. Nearer times are guarded by each
request's own lateness, and leave a tenth of their samples to a busy machine."""


def check(recording: Recording) -> str | None:
    """How long the harness was held up when that was too long; None when it kept time.

    Never the system's doing. Every hold-up counts, for one can be in the midst of what is judged.
    """
    late_s = max((event.detail["late_s"] for event in recording.history.alone("engine", "late")), default=0.0)
    if late_s <= LATE_S:
        return None
    return f"the machine was starved: the harness itself was held up for {late_s:.2f} s"
