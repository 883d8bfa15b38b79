"""Whether there is anything to judge by: requests, and of a system that shows them metrics and traces."""

from brownout.recording import Recording

__all__ = ["TRACED_SHARE", "check"]

TRACED_SHARE = 0.9
"""Of the requests that succeeded at least so many have a span: the absence of one means something only then."""

STEADY_PHASES = frozenset({"arrange", "before", "after"})


def check(recording: Recording) -> str | None:
    """What is missing; None when everything is there.

    Never held against the system here, though it may be its doing: whether traces hold together is promised by
    `tracing`, and what metrics say by `metric`. All requests are counted, none is a sample of others.
    """
    requests = recording.history.requests()
    under_test = [one for one in requests if one.invoked.action not in STEADY_PHASES]
    asked = recording.history.operations("watch")
    if not under_test and not asked:
        return "nothing was asked of the system while it was put to the test"
    if recording.series is not None and not any(series.points for series in recording.series):
        return "no metrics were collected"
    if recording.spans is None:
        return None
    if not recording.spans:
        return "no traces were collected"
    good = {one.trace_id for one in requests if one.ok and one.trace_id}
    seen = good & {span.trace_id for span in recording.spans}
    if len(seen) < TRACED_SHARE * len(good):
        return f"only {len(seen)} of {len(good)} requests that succeeded have a trace"
    return None
