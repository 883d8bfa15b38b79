"""The rules of notifications: pure, without the network, a database or a clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["InvalidNotificationError", "Notification", "OrderCreated", "checked_text", "order_created"]

TEXT_LENGTH = 1000


class InvalidNotificationError(ValueError):
    """What shall be told breaks a rule, which the message names."""


@dataclass(frozen=True, slots=True)
class Notification:
    """What a user is told.

    Args:
        id: its own id.
        user_id: who is told.
        email: where.
        text: what.
        event_id: the event it is about, of which there is one notification; None for one that was asked for.
    """

    id: str
    user_id: str
    email: str
    text: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class OrderCreated:
    """What notifications read from an event ``order.created``."""

    order_id: str
    user_id: str

    @property
    def text(self) -> str:
        """What the buyer is told."""
        return f"We have received your order {self.order_id}."


def order_created(payload: Mapping[str, Any]) -> OrderCreated:
    """Return what an event tells (clause 3.3).

    Raises:
        InvalidNotificationError: it tells no order or no user.
    """
    for key in ("order_id", "user_id"):
        if not isinstance(payload.get(key), str) or not payload[key]:
            raise InvalidNotificationError(f"{key}: a text that is not empty")
    return OrderCreated(payload["order_id"], payload["user_id"])


def checked_text(text: str) -> str:
    """Return the text without the space around it.

    Raises:
        InvalidNotificationError: it is empty or too long.
    """
    text = text.strip()
    if not 0 < len(text) <= TEXT_LENGTH:
        raise InvalidNotificationError(f"text: 1 to {TEXT_LENGTH} characters")
    return text
