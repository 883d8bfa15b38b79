"""The rules of notifications: clauses 2.5 and 3.3."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout_shop.notifications.domain import (
    ATTEMPTS,
    InvalidNotificationError,
    Outcome,
    Preferences,
    State,
    UndeliverableError,
    checked_preferences,
    checked_text,
    order_event,
    outcome,
)

JITTER = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(("name", "told"), [("order.created", "received"), ("order.cancelled", "cancelled")])
def test_an_order_is_read_from_its_event(name: str, told: str) -> None:
    order = order_event(name, {"order_id": "o1", "user_id": "u1", "amount": 1990, "timestamp": "2026-01-01T00:00:00Z"})
    assert (order.order_id, order.user_id) == ("o1", "u1")
    assert "o1" in order.text
    assert told in order.text


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"order_id": "o1"},
        {"order_id": 1, "user_id": "u1"},
        {"order_id": "", "user_id": "u1"},
        {"order_id": "o1", "user_id": "\0"},
        {"order_id": "o1", "user_id": "\ud800"},
        {"order_id": "o" * 101, "user_id": "u1"},
    ],
)
def test_an_event_without_order_or_user_is_invalid(payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidNotificationError, match="1 to 100 letters"):
        order_event("order.created", payload)


def test_an_event_of_another_kind_is_invalid() -> None:
    with pytest.raises(InvalidNotificationError, match="nobody is told"):
        order_event("order.eaten", {"order_id": "o1", "user_id": "u1"})


def test_space_around_a_text_is_dropped() -> None:
    assert checked_text(" hello\n") == "hello"


@pytest.mark.parametrize("text", ["", "  ", "x" * 1001, "a\0b"])
def test_a_text_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(InvalidNotificationError, match="1 to 1000"):
        checked_text(text)


@pytest.mark.parametrize("phone", ["+15", "+4915112345678", None])
def test_a_phone_number_with_its_country_is_taken(phone: str | None) -> None:
    assert checked_preferences(Preferences(phone=phone)).phone == phone


@pytest.mark.parametrize("phone", ["", "0151", "+0151", "+49 151", "+1234567890123456", "+1\uff15", "+15\n"])
def test_any_other_phone_number_is_refused(phone: str) -> None:
    with pytest.raises(InvalidNotificationError, match="phone"):
        checked_preferences(Preferences(phone=phone))


@pytest.mark.parametrize("device", ["", "a b", "x" * 1001, "\0"])
def test_a_device_out_of_bounds_is_refused(device: str) -> None:
    with pytest.raises(InvalidNotificationError, match="device"):
        checked_preferences(Preferences(device=device))


@given(attempts=st.integers(1, ATTEMPTS), jitter=JITTER)
def test_what_was_sent_is_done_with(attempts: int, jitter: float) -> None:
    assert outcome(attempts, None, jitter) == Outcome(State.SENT)


@given(attempts=st.integers(1, ATTEMPTS - 1), jitter=JITTER)
def test_what_failed_waits_twice_as_long_each_time_up_to_a_quarter_of_an_hour(attempts: int, jitter: float) -> None:
    result = outcome(attempts, OSError("gone"), jitter)
    whole_s = min(900, 2 ** (attempts - 1))
    assert (result.state, result.error) == (State.WAITING, "gone")
    assert whole_s / 2 <= result.again_in_s <= whole_s


@given(attempts=st.integers(ATTEMPTS, ATTEMPTS + 5), jitter=JITTER)
def test_the_last_attempt_in_vain_is_the_end(attempts: int, jitter: float) -> None:
    assert outcome(attempts, TimeoutError(), jitter) == Outcome(State.FAILED, "TimeoutError")


@given(attempts=st.integers(1, ATTEMPTS), jitter=JITTER)
def test_what_was_refused_for_good_is_not_tried_again(attempts: int, jitter: float) -> None:
    assert outcome(attempts, UndeliverableError("no such user"), jitter) == Outcome(State.FAILED, "no such user")


def test_all_attempts_take_some_hours() -> None:
    pauses_s = [outcome(attempts, OSError("gone"), 0.5).again_in_s for attempts in range(1, ATTEMPTS)]
    assert 1.5 * 3600 < sum(pauses_s) < 3 * 3600


def test_a_long_error_is_kept_in_part() -> None:
    assert len(outcome(1, OSError("x" * 1000), 0).error) == 200
