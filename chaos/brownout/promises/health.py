"""What a service says of itself: the promised answer in each condition, in time, and healthy again afterwards."""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from brownout.cell import Fault
from brownout.faults import BlackHole, Killed, Outage
from brownout.history import Operation, Outcome
from brownout.promises.evidence import edge_of, seconds
from brownout.promises.promise import BrokenError, NoEvidenceError, Positive, Stated, Status, key
from brownout.promises.timing import Timing
from brownout.recording import Recording
from brownout.scenario import Hold, Scenario, Seen, Step, Wait, Watch, contains
from brownout.topology import Topology
from brownout.verdict import Figure, Verdict
from brownout.windows import Window, windows

__all__ = ["Condition", "Health", "Said"]

WATCH = "health"
EVERY_S = 0.5
STAYS_S = 3.0
"""How long a healthy answer is watched after it has come: it has to stay."""

MARGIN_S = 2.0
FEWEST_ANSWERS = 3
"""To judge a state by; a condition is held long enough for one more even if each takes all the time it may."""


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An answer: its status, and what its body has to contain."""

    status: Status
    body: dict[str, Any] = {}

    def matches(self, answer: Operation) -> bool:
        """Whether it is this answer."""
        body = answer.completed.detail.get("body") if answer.completed else None
        return answer.status == self.status and contains(body, self.body)

    def __str__(self) -> str:
        return f"{self.status} {msgspec.json.encode(self.body).decode()}" if self.body else str(self.status)


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is broken, all of it at the same time, and what the service has to say then.

    Attributes:
        name: what a reader calls it.
        refused: edges that refuse connections.
        silent: edges that are black holes.
        lost: services of which every instance is killed.
        status: of the promised answer.
        body: what the promised answer contains.
        within_s: how soon after the last fault is in force.
    """

    name: Annotated[str, Meta(min_length=1)]
    status: Status
    within_s: Positive
    body: dict[str, Any] = {}
    refused: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def said(self) -> Said:
        """The promised answer."""
        return Said(self.status, self.body)

    def faults(self) -> tuple[Fault, ...]:
        """What has to be held: services are killed first, for that takes longest to show."""
        return (
            *(Killed(service) for service in self.lost),
            *(Outage(edge_of(edge)) for edge in self.refused),
            *(BlackHole(edge_of(edge)) for edge in self.silent),
        )


