"""Events over a broken edge: what was acknowledged is published and handled once, whatever the broker did."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from brownout.faults import Outage
from brownout.history import Operation
from brownout.promises.evidence import edge_of, phase, read, seconds, told, whole_window
from brownout.promises.promise import BrokenError, NoEvidenceError, Positive, Stated, key
from brownout.recording import Recording
from brownout.scenario import Answered, Calls, Hold, Load, Messages, Publish, Scenario, Select, Wait
from brownout.topology import Topology
from brownout.verdict import Figure, Verdict

__all__ = ["Events", "Handled"]

PHASE = "asked"
BEFORE_S = 3.0
AFTER_S = 3.0
LATER = "later"
LATER_CALLS = 3
"""Asked for once everything was told again: a handler that takes events in their order has them last."""

MALFORMED = "{"
"""No event; whoever handles events is to skip it."""

FEWEST_CUT_OFF = 5
"""Requests acknowledged during the outage: fewer show nothing."""


class Handled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where it shows what was handled.

    Attributes:
        service: in whose database.
        sql: a row for each handling; its first column is the name of the thing.
    """

    service: str
    sql: Annotated[str, Meta(min_length=1)]


class Events(Stated, frozen=True, kw_only=True, tag="events"):
    """What a service has acknowledged it tells by an event, which is handled exactly once (clause 3.3).

    The edge may be the publisher's to the broker, or the handler's. The journey has to be requests that each do one
    thing and are told its name. Before the outage a message comes that is no event, and in the end every message comes
    once more: the one is skipped, the others were handled already.

    Attributes:
        edge: what is cut.
        rate: things asked for a second, before, during and after the outage.
        outage_s: how long it is cut.
        topic: of the events, without the cell's prefix.
        key: field of an event that names the thing.
        acknowledged: field of a request's answer that names the thing.
        handled: where it shows what was handled.
        within_s: everything is handled so soon after the heal, or after it was acknowledged if that came later.
        event_id: header of a message that names the event, so that one told twice is known.
    """

    edge: str
    topic: Annotated[str, Meta(min_length=1)]
    key: Annotated[str, Meta(min_length=1)]
    acknowledged: Annotated[str, Meta(min_length=1)]
    handled: Handled
    rate: Positive = 5.0
    outage_s: Positive = 20.0
    within_s: Positive = 15.0
    event_id: Annotated[str, Meta(min_length=1)] = "event-id"

    def scenario(self, topology: Topology) -> Scenario:
        """Load throughout; what was handled when the outage ends, soon after, in the end, and a little later."""
        with key("edge"):
            edge = topology.edge(self.edge)
        with key("handled.service"):
            topology.service(self.handled.service)
        with key("outage_s"):
            if self.outage_s * self.rate < 2 * FEWEST_CUT_OFF:
                raise ValueError(f"too short for {2 * FEWEST_CUT_OFF} requests at {self.rate:g} a second")
        cut = Hold(Outage(edge), (Wait(self.outage_s), self._select("cut off")))
        steps = (
            Hold(
                Load(PHASE, self.journey, self.rate),
                (Wait(BEFORE_S), Publish(self.topic, MALFORMED), cut, self._select("soon", PHASE), Wait(AFTER_S)),
            ),
            self._select("all", PHASE),
            Publish(self.topic),
            Calls(LATER, self.journey, LATER_CALLS),
            self._select("last", LATER),
            Messages("published", self.topic),
        )
        return Scenario(self.name, self.journey, steps, tuple(topology.services), environment=self.environment)

    def _select(self, name: str, phase: str = "") -> Select:
        """Read what was handled; once all that was acknowledged in a phase is, where one is named."""
        until = Answered(phase, self.acknowledged) if phase else None
        return Select(name, self.handled.service, self.handled.sql, until, self.within_s if phase else 0.0)

    def examine(self, recording: Recording) -> Verdict:
        """The requests; then what was handled, when and how often; then what was published."""
        window = whole_window(recording, str(Outage(edge_of(self.edge))))
        asked = phase(recording, PHASE)
        self._all_acknowledged(asked, window.perhaps_ns)
        things = {self._thing(one): one for one in asked if one.ok}
        cut_off = self._cut_off(recording, things, window.surely_ns)
        soon_s = self._handled_in_time(recording, "soon", things, window.perhaps_ns[1])
        self._handled_in_time(recording, "all", things, window.perhaps_ns[1])
        later = {self._thing(one): one for one in phase(recording, LATER, LATER_CALLS) if one.ok}
        handled = self._handled_once(recording, things)
        published = self._published(recording, things)
        self._told_more(recording)
        self._went_on(recording, later)
        return self.kept(
            f"all of {len(things)} acknowledged, {cut_off} of them during the outage of {self.edge}, were published "
            "and handled once",
            Figure("acknowledged", len(things), "things"),
            Figure("published", published, "events"),
            Figure("handled", handled, "of them"),
            Figure("longest delay after the heal", soon_s, "s", f"at most {self.within_s:g} s"),
        )

    def _went_on(self, recording: Recording, later: dict[str, Operation]) -> None:
        """What came after the repetition is handled, too: nobody stopped at an event that was told twice."""
        if not later:
            raise NoEvidenceError("nothing was acknowledged after every message had come once more")
        rows, _ = self._rows(recording, "last")
        missing = [thing for thing in later if thing not in rows]
        self._each(later, missing, "was not handled after every message had come once more")

    def _told_more(self, recording: Recording) -> None:
        """Make sure that a malformed message came, and every message once more."""
        for value, what in ((MALFORMED, "no malformed message was"), ("", "no message was once more")):
            done = recording.history.operations("publish", self.topic)
            if not any(one.ok and one.invoked.detail.get("value") == value for one in done):
                raise NoEvidenceError(f"{what} put on {self.topic}")

    def _all_acknowledged(self, asked: list[Operation], outage_ns: tuple[int, int]) -> None:
        """No request failed from the outage on; only outside of it may one be without an answer."""
        for one in asked:
            if (one.answered_ns or outage_ns[0]) < outage_ns[0] and not one.ok:
                raise NoEvidenceError(f"a request ended with {told(one)} before the outage")
            if one.ok or (one.sent_ns > outage_ns[1] and one.status is None):
                continue
            raise BrokenError(
                f"a request ended with {told(one)} {seconds(outage_ns[0], one.sent_ns):.1f} s after the outage of "
                f"{self.edge} began, promised to be acknowledged whatever becomes of its event",
                [one],
            )

    def _thing(self, one: Operation) -> str:
        body = one.completed.detail.get("body") if one.completed else None
        if not isinstance(body, dict) or self.acknowledged not in body:
            raise NoEvidenceError(f"an answer has no field {self.acknowledged!r}: nobody knows what was acknowledged")
        return str(body[self.acknowledged])

    def _cut_off(self, recording: Recording, things: dict[str, Operation], surely_ns: tuple[int, int]) -> int:
        """How many were asked for while the edge was surely cut; if one was handled by then, it was not in the way.

        Raises:
            NoEvidenceError: too few, or one that was.
        """
        rows, _ = self._rows(recording, "cut off")
        cut_off = {thing for thing, one in things.items() if surely_ns[0] <= one.sent_ns <= surely_ns[1]}
        if through := cut_off & set(rows):
            raise NoEvidenceError(
                f"{len(through)} of {len(cut_off)} acknowledged during the outage of {self.edge} were handled during "
                "it: their events go another way"
            )
        if len(cut_off) < FEWEST_CUT_OFF:
            raise NoEvidenceError(f"only {len(cut_off)} were acknowledged during the outage")
        return len(cut_off)

    def _rows(self, recording: Recording, name: str) -> tuple[list[str], Operation]:
        """What had been handled, a name a handling, and the reading that says so."""
        reading, rows = read(recording, "select", name)
        return [str(next(iter(row.values()), "")) for row in rows], reading

    def _handled_in_time(self, recording: Recording, name: str, things: dict[str, Operation], healed_ns: int) -> float:
        """Everything that was acknowledged before a reading is in it; returns how long after the heal it was made."""
        rows, reading = self._rows(recording, name)
        due = {thing: one for thing, one in things.items() if (one.answered_ns or 0) < reading.sent_ns}
        missing = [one for thing, one in due.items() if thing not in set(rows)]
        end_ns = reading.answered_ns or reading.sent_ns
        after_s = seconds(healed_ns, end_ns)
        since_ns = max([healed_ns, *((one.answered_ns or 0) for one in due.values())])
        if missing and seconds(since_ns, end_ns) < self.within_s:
            raise NoEvidenceError(
                f"{len(missing)} were not handled {after_s:.1f} s after the heal; nobody looked again"
            )
        if missing:
            raise BrokenError(
                f"{len(missing)} of {len(due)} acknowledged were not handled {after_s:.1f} s after the heal, "
                f"promised within {self.within_s:g} s; the first is {self._thing(missing[0])}",
                missing,
            )
        return after_s

    def _handled_once(self, recording: Recording, things: dict[str, Operation]) -> int:
        """In the end: none lost again, none twice, none that was never asked for."""
        rows, reading = self._rows(recording, "last")
        times = Counter(rows)
        if wrong := [thing for thing in things if times[thing] != 1]:
            raise BrokenError(
                f"{wrong[0]} was handled {times[wrong[0]]} times, promised once; so were {len(wrong) - 1} others",
                [things[thing] for thing in wrong],
            )
        requests = recording.history.requests()
        known = {self._thing(one) for one in requests if one.ok and self._names_a_thing(one)}
        unknown = [one for one in requests if one.status is None]
        strange = [thing for thing in times if thing not in known]
        if len(strange) > len(unknown):
            raise BrokenError(
                f"{strange[0]} was handled, and never acknowledged; of {len(strange)} such at most {len(unknown)} can "
                "be of requests without an answer",
                [reading],
            )
        return sum(times[thing] for thing in things)

    def _names_a_thing(self, one: Operation) -> bool:
        body = one.completed.detail.get("body") if one.completed else None
        return isinstance(body, dict) and self.acknowledged in body

    def _published(self, recording: Recording, things: dict[str, Operation]) -> int:
        """Each is on the topic, however often, under one event's id; returns how many these are."""
        _, messages = read(recording, "messages", "published")
        events: dict[str, list[Any]] = {}
        for message in messages:
            value, headers = message.get("value"), message.get("headers") or {}
            if isinstance(value, dict) and self.key in value:
                events.setdefault(str(value[self.key]), []).append(headers.get(self.event_id))
        self._each(things, [thing for thing in things if thing not in events], f"is not on the topic {self.topic}")
        unnamed = [thing for thing in things if None in events[thing]]
        self._each(things, unnamed, f"is in a message without the header {self.event_id}")
        several = [thing for thing in things if len(set(events[thing])) > 1]
        self._each(things, several, "is in several events, promised one that may be told again")
        return sum(len(set(events[thing])) for thing in things)

    def _each(self, things: dict[str, Operation], wrong: Sequence[str], how: str) -> None:
        if wrong:
            raise BrokenError(
                f"{wrong[0]} was acknowledged and {how}; {len(wrong)} of {len(things)} are so",
                [things[thing] for thing in wrong],
            )
