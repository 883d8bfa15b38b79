"""Deliveries in a real Postgres: whatever two dispatchers do, and whenever one dies."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import text

from brownout_shop.database import Database
from brownout_shop.notifications.domain import (
    ATTEMPTS,
    ChannelName,
    Delivery,
    Notification,
    Preferences,
    State,
    UndeliverableError,
    outcome,
)
from brownout_shop.notifications.store import HELD_S, METADATA, NotificationStore

FAR_S = 3600.0
"""When a delivery is tried again: no example lasts as long, so what is due does not hang on a slow machine."""

PHONE, DEVICE = "+4915112345678", "token-1"
EMAIL = ChannelName.EMAIL


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, METADATA)
    await database.prepare()
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> NotificationStore:
    return NotificationStore(database)


def hello(number: int = 1, event_id: str | None = None) -> Notification:
    return Notification(f"n{number}", "ann", "ann@example.org", "hello", event_id)


async def ways(store: NotificationStore) -> dict[str, str]:
    return {report.channel.value: report.address for report in await store.deliveries("n1")}


async def test_without_preferences_a_user_is_told_by_email(store: NotificationStore) -> None:
    assert await store.preferences("ann") == Preferences()
    await store.add(hello())
    assert await ways(store) == {"email": "ann@example.org"}


@pytest.mark.parametrize(
    ("preferences", "expected"),
    [
        (
            Preferences(email=True, phone=PHONE, device=DEVICE),
            {"email": "ann@example.org", "sms": PHONE, "push": DEVICE},
        ),
        (Preferences(email=False, device=DEVICE), {"push": DEVICE}),
        (Preferences(email=False), {}),
    ],
)
async def test_a_user_is_told_on_the_ways_that_it_prefers(
    store: NotificationStore, preferences: Preferences, expected: dict[str, str]
) -> None:
    await store.prefer("ann", Preferences(phone="+15"))
    await store.prefer("ann", preferences)
    assert await store.preferences("ann") == preferences
    assert await store.add(hello())
    assert await ways(store) == expected


async def test_an_event_told_twice_makes_one_notification_and_one_delivery(store: NotificationStore) -> None:
    assert [await store.add(hello(number, "e1")) for number in (1, 2)] == [True, False]
    assert len(await store.of_user("ann")) == 1
    assert len(await store.take(EMAIL)) == 1


async def test_two_dispatchers_share_what_waits(store: NotificationStore) -> None:
    for number in range(25):
        await store.add(hello(number))
    taken = await asyncio.gather(*(store.take(EMAIL) for _ in range(4)))
    ids = [delivery.notification_id for some in taken for delivery in some]
    assert sorted(ids) == sorted(f"n{number}" for number in range(25))
    assert max(map(len, taken)) == 10


async def test_what_was_taken_is_nobody_elses_for_as_long_as_an_attempt_may_take(
    database: Database, store: NotificationStore
) -> None:
    await store.add(hello())
    assert len(await store.take(EMAIL)) == 1
    later = text("UPDATE deliveries SET due_at = due_at - make_interval(secs => :s)")
    await database.execute(later.bindparams(s=HELD_S - 5))
    assert await store.take(EMAIL) == []
    await database.execute(later.bindparams(s=5.0))
    assert len(await store.take(EMAIL)) == 1


async def test_a_delivery_belongs_to_the_trace_in_which_it_was_asked_for(store: NotificationStore) -> None:
    with TracerProvider().get_tracer("test").start_as_current_span("order.created process") as span:
        await store.add(hello())
    (delivery,) = await store.take(EMAIL)
    assert delivery.traceparent.split("-")[1] == f"{span.get_span_context().trace_id:032x}"


async def test_one_who_comes_late_with_a_failure_changes_nothing(database: Database, store: NotificationStore) -> None:
    await store.add(hello())
    (early,) = await store.take(EMAIL)
    await database.execute(text("UPDATE deliveries SET due_at = now()"))
    (late,) = await store.take(EMAIL)
    await store.note(early, outcome(ATTEMPTS, OSError("gone"), 0))
    (report,) = await store.deliveries("n1")
    assert (report.state, report.attempts, report.last_error) == (State.WAITING, 2, "")
    await store.note(early, outcome(1, None, 0))
    await store.note(late, outcome(ATTEMPTS, OSError("gone"), 0))
    assert [report.state for report in await store.deliveries("n1")] == [State.SENT]


class Life(RuleBasedStateMachine):
    """One e-mail and two dispatchers, who may die at any time."""

    def __init__(self, database_url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.database = Database(database_url, METADATA)
        self.store = NotificationStore(self.database)
        self.held: list[Delivery | None] = [None, None]
        self.attempts = 0
        self.state = State.WAITING
        self.error = ""
        self.due = True
        self.run(self.database.prepare())
        self.run(self.database.execute(text("TRUNCATE notifications, deliveries")))
        self.run(self.store.add(hello()))

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    @rule(who=st.integers(0, 1))
    def take(self, who: int) -> None:
        taken = self.run(self.store.take(EMAIL))
        assert bool(taken) == (self.due and self.state is State.WAITING)
        if taken:
            self.attempts, self.due = self.attempts + 1, False
            (self.held[who],) = taken

    @rule(who=st.integers(0, 1), error=st.sampled_from([None, OSError("gone"), UndeliverableError("unknown")]))
    def note(self, who: int, error: Exception | None) -> None:
        delivery, self.held[who] = self.held[who], None
        if delivery is None:
            return
        result = replace(outcome(delivery.attempts, error, 0), again_in_s=FAR_S)
        self.run(self.store.note(delivery, result))
        if result.state is State.SENT:
            self.state = State.SENT
        elif self.state is State.WAITING and delivery.attempts == self.attempts:
            self.state, self.error, self.due = result.state, result.error, False

    @rule(who=st.integers(0, 1))
    def die(self, who: int) -> None:
        self.held[who] = None

    @precondition(lambda self: not self.due)
    @rule()
    def wait(self) -> None:
        self.run(self.database.execute(text("UPDATE deliveries SET due_at = now()")))
        self.due = True

    @precondition(lambda self: self.attempts)
    @rule()
    def try_often(self) -> None:
        self.attempts += ATTEMPTS
        self.run(self.database.execute(text("UPDATE deliveries SET attempts = :n").bindparams(n=self.attempts)))

    @invariant()
    def is_as_expected(self) -> None:
        (report,) = self.run(self.store.deliveries("n1"))
        assert (report.state, report.attempts, report.last_error) == (self.state, self.attempts, self.error)

    def teardown(self) -> None:
        self.run(self.database.close())
        self.runner.close()


def test_a_delivery_is_never_lost_and_never_sent_again_once_that_is_known(database_url: str) -> None:
    few = settings(max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(lambda: Life(database_url), settings=few)
