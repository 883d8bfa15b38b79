"""The rate limit of a service: never more than promised, not less either, and a call that can wait is served."""

import math
from collections.abc import Iterable
from statistics import median

import msgspec

from brownout.history import Operation
from brownout.promises.evidence import edge_of, entered_at, phase, seconds, told
from brownout.promises.promise import BrokenError, Count, NoEvidenceError, Positive, Stated, Status, key
from brownout.promises.timing import Timing, at_once
from brownout.recording import Recording
from brownout.scenario import Calls, Hold, Load, Scenario, Wait
from brownout.topology import Topology
from brownout.verdict import Figure, Verdict

__all__ = ["Excess", "RateLimit", "largest_excess"]

DEADLINES_MS = {"burst": 2000, "load": 500}
"""Of the calls of short patience, by their phase."""

TOO_MANY = 1.25
"""Times what the rate grants within the deadline: so many calls of a burst wait beside those that the bucket serves."""

AT_ONCE_SHARE = 0.75
"""Of its deadline, that a refusal at once may take: of two dozen calls that come together the last waits for the rest,
even where none of them waits for a token."""

PATIENT_DEADLINE_MS = 10_000
LOAD_S = 5.0
LOAD_FACTOR = 3
IDLE_S = 0.5

ROUNDING = 1e-6
"""Calls; what seconds as floating-point numbers may be off by."""

LEAST_SHARE = 0.8
"""Of what bucket and rate grant under load, at least this passes; the rest is for the edges of the time counted. A
bucket draws no lots: this is a count, and no sample of one."""

MISSING = 0.8
"""Tokens by which a bucket is surely short."""

UNSURE = 0.4
"""Tokens by which it may be."""

WAITED_SHARE = 0.5
"""Of its deadline, that a call which ran out of time has had at least: what is kept back for the way is less."""

SERVED_MARGIN_S = 1.0
"""How much later than the rate grants it the last of the patient calls may have its answer."""


class Excess(msgspec.Struct, frozen=True):
    """The window in which passes are furthest above, or least below, what a token bucket grants.

    Attributes:
        passed: calls sent after its beginning and answered before its end.
        seconds: its length.
        above: ``passed`` less what is granted; positive is a broken promise.
        last: the operation whose answer ends the window.
    """

    passed: int
    seconds: float
    above: float
    last: Operation


def largest_excess(passes: Iterable[Operation], rps: float, burst: int) -> Excess:
    """The worst window over some calls that passed; there has to be one.

    A token is taken between a call's sending and its answer, so of the calls sent after a and answered before b at
    most ``burst + rps * (b - a)`` pass. Only windows from a sending to an answer matter. Each answer is looked at
    once, with a running count for every window that may end there: n * n steps of an addition for n calls.
    """
    ordered = sorted(passes, key=lambda one: one.answered_ns or 0)
    counts: list[tuple[int, int]] = []
    worst: Excess | None = None
    for one in ordered:
        counts = [(from_ns, count + (one.sent_ns >= from_ns)) for from_ns, count in counts]
        since = sum(other.sent_ns >= one.sent_ns for other in ordered[: len(counts)])
        counts.append((one.sent_ns, since + 1))
        end_ns = one.answered_ns or one.sent_ns
        for from_ns, count in counts:
            above = count - burst - rps * seconds(from_ns, end_ns)
            if worst is None or above > worst.above:
                worst = Excess(count, seconds(from_ns, end_ns), above, one)
    if worst is None:
        raise NoEvidenceError("no call passed")
    return worst


