"""How long the system itself took over a request: the client that measures it is busy, too."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from brownout.history import Operation
from brownout.promises.intervals import share_at_most
from brownout.promises.promise import NoEvidenceError
from brownout.recording import Recording
from brownout.verdict import Figure

__all__ = ["SIDE", "Timing", "Took", "at_once"]

SIDE = "side"
"""The name of a watch that asks, beside every fault and at the same time as the requests that are judged, something
that answers at once by itself: the null call by which the client's own delay is known. Never the service under a rate
limit: a question may cost a token."""

SLOW_SHARE = 0.1
"""So many of some refusals may be late before that is held against the system: it shares its machine with others."""


class Took(msgspec.Struct, frozen=True):
    """How long the system had a request: no shorter, and no longer."""

    least_s: float
    most_s: float


class Timing:
    """The requests of a recording, timed.

    What the client saw is the most that a request took. The least is what the service that was asked says by its own
    span of it; where it has none, what the client saw less the client's own delay, as its pulse and the null calls
    at the same time show it.

    Args:
        recording: has the spans, the pulse and the null calls.
    """

    def __init__(self, recording: Recording) -> None:
        self._spans = recording.first_spans()
        self._nulls = [one for one in recording.history.operations("watch", SIDE) if one.ok]
        self._late = recording.history.alone("engine", "late")

    def took(self, request: Operation) -> Took:
        """How long the system had a request."""
        span_s = self.span_s(request)
        least_s = max(0.0, request.duration_s - self._delay_s(request)) if span_s is None else span_s
        return Took(min(least_s, request.duration_s), request.duration_s)

    def span_s(self, request: Operation, service: str = "") -> float | None:
        """How long a service, else the one that was asked, had it, by its own span; None where it has none."""
        span = self._spans.get((request.trace_id, service or str(request.invoked.detail.get("service"))))
        return None if span is None else (span.end_ns - span.start_ns) / 1e9

    def late(self, requests: Iterable[Operation], within_s: float) -> list[Operation]:
        """Those of some requests that surely took longer than they may.

        Raises:
            NoEvidenceError: none surely did, and one may have: only the client says so, and it was busy.
        """
        timed = [(one, self.took(one)) for one in requests]
        late = [one for one, took in timed if took.least_s > within_s]
        doubtful = [took for _, took in timed if took.most_s > within_s]
        if doubtful and not late:
            raise NoEvidenceError(
                f"a request took {doubtful[0].most_s:.2f} s by the client's clock, of which the system had it "
                f"{doubtful[0].least_s:.2f} s, within the {within_s:g} s promised: the client was busy"
            )
        return late

    def refused_s(self, request: Operation, by: str = "") -> Took:
        """How long a refusal took, by a service, else the one that was asked: its span alone tells, if it has one."""
        span_s = self.span_s(request, by)
        return self.took(request) if span_s is None else Took(span_s, span_s)

    def _delay_s(self, request: Operation) -> float:
        """How much of a request's time may have been the client's own."""
        nulls_s = (one.duration_s for one in self._nulls if _overlap(one, request))
        return max(sum(self._held_up_s(request)), *nulls_s, 0.0)

    def _held_up_s(self, request: Operation) -> Iterator[float]:
        for event in self._late:
            late_s = float(event.detail["late_s"])
            if event.at_ns > request.sent_ns and event.at_ns - late_s * 1e9 < (request.answered_ns or event.at_ns):
                yield late_s


def at_once(
    recording: Recording, refused: Sequence[Operation], within_s: float, of: str = "", by: str = ""
) -> tuple[Figure, ...]:
    """Make sure that refusals came at once; returns the slowest, and the share of slower ones where there were any.

    The service's own spans are believed before the client. Where all came at once there is nothing to estimate; else
    one in ten may be slower (`SLOW_SHARE`), and the sample has to show that it is no more.

    Args:
        recording: has the spans and the pulse.
        refused: the refusals.
        within_s: at once.
        of: what they are of, in words that follow their name.
        by: the service that refused; empty: the one that was asked.

    Raises:
        BrokenError: surely more were slower.
        NoEvidenceError: more may have been, or there are none.
    """
    if not refused:
        raise NoEvidenceError("no call was refused")
    timing = Timing(recording)
    timed = [(one, timing.refused_s(one, by)) for one in refused]
    slow = [one for one, took in timed if took.least_s > within_s]
    doubtful = [one for one, took in timed if took.most_s > within_s]
    slowest_s = max(took.most_s for _, took in timed)
    slowest = Figure(f"slowest refusal{of}", 1000 * slowest_s, "ms", f"at once: {within_s:g} s")
    if not doubtful:
        return (slowest,)
    name = f"refusals{of} took more than {within_s:g} s"
    return slowest, share_at_most(name, slow, len(timed), SLOW_SHARE, perhaps=doubtful)


def _overlap(one: Operation, other: Operation) -> bool:
    one_end_ns, other_end_ns = one.answered_ns or one.sent_ns, other.answered_ns or other.sent_ns
    return one.sent_ns <= other_end_ns and other.sent_ns <= one_end_ns
