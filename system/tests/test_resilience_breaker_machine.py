"""The breaker in any order of calls, results and pauses, against the rules over what it has seen: clause 6.2."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from brownout_shop.resilience.breaker import (
    Admission,
    CircuitBreaker,
    Counts,
    OpenError,
    State,
    TooManyRequestsError,
)

SECOND_NS = 10**9
INTERVAL_NS, OPEN_NS = 10 * SECOND_NS, 60 * SECOND_NS
TRIALS = 3
PAUSES_NS = st.sampled_from(
    [1, SECOND_NS, INTERVAL_NS // 2, INTERVAL_NS, OPEN_NS // 2, OPEN_NS - 1, OPEN_NS, OPEN_NS + 1]
)


@dataclass(eq=False)
class Period:
    """A closed window, an open time or a half-open trial: when it began, how many calls it had, how they ended."""

    state: State
    began_ns: int
    calls: int = 0
    results: list[bool] = field(default_factory=list)

    def after(self, now_ns: int) -> "Period":
        """Return the period that a moment falls into, as far as time alone decides."""
        lasted_ns = now_ns - self.began_ns
        if self.state is State.OPEN and lasted_ns > OPEN_NS:
            return Period(State.HALF_OPEN, now_ns)
        if self.state is State.CLOSED and lasted_ns > INTERVAL_NS:
            return Period(State.CLOSED, now_ns)
        return self

    def refusal(self) -> type[Exception] | None:
        """Return how another call is refused, if it is."""
        if self.state is State.OPEN:
            return OpenError
        return TooManyRequestsError if self.state is State.HALF_OPEN and self.calls == TRIALS else None

    def judged(self, now_ns: int) -> "Period":
        """Return the period that the last result leads to."""
        failures = self.results.count(False)
        if self.state is State.HALF_OPEN and failures:
            return Period(State.OPEN, now_ns)
        if self.state is State.HALF_OPEN and len(self.results) == TRIALS:
            return Period(State.CLOSED, now_ns)
        if self.state is State.CLOSED and not self.results[-1] and self.calls >= 3 and 5 * failures >= 3 * self.calls:
            return Period(State.OPEN, now_ns)
        return self

    @property
    def counts(self) -> Counts:
        """The counts of this period; an open one has none."""
        in_a_row = 0
        for result in reversed(self.results):
            if result is not self.results[-1]:
                break
            in_a_row += 1
        good = bool(self.results and self.results[-1])
        return Counts(
            self.calls,
            self.results.count(True),
            self.results.count(False),
            in_a_row if good else 0,
            0 if good else in_a_row,
        )


class Breaker(RuleBasedStateMachine):
    """Calls begin, end well or badly, or late, while time passes or stands still."""

    under_way = Bundle("under_way")

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self.changes: list[tuple[State, State]] = []
        self.expected: list[tuple[State, State]] = []
        self.breaker = CircuitBreaker(
            "users",
            on_state_change=lambda _, before, after: self.changes.append((before, after)),
            clock=lambda: self.now_ns,
        )
        self.period = Period(State.CLOSED, 0)

    def enter(self, period: Period) -> None:
        if period.state is not self.period.state:
            self.expected.append((self.period.state, period.state))
        self.period = period

    @rule(pause_ns=PAUSES_NS)
    def wait(self, pause_ns: int) -> None:
        self.now_ns += pause_ns

    @rule(target=under_way)
    def begin(self) -> object:
        self.enter(self.period.after(self.now_ns))
        if refusal := self.period.refusal():
            with pytest.raises(refusal):
                self.breaker.allow()
            return multiple()
        self.period.calls += 1
        return self.breaker.allow(), self.period

    @rule(call=consumes(under_way), success=st.booleans())
    def end(self, call: tuple[Admission, Period], success: bool) -> None:  # noqa: FBT001 - Hypothesis passes it
        self.judge(*call, success=success)

    @rule(results=st.lists(st.booleans(), min_size=2, max_size=6))
    def call(self, results: list[bool]) -> None:
        """One after the other, as long as they are admitted."""
        self.enter(self.period.after(self.now_ns))
        for success in results:
            if self.period.refusal() is None:
                self.period.calls += 1
                self.judge(self.breaker.allow(), self.period, success=success)

    def judge(self, admission: Admission, of: Period, *, success: bool) -> None:
        admission(success)
        self.enter(self.period.after(self.now_ns))
        if of is self.period:  # otherwise it has outlived its period
            self.period.results.append(success)
            self.enter(self.period.judged(self.now_ns))

    @rule()
    def look(self) -> None:
        self.enter(self.period.after(self.now_ns))
        assert self.breaker.state() is self.period.state

    @invariant()
    def counts_and_changes_are_those_of_the_rules(self) -> None:
        assert self.breaker.counts == self.period.counts
        assert self.changes == self.expected

    @invariant()
    def a_trial_has_three_calls_at_most(self) -> None:
        assert self.breaker._state is not State.HALF_OPEN or self.breaker.counts.requests <= TRIALS


Breaker.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestBreaker = Breaker.TestCase
