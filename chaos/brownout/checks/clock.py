"""Whether the harness and the services had the same time: what is laid beside each other has to be comparable."""

from collections.abc import Iterator

from brownout.recording import Recording

__all__ = ["SLACK_S", "check"]

SLACK_S = 0.05
"""Two clocks kept by one host differ by far less: of 34 000 requests in eight gates no span lay outside at all."""


def check(recording: Recording) -> str | None:
    """How far the clocks differ; None when every request began at the service between its sending and its answer.

    Always a matter of evidence, and never of the system: a recording from another machine, or a clock that was set.
    """
    apart_s = max(_apart_s(recording), default=0.0)
    if apart_s <= SLACK_S:
        return None
    return (
        f"clocks differ by {apart_s:.2f} s or more: a service began a request before it was sent, or after it had ended"
    )


def _apart_s(recording: Recording) -> Iterator[float]:
    """How far outside of each answered request its span at the service that was asked began, in seconds."""
    first = recording.first_spans()
    for request in recording.history.requests():
        span = first.get((request.trace_id, str(request.invoked.detail.get("service"))))
        answered_ns = request.answered_ns
        if span and request.status is not None and answered_ns is not None:
            yield max(request.sent_ns - span.start_ns, span.start_ns - answered_ns) / 1e9
