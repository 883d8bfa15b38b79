"""The rules of notifications: pure, without the network, a database or a clock."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = [
    "ATTEMPTS",
    "ChannelName",
    "Delivery",
    "DeliveryReport",
    "InvalidNotificationError",
    "Notification",
    "OrderEvent",
    "Outcome",
    "Preferences",
    "State",
    "UndeliverableError",
    "checked_preferences",
    "checked_text",
    "order_event",
    "outcome",
]

TEXT_LENGTH = 1000
ID = re.compile(r"[!-~]{1,100}")
PHONE = re.compile(r"\+[1-9][0-9]{1,14}")  # E.164
DEVICE = re.compile(r"[!-~]{1,1000}")
ATTEMPTS = 20
"""With their pauses they take some two and a half hours."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 900.0
ERROR_LENGTH = 200
TEXTS = {
    "order.created": "We have received your order {}.",
    "order.cancelled": "Your order {} is cancelled.",
}
"""What the buyer is told of each event."""


class InvalidNotificationError(ValueError):
    """What shall be told, or how, breaks a rule, which the message names."""


class UndeliverableError(Exception):
    """Whoever should deliver it has refused it for good; trying again would not help."""


class ChannelName(StrEnum):
    """The ways on which users are told."""

    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"


class State(StrEnum):
    """Where a delivery stands."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Notification:
    """What a user is told.

    Args:
        id: its own id.
        user_id: who is told.
        email: the user's address.
        text: what.
        event_id: the event it is about, of which there is one notification; None for one that was asked for.
    """

    id: str
    user_id: str
    email: str
    text: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Preferences:
    """How a user wants to be told.

    Args:
        email: whether by e-mail, at the address that users knows.
        phone: the number for SMS, as E.164 has it; None: none.
        device: the device's token for push messages; None: none.
    """

    email: bool = True
    phone: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notification on its way through one channel.

    Args:
        notification_id: what the receiver knows it again by.
        channel: which way.
        address: where: an e-mail address, a phone number, a device's token.
        text: what.
        attempts: how many there were, this one included.
        traceparent: the trace in which it was asked for.
    """

    notification_id: str
    channel: ChannelName
    address: str
    text: str
    attempts: int
    traceparent: str


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What became of a delivery so far."""

    channel: ChannelName
    address: str
    state: State
    attempts: int
    last_error: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    Args:
        state: where the delivery stands now.
        error: what went wrong.
        again_in_s: when it is tried again, if it waits.
    """

    state: State
    error: str = ""
    again_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """What notifications read from an event about an order."""

    order_id: str
    user_id: str
    text: str


def outcome(attempts: int, error: Exception | None, jitter: float) -> Outcome:
    """Return how an attempt ended: the pauses double from 1 s to 15 min, so that a lost server is not stormed.

    Args:
        attempts: how many there were.
        error: what was raised.
        jitter: from 0 to 1; it takes up to half of the pause away, so that what failed together does not come together.
    """
    if error is None:
        return Outcome(State.SENT)
    reason = (str(error) or type(error).__name__)[:ERROR_LENGTH]
    if isinstance(error, UndeliverableError) or attempts >= ATTEMPTS:
        return Outcome(State.FAILED, reason)
    pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempts - 1))
    return Outcome(State.WAITING, reason, pause_s * (1 - jitter / 2))


def order_event(name: str, payload: Mapping[str, Any]) -> OrderEvent:
    """Return what an event tells (clause 3.3).

    Args:
        name: the kind of event.
        payload: what it brings.

    Raises:
        InvalidNotificationError: nobody is told of this kind, or it tells no order or no user.
    """
    if name not in TEXTS:
        raise InvalidNotificationError(f"{name}: nobody is told of it")
    for key in ("order_id", "user_id"):  # what nobody can ask for would come again for ever
        if not isinstance(payload.get(key), str) or not ID.fullmatch(payload[key]):
            raise InvalidNotificationError(f"{key}: 1 to 100 letters, digits and signs")
    return OrderEvent(payload["order_id"], payload["user_id"], TEXTS[name].format(payload["order_id"]))


def checked_text(text: str) -> str:
    """Return the text without the space around it.

    Raises:
        InvalidNotificationError: it is empty, too long, or nothing that can be kept.
    """
    text = text.strip()
    if not 0 < len(text) <= TEXT_LENGTH or "\0" in text:
        raise InvalidNotificationError(f"text: 1 to {TEXT_LENGTH} characters")
    return text


def checked_preferences(preferences: Preferences) -> Preferences:
    """Return the preferences.

    Raises:
        InvalidNotificationError: an address has not the form of one.
    """
    if preferences.phone is not None and not PHONE.fullmatch(preferences.phone):
        raise InvalidNotificationError("phone: + and 2 to 15 digits, the country's code first")
    if preferences.device is not None and not DEVICE.fullmatch(preferences.device):
        raise InvalidNotificationError("device: 1 to 1000 letters, digits and signs")
    return preferences
