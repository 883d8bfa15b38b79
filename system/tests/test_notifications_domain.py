"""The rules of notifications: clauses 2.5 and 3.3."""

from typing import Any

import pytest

from brownout_shop.notifications.domain import InvalidNotificationError, checked_text, order_created


def test_an_order_is_read_from_its_event() -> None:
    order = order_created({"order_id": "o1", "user_id": "u1", "amount": 1990, "timestamp": "2026-01-01T00:00:00Z"})
    assert (order.order_id, order.user_id) == ("o1", "u1")
    assert "o1" in order.text


@pytest.mark.parametrize(
    "payload", [{}, {"order_id": "o1"}, {"order_id": 1, "user_id": "u1"}, {"order_id": "", "user_id": "u1"}]
)
def test_an_event_without_order_or_user_is_invalid(payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidNotificationError, match="a text that is not empty"):
        order_created(payload)


def test_space_around_a_text_is_dropped() -> None:
    assert checked_text(" hello\n") == "hello"


@pytest.mark.parametrize("text", ["", "  ", "x" * 1001])
def test_a_text_is_neither_empty_nor_endless(text: str) -> None:
    with pytest.raises(InvalidNotificationError, match="1 to 1000"):
        checked_text(text)
