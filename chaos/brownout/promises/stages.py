"""The stages of a breaker's scenario as a recording has them: calls that failed, calls that passed, in one window."""

from collections.abc import Sequence

from brownout.history import Operation
from brownout.promises.evidence import phase, seconds, told, traces_at
from brownout.promises.promise import NoEvidenceError
from brownout.recording import Recording
from brownout.topology import Edge

__all__ = ["OPEN", "carried_bytes", "failures", "in_one_window", "passed", "within_window"]

OPEN = "open"
"""The stage in which every call is refused on a healthy edge."""


def failures(recording: Recording, edge: Edge, stage: str, count: int) -> list[Operation]:
    """The calls of a stage, all of which the outage of the edge has made fail; none where none were asked for.

    Raises:
        NoEvidenceError: some succeeded.
    """
    calls = phase(recording, stage, count) if count else []
    if served := [call for call in calls if call.ok]:
        raise NoEvidenceError(
            f"{len(served)} of {len(calls)} calls succeeded during the outage of {edge}: "
            "the journey does not use the edge"
        )
    return calls


def passed(recording: Recording, edge: Edge, stage: str, count: int) -> tuple[list[Operation], Operation | None]:
    """The calls of a stage on the healthy edge, and the first of them that the caller did not let through.

    Raises:
        NoEvidenceError: one failed though it reached the callee, or succeeded though it did not.
    """
    calls = phase(recording, stage, count)
    failed = [call for call in calls if not call.ok]
    reached = traces_at(recording, calls, edge.service)
    if lost := [call for call in failed if call.trace_id in reached]:
        raise NoEvidenceError(f"a call that reached {edge.service} failed with {told(lost[0])}, on the healthy edge")
    if recording.traced:
        if unseen := [call for call in calls if call.ok and call.trace_id not in reached]:
            raise NoEvidenceError(f"{len(unseen)} calls that passed show no span of {edge.service}")
    elif odd := [call for call in failed if told(call) not in _refusals(recording)]:
        raise NoEvidenceError(f"a call failed with {told(odd[0])} on the healthy edge, and nobody knows where")
    return calls, next(iter(failed), None)


def _refusals(recording: Recording) -> set[str]:
    """How calls ended while the breaker was open: the edge carried nothing, so this is how it refuses."""
    return {told(call) for call in recording.history.requests(OPEN) if not call.ok}


def in_one_window(recording: Recording, calls: Sequence[Operation], interval_s: float) -> None:
    """Make sure that the first of some calls opened a window, and the last one's end was still in it.

    Raises:
        NoEvidenceError: there was no such silence before, or they took too long.
    """
    first = calls[0]
    before = [one.answered_ns or one.sent_ns for one in recording.history.requests() if one.sent_ns < first.sent_ns]
    silent_s = seconds(max(before), first.sent_ns) if before else float("inf")
    if silent_s <= interval_s:
        raise NoEvidenceError(f"only {silent_s:.1f} s of silence before the first call of a window")
    within_window(first.sent_ns, calls, interval_s)


def within_window(from_ns: int, calls: Sequence[Operation], interval_s: float) -> None:
    """Make sure that all of some calls had ended when a window was not yet over.

    Raises:
        NoEvidenceError: it was.
    """
    took_s = seconds(from_ns, max(call.answered_ns or call.sent_ns for call in calls))
    if took_s >= interval_s:
        raise NoEvidenceError(f"the calls of one window took {took_s:.1f} s: the machine is too slow")


def carried_bytes(recording: Recording, edge: Edge, *ways: str) -> int:
    """Bytes that the edge carried between its two readings.

    Args:
        recording: has the readings.
        edge: what was read.
        ways: ``upstream``, what its caller sent, or ``downstream``, what its callee did; both where none is named.

    Raises:
        NoEvidenceError: it was not read twice, or had carried nothing before, when calls had passed.
    """
    totals = [
        sum(event.detail.get(way, 0) for way in ways or ("upstream", "downstream"))
        for event in recording.history.alone("bytes", str(edge))
    ]
    if len(totals) != 2:  # noqa: PLR2004 - before and after
        raise NoEvidenceError(f"the bytes of {edge} were read {len(totals)} times instead of twice")
    if not totals[0]:
        raise NoEvidenceError(f"{edge} carried no bytes when calls passed: they go another way, or are not counted")
    return int(totals[1] - totals[0])
