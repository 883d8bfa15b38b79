"""A value of a configuration, and how one sees from outside that it is in force: by a limit, or by each answer."""

import msgspec

from brownout.history import Operation
from brownout.promises.evidence import seconds, told
from brownout.promises.health import Said
from brownout.promises.promise import BrokenError, Count, NoEvidenceError, Positive, Status
from brownout.promises.rate_limit import LEAST_SHARE, ROUNDING, largest_excess
from brownout.scenario import Hold, Load, Wait
from brownout.verdict import Figure

__all__ = ["LOOKED_S", "Limit", "Value"]

DEADLINE_MS = 500
LOOKED_S = 4.0
"""How long it is looked whether a value is in force."""

LOAD_FACTOR = 2
"""Of what a limit grants, so much is asked for."""

ANSWERS_RATE = 5.0
"""Requests a second where each answer shows the value."""


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token bucket: so many pass a second, and at once; the others are refused with a status."""

    rps: Positive
    burst: Count
    status: Status = 429

    def granted(self, within_s: float) -> float:
        """The most calls that pass within a time."""
        return self.burst + self.rps * within_s

    def least(self, within_s: float) -> int:
        """Of a load above the limit no fewer pass within a time, even if the bucket was empty at its beginning."""
        return int(LEAST_SHARE * self.rps * within_s)

    def seen(self, calls: list[Operation], name: str) -> Figure:
        """How many of some calls passed.

        Raises:
            BrokenError: more than the limit grants, or fewer; or one was neither let pass nor refused.
            NoEvidenceError: there were so few that all of them may pass.
        """
        first_ns, last_ns = calls[0].sent_ns, max(call.answered_ns or call.sent_ns for call in calls)
        most = self.granted(seconds(first_ns, last_ns))
        if len(calls) <= most:
            raise NoEvidenceError(f"only {len(calls)} calls were made, and the limit grants {most:.0f}")
        if wrong := [call for call in calls if not (call.ok or call.status == self.status)]:
            raise BrokenError(f"a call ended with {told(wrong[0])}, promised an answer or {self.status}", wrong)
        half = len(calls) // 2
        least = sum(map(self._not_fewer, (calls[:half], calls[half:])))
        passed = [call for call in calls if call.ok]
        self._not_more(passed)
        return Figure(name, len(passed), f"of {len(calls)} calls passed", f"{least} to {most:.0f}")

    def _not_fewer(self, calls: list[Operation]) -> int:
        """The least that has to pass of some calls, and does; halves are looked at, as a limit may come too late."""
        within_s = seconds(calls[0].sent_ns, calls[-1].sent_ns)
        passed, least = sum(call.ok for call in calls), self.least(within_s)
        if passed < least:
            raise BrokenError(
                f"only {passed} of {len(calls)} calls within {within_s:.1f} s passed, promised at least {least}",
                [call for call in calls if not call.ok],
            )
        return least

    def _not_more(self, passed: list[Operation]) -> None:
        excess = largest_excess(passed, self.rps, self.burst)
        if excess.above > ROUNDING:
            raise BrokenError(
                f"{excess.passed} calls were sent and answered within {excess.seconds:.2f} s, promised at most "
                f"{self.granted(excess.seconds):.1f}",
                [excess.last],
            )


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value of a key, and what shows it: one of the two.

    Attributes:
        value: what is written.
        limit: how many calls pass.
        answer: what every call is answered.
    """

    value: str
    limit: Limit | None = None
    answer: Said | None = None

    def looked(self, name: str, journey: str) -> Hold:
        """The step that looks whether it is in force."""
        if self.limit:
            load = Load(name, journey, LOAD_FACTOR * self.limit.rps, deadline_ms=DEADLINE_MS)
        else:
            load = Load(name, journey, ANSWERS_RATE)
        return Hold(load, (Wait(LOOKED_S),))

    def differs_from(self, other: "Value") -> bool:
        """Whether what shows the one can never be taken for the other."""
        if self.limit and other.limit:
            low, high = sorted((self.limit, other.limit), key=lambda limit: limit.rps)
            return high.least(LOOKED_S) > low.granted(LOOKED_S + DEADLINE_MS / 1000)
        return bool(self.answer and other.answer and self.answer != other.answer)

    def seen(self, calls: list[Operation], name: str) -> Figure:
        """What some calls show of it.

        Raises:
            BrokenError: it was not in force.
            NoEvidenceError: nobody can tell.
        """
        if self.limit:
            return self.limit.seen(calls, name)
        if wrong := [call for call in calls if self.answer and not self.answer.matches(call)]:
            detail = wrong[0].completed.detail if wrong[0].completed else {}
            raise BrokenError(
                f"a call was answered {told(wrong[0])} {detail.get('body')}, promised {self.answer}", wrong
            )
        return Figure(name, len(calls), "calls answered so", str(self.answer))
