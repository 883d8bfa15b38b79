"""Whether the harness sent what it had to, when it had to: a starved machine measures itself."""

from brownout.history import Operation
from brownout.recording import Recording

__all__ = ["LATE_S", "LATE_SHARE", "check"]

LATE_S = 0.5
"""A request sent this much after it was due is late: what promises keep clear around a documented time. All of them
judge by when it was sent."""

LATE_SHARE = 0.01
"""So many of all requests, rounded, may be late or not sent at all: the 99th percentile of the lateness counts."""


def check(recording: Recording) -> str | None:
    """How much was late or dropped when it was too much; None when the load was offered as it should.

    Never the system's doing: the load is open, and waits for nobody. All requests are counted, none is a sample of
    others, so the share is what it is and has no interval.
    """
    sent = [*recording.history.requests(), *recording.history.operations("watch")]
    requests = [one for one in sent if "due_ns" in one.invoked.detail]
    late = [one for one in requests if _lateness_s(one) > LATE_S]
    dropped = [event for event in recording.history.alone("load") if event.detail.get("dropped")]
    due = len(requests) + len(dropped)
    if len(late) + len(dropped) <= round(LATE_SHARE * due):
        return None
    worst_s = max(map(_lateness_s, late), default=0.0)
    return (
        f"the load was not offered: of {due} requests {len(late)} were sent more than {LATE_S:g} s late "
        f"(the worst {worst_s:.2f} s) and {len(dropped)} were dropped"
    )


def _lateness_s(request: Operation) -> float:
    return float(request.sent_ns - request.invoked.detail["due_ns"]) / 1e9