class Health(Stated, frozen=True, kw_only=True, tag="health"):
    """A service tells what it lacks, and soon that it lacks nothing any more (clause 6.5).

    Attributes:
        service: who is asked, at its health path.
        healthy: what it says when nothing is broken.
        conditions: what is broken, one after another.
        answers_within_s: each answer, whatever is broken.
        recovers_within_s: healthy again, counted from the lift of the last fault.
    """

    service: str
    healthy: Said
    conditions: Annotated[tuple[Condition, ...], Meta(min_length=1)]
    answers_within_s: Positive = 3.0
    recovers_within_s: Positive = 13.0

    def scenario(self, topology: Topology) -> Scenario:
        """One condition after another, each held until its answer has come and stayed, under a watch of all."""
        with key("service"):
            service = topology.service(self.service)
        for index, condition in enumerate(self.conditions):
            _check(condition, topology, f"conditions[{index}]")
        path = topology.services[service].health
        watch = Watch(WATCH, service, path, EVERY_S, timeout_s=self.answers_within_s + MARGIN_S)
        steps = [step for condition in self.conditions for step in self._steps(condition)]
        return Scenario(
            self.name,
            self.journey,
            (Hold(watch, (Wait(STAYS_S), *steps)),),
            topology.reached_from({service}),
            environment=self.environment,
        )

    def _steps(self, condition: Condition) -> tuple[Step, ...]:
        stays_s = max(STAYS_S, FEWEST_ANSWERS * self.answers_within_s + EVERY_S)
        held: tuple[Step, ...] = (Wait(condition.within_s, until=_seen(condition.said)), Wait(stays_s))
        for fault in reversed(condition.faults()):
            held = (Hold(fault, held),)
        healed = Wait(self.recovers_within_s + MARGIN_S, until=_seen(self.healthy))
        return (*held, healed, Wait(STAYS_S))

    def examine(self, recording: Recording) -> Verdict:
        """Before the first condition, then in each and after each."""
        answers = [one for one in recording.history.operations("watch", WATCH) if one.completed is not None]
        if not answers:
            raise NoEvidenceError(f"{self.service} was never asked how it is")
        slowest = self._in_time(recording, answers)
        held = list(self._held(recording))
        begins = [min(window.perhaps_ns[0] for window in together) for together in held]
        before = [answer for answer in answers if (answer.answered_ns or 0) < begins[0]]
        self._settled(before, self.healthy, answers[0].sent_ns, 0.0, "before the first condition")
        figures = [slowest]
        for condition, together, next_ns in zip(
            self.conditions, held, [*begins[1:], answers[-1].answered_ns or 0], strict=True
        ):
            figures += self._one(answers, condition, together, next_ns)
        count = len(self.conditions)
        return self.kept(f"the promised answer in {count} of {count} conditions, healthy again after each", *figures)

    def _in_time(self, recording: Recording, answers: list[Operation]) -> Figure:
        slowest = max(answers, key=lambda answer: answer.duration_s)
        figure = Figure("slowest answer", slowest.duration_s, "s", f"at most {self.answers_within_s:g} s")
        if late := Timing(recording).late(answers, self.answers_within_s):
            raise BrokenError(
                f"{self.service} took {late[0].duration_s:.1f} s to say how it is, "
                f"promised {self.answers_within_s:g} s whatever is broken",
                late,
                [figure],
            )
        return figure

    def _held(self, recording: Recording) -> Iterator[list[Window]]:
        """The windows of each condition's faults; the same fault may be held in several conditions."""
        waiting = windows(recording.history)
        for condition in self.conditions:
            together = []
            for fault in condition.faults():
                window = next((one for one in waiting if one.fault == str(fault) and one.whole), None)
                if window is None:
                    raise NoEvidenceError(f"{condition.name}: {fault} was never in force and lifted again")
                waiting.remove(window)
                together.append(window)
            yield together

    def _one(
        self, answers: list[Operation], condition: Condition, together: list[Window], next_ns: int
    ) -> tuple[Figure, Figure]:
        """One condition: while all its faults are surely on, and from when all are surely off to the next one."""
        on_ns = max(window.surely_ns[0] for window in together)
        lift_ns = min(window.surely_ns[1] for window in together)
        off_ns = max(window.perhaps_ns[1] for window in together)
        during = [one for one in answers if one.sent_ns >= on_ns and (one.answered_ns or 0) <= lift_ns]
        after = [one for one in answers if one.sent_ns >= off_ns and (one.answered_ns or 0) <= next_ns]
        shown_s = self._settled(during, condition.said, on_ns, condition.within_s, condition.name)
        again_s = self._settled(after, self.healthy, off_ns, self.recovers_within_s, f"after {condition.name}")
        return (
            Figure(f"{condition.name} told from", shown_s, "s", f"at most {condition.within_s:g} s"),
            Figure("healthy again from", again_s, "s", f"at most {self.recovers_within_s:g} s"),
        )

    def _settled(self, answers: list[Operation], said: Said, from_ns: int, within_s: float, when: str) -> float:
        """When the first question was asked that had a state's answer; it has to be in time and to stay.

        Raises:
            BrokenError: a question asked later than that, or after the answer had come, was answered otherwise.
            NoEvidenceError: too few answers to tell.
        """
        first = next((answer for answer in answers if said.matches(answer)), None)
        due_ns = from_ns + int(within_s * 1e9)
        binding_ns = min(due_ns, first.sent_ns) if first else due_ns
        bound = [answer for answer in answers if answer.sent_ns >= binding_ns]
        if wrong := next((answer for answer in bound if not said.matches(answer)), None):
            raise BrokenError(
                f"{when}: {self.service} said {_told(wrong)} {seconds(from_ns, wrong.sent_ns):.1f} s after it began, "
                f"promised {said} within {within_s:g} s and from then on",
                [wrong],
            )
        if first is None or len(bound) < FEWEST_ANSWERS:
            raise NoEvidenceError(f"{when}: only {len(bound)} answers to judge by")
        return seconds(from_ns, first.sent_ns)


def _check(condition: Condition, topology: Topology, where: str) -> None:
    for field, names in (("refused", condition.refused), ("silent", condition.silent)):
        with key(f"{where}.{field}"):
            for name in names:
                topology.edge(name)
    with key(f"{where}.lost"):
        for name in condition.lost:
            topology.service(name)
    with key(where):
        if not condition.faults():
            raise ValueError("nothing is broken; give refused or silent edges, or lost services")


def _seen(said: Said) -> Seen:
    outcome = Outcome.OK if 200 <= said.status < 300 else Outcome.FAILED  # noqa: PLR2004 - HTTP's own numbers
    return Seen("watch", WATCH, outcome, {"status": said.status, "body": said.body})


def _told(answer: Operation) -> str:
    detail = answer.completed.detail if answer.completed else {}
    return f"{detail['status']} {detail.get('body')}" if detail.get("status") else str(detail.get("error"))