class RateLimit(Stated, frozen=True, kw_only=True, tag="rate-limit"):
    """A token bucket on which calls wait, and are refused at once when their deadline comes first (clause 6.3).

    The journey has to be the limited call alone, at the service's own port; or, where an edge is named, a request at
    the edge's caller that makes it once and tells of a refusal with the same status.

    Attributes:
        service: whose limit it is.
        edge: over which the call is made; empty: the harness makes it itself.
        rps: tokens a second.
        burst: tokens that the bucket holds.
        status: of a refusal.
        timed_out: the status of a call whose token came so late that too little of its deadline was left for the rest.
    """

    service: str
    rps: Positive
    burst: Count
    status: Status = 429
    timed_out: Status = 504
    edge: str = ""

    def scenario(self, topology: Topology) -> Scenario:
        """A burst of short patience, one of long patience, and a load above the rate, each on a full bucket."""
        with key("service"):
            topology.service(self.service)
        with key("edge"):
            if self.edge and topology.edge(self.edge).service != self.service:
                raise ValueError(f"does not lead to {self.service}")
        with key("kind"):
            if not topology.deadline_header:
                raise ValueError("needs a deadline_header in the topology: calls of short patience show a limit")
        full = Wait(self.burst / self.rps + IDLE_S)
        load = Load("load", self.journey, rate=LOAD_FACTOR * self.rps, deadline_ms=DEADLINES_MS["load"])
        steps = (
            full,
            Calls("burst", self.journey, self._calls, together=True, deadline_ms=DEADLINES_MS["burst"]),
            full,
            Calls("patient", self.journey, self._patient, together=True, deadline_ms=PATIENT_DEADLINE_MS),
            full,
            Hold(load, (Wait(LOAD_S),)),
            full,
        )
        services = topology.reached_from({self._entry})
        return Scenario(self.name, self.journey, steps, services, environment=self.environment)

    @property
    def _entry(self) -> str:
        return edge_of(self.edge).caller if self.edge else self.service

    @property
    def _calls(self) -> int:
        """Enough that some cannot have a token within their deadline."""
        return max(4 * self.burst, self.burst + int(TOO_MANY * self.rps * DEADLINES_MS["burst"] / 1000) + 1)

    @property
    def _patient(self) -> int:
        """More than the bucket holds, and no more than half of the deadline will serve."""
        return self.burst + max(1, min(2 * self.burst, int(self.rps * PATIENT_DEADLINE_MS / 2000)))

    def examine(self, recording: Recording) -> Verdict:
        """The windows over all calls; then the refusals; then what has to be served."""
        burst, patient = phase(recording, "burst", self._calls), phase(recording, "patient", self._patient)
        load = phase(recording, "load")
        entered_at([*burst, *patient, *load], self._entry)
        excess = self._never_more(recording)
        refused = [call for call in (*burst, *patient, *load) if call.status == self.status]
        self._known_ends([*burst, *patient, *load])
        self._not_too_patient(recording, [*burst, *load])
        if not refused:
            raise NoEvidenceError("no call was refused: nothing asked for more than the limit grants")
        refusals = (*self._at_once(recording, "burst", refused), *self._at_once(recording, "load", refused))
        longest = self._served(recording, patient)
        self._none_missing(recording, patient)
        least = (self._not_stingy("burst", burst), self._not_stingy("load", load))
        return self.kept(
            f"never more than {self.burst} + {self.rps:g}/s: of {len(burst) + len(load)} calls above the limit "
            f"{len(refused)} were refused at once with {self.status}, all {len(patient)} patient ones served",
            Figure("closest window passed", excess.passed, f"calls in {excess.seconds:.2f} s", self._granted(excess)),
            *refusals,
            longest,
            *least,
        )

    def _granted(self, excess: Excess) -> str:
        return f"at most {self.burst + self.rps * excess.seconds:.1f}"

    def _never_more(self, recording: Recording) -> Excess:
        requests = [one for one in recording.history.requests() if one.invoked.action != "arrange"]
        excess = largest_excess(
            (one if one.ok else _longer(one) for one in requests if self._had_token(one)), self.rps, self.burst
        )
        if excess.above > ROUNDING:
            raise BrokenError(
                f"{excess.passed} calls were sent and answered within {excess.seconds:.2f} s, "
                f"promised {self._granted(excess)}",
                [excess.last],
                [Figure("above", excess.above, "calls")],
            )
        return excess

    def _known_ends(self, calls: list[Operation]) -> None:
        ends = (call for call in calls if not self._had_token(call) and call.status != self.status)
        if wrong := next(ends, None):
            raise BrokenError(
                f"a call ended with {told(wrong)} after {wrong.duration_s:.2f} s, "
                f"promised an answer or a refusal with {self.status}",
                [wrong],
            )

    def _at_once(self, recording: Recording, name: str, refused: list[Operation]) -> tuple[Figure, ...]:
        """The refusals of a phase came well before the deadlines of its calls."""
        of_phase = [call for call in refused if call.invoked.action == name]
        within_s = AT_ONCE_SHARE * DEADLINES_MS[name] / 1000
        return at_once(recording, of_phase, within_s, of=f" of the {name}", by=self.service)

    def _had_token(self, call: Operation) -> bool:
        """Whether a call was let through: it was served, or its token left it too little of its deadline for the rest.

        One that ran out of time counts as let through, and its token as granted a little later: so a limit
        that has calls wait for more than their time shows.
        """
        waits_s = WAITED_SHARE * DEADLINES_MS.get(call.invoked.action, math.inf) / 1000
        return call.ok or (call.status == self.timed_out and call.duration_s >= waits_s)

    def _not_too_patient(self, recording: Recording, calls: list[Operation]) -> None:
        """A call whose token comes after its deadline is refused at once: none is served long after it."""
        for name, deadline_ms in DEADLINES_MS.items():
            asked = [call for call in calls if call.invoked.action == name]
            if late := Timing(recording).late(asked, deadline_ms / 1000 + SERVED_MARGIN_S):
                raise BrokenError(
                    f"a call with {deadline_ms / 1000:g} s left ended with {told(late[0])} after "
                    f"{late[0].duration_s:.1f} s, promised to be refused at once where its token comes later",
                    late,
                )

    def _served(self, recording: Recording, patient: list[Operation]) -> Figure:
        """All of them, and the last one when the rate grants it."""
        wait_s = (len(patient) - self.burst) / self.rps
        if lost := [call for call in patient if not call.ok]:
            raise BrokenError(
                f"{len(lost)} of {len(patient)} calls were refused though each would have had its token within "
                f"{wait_s:.1f} s and would wait {PATIENT_DEADLINE_MS / 1000:g} s",
                lost,
            )
        longest = max(patient, key=lambda call: call.duration_s)
        figure = Figure(
            "longest patient call", longest.duration_s, "s", f"at most {wait_s:.1f} + {SERVED_MARGIN_S:g} s"
        )
        if late := Timing(recording).late(patient, wait_s + SERVED_MARGIN_S):
            raise BrokenError(
                f"{len(patient)} calls at once took {longest.duration_s:.1f} s, "
                f"the limit grants them within {wait_s:.1f} s",
                late,
                [figure],
            )
        return figure

    def _none_missing(self, recording: Recording, patient: list[Operation]) -> None:
        """A full bucket holds as many tokens as promised: with one less every call that waits, waits for one more.

        By the median of their waits, and against that of the calls that have no wait: so a busy machine, or a pause of
        it, does not look like a missing token.

        Raises:
            BrokenError: one is missing.
            NoEvidenceError: the waits are too uneven to tell.
        """
        timing = Timing(recording)
        took = sorted(timing.took(call).least_s for call in patient)
        over = [took[number] - (number + 1 - self.burst) / self.rps for number in range(self.burst, len(took))]
        missing = (median(over) - median(took[: max(1, self.burst - 1)])) * self.rps
        if missing > MISSING:
            raise BrokenError(
                f"{len(over)} calls that came to a full bucket at once each waited about {missing / self.rps:.2f} s "
                f"longer than with {self.burst} tokens: {round(missing)} of them missing",
                patient[-1:],
                [Figure("missing", missing, "tokens", "none")],
            )
        if missing > UNSURE:
            raise NoEvidenceError(
                f"calls waited {missing / self.rps:.2f} s longer than granted: the machine is too slow"
            )

    def _not_stingy(self, name: str, calls: list[Operation]) -> Figure:
        """What passes of a phase: after a burst half of what the deadline allows, under load what the rate grants."""
        if name == "burst":
            least = self.burst + int(self.rps * DEADLINES_MS["burst"] / 2000)
        else:
            granted = self.burst + self.rps * seconds(calls[0].sent_ns, calls[-1].sent_ns)
            least = int(LEAST_SHARE * granted)
        passed = [call for call in calls if self._had_token(call)]
        figure = Figure(f"passed of the {name}", len(passed), f"of {len(calls)} calls", f"at least {least:g}")
        if len(passed) < least:
            refused = [call for call in calls if not self._had_token(call)]
            raise BrokenError(
                f"only {len(passed)} of {len(calls)} calls of the {name} passed, the limit grants at least {least:g}",
                refused[:1],
                [figure],
            )
        return figure


def _longer(call: Operation) -> Operation:
    """A call that nobody waited for any more, as if it had been answered when its token surely was granted."""
    if call.completed is None:
        return call
    later = msgspec.structs.replace(call.completed, at_ns=call.completed.at_ns + int(SERVED_MARGIN_S * 1e9))
    return msgspec.structs.replace(call, completed=later)
