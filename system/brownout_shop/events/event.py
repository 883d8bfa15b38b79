"""An event: what happened, as one service tells it to others (clause 3.3)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["EVENT_ID", "Event", "MalformedEventError", "name_of", "read_event"]

EVENT_ID = "event-id"


class MalformedEventError(ValueError):
    """A message is no event, or not one that its handler can read; trying again would not help."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; it may be delivered more than once, always with the same id.

    Args:
        id: what a handler knows it again by.
        topic: where it came from, the cell's prefix included.
        payload: what it tells.
    """

    id: str
    topic: str
    payload: dict[str, Any]


def read_event(topic: str, value: bytes | None, headers: Mapping[str, str], position: str) -> Event:
    """Return the event that a message holds.

    Args:
        topic: where it came from.
        value: the message's value.
        headers: its headers; one without an event id is known by its position, which no other message has.
        position: its partition and offset.

    Raises:
        MalformedEventError: its value is not a JSON object.
    """
    try:
        payload = json.loads(value or b"")
    except (ValueError, RecursionError) as error:
        raise MalformedEventError(f"not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise MalformedEventError(f"not a JSON object but a {type(payload).__name__}")
    return Event(headers.get(EVENT_ID) or f"{topic}-{position}", topic, payload)


def name_of(topic: str) -> str:
    """Return what kind of event a topic holds: its name without the cell's prefix."""
    return topic.partition(".")[2]
