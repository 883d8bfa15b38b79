"""What a load run has to keep to, and what it came to: three rulings, and the exit codes of ``brownout``."""

from collections.abc import Iterator
from math import inf

import msgspec

from brownout.verdict import Ruling
from tally import Tally, quantile

__all__ = ["EXIT", "Result", "Thresholds"]

EXIT = {Ruling.PASS: 0, Ruling.FAIL: 1, Ruling.INCONCLUSIVE: 2}


class Result(msgspec.Struct, frozen=True):
    """What a load run came to.

    Attributes:
        arrivals: those that came due.
        tally: what became of them there.
        requests: of journeys, those that have ended.
        errors: those of them that failed, and journeys that crashed.
        took_ms: how many requests took so many milliseconds, the first of a journey since it was due.
        wrong: what else speaks against it: a fault that did not act, an end before its time.
    """

    arrivals: int
    tally: Tally
    requests: int
    errors: int
    took_ms: dict[float, int]
    wrong: tuple[str, ...] = ()

    @property
    def lost(self) -> int:
        """Arrivals whose generator was gone before it said what became of them, or for which there was none."""
        return self.arrivals - self.tally.ended - self.tally.dropped - self.tally.cut

    @property
    def unoffered(self) -> int:
        """Arrivals of which nobody knows what would have become."""
        return self.arrivals - self.tally.ended

    def took_at_ms(self, share: float) -> float:
        """A quantile of how long requests took."""
        return quantile(self.took_ms, share)

    def late_at_ms(self, share: float) -> float:
        """A quantile of how late arrivals began."""
        return quantile(self.tally.late_ms, share)


class Thresholds(msgspec.Struct, frozen=True):
    """What a load run has to keep to.

    Attributes:
        errors: the largest share of requests that may fail.
        p95_ms: the longest that the 95th percentile of requests may take.
        p99_ms: the same of the 99th.
        late_ms: the most by which the 99th percentile of arrivals may begin late.
        dropped: the largest share of arrivals that may not have been offered: dropped, cut or lost.
    """

    errors: float = 0.0
    p95_ms: float = inf
    p99_ms: float = inf
    late_ms: float = 500.0
    dropped: float = 0.01

    def ruling(self, result: Result) -> tuple[Ruling, list[str]]:
        """The ruling on a run, and why in words.

        A load that was not offered as it should shows nothing of the system, good or bad. A run without a request
        fails: nothing was measured.
        """
        if not result.requests:
            nothing = "no request of a journey has ended: nothing was measured"
            return Ruling.FAIL, [nothing, *self._unfit(result)]
        if unfit := [*self._unfit(result)]:
            return Ruling.INCONCLUSIVE, unfit
        broken = [*self._broken(result)]
        return (Ruling.FAIL if broken else Ruling.PASS), broken

    def _unfit(self, result: Result) -> Iterator[str]:
        yield from result.wrong
        late_ms = result.late_at_ms(0.99)
        if late_ms > self.late_ms:
            yield f"the load was not offered in time: the p99 of lateness is {late_ms:g} ms, over {self.late_ms:g} ms"
        if result.unoffered > self.dropped * result.arrivals:
            yield (
                f"the load was not offered: of {result.arrivals} arrivals {result.tally.dropped} were dropped, "
                f"{result.tally.cut} cut and {result.lost} lost, over {100 * self.dropped:g} %"
            )

    def _broken(self, result: Result) -> Iterator[str]:
        if result.errors > self.errors * result.requests:
            share = 100 * result.errors / result.requests
            yield f"{result.errors} of {result.requests} requests failed, {share:.2f} %, over {100 * self.errors:g} %"
        for name, share, bound_ms in (("p95", 0.95, self.p95_ms), ("p99", 0.99, self.p99_ms)):
            took_ms = result.took_at_ms(share)
            if took_ms > bound_ms:
                yield f"the {name} of requests is {took_ms:g} ms, over {bound_ms:g} ms"
