"""The ways on which a notification reaches its user (clause 2.5)."""

import logging
from typing import Protocol

from brownout_shop.notifications.domain import Notification
from brownout_shop.notifications.store import NotificationStore

__all__ = ["Channel", "Mailbox"]

log = logging.getLogger(__name__)


class Channel(Protocol):
    """Something that sends."""

    async def send(self, notification: Notification) -> None:
        """Send a notification; one about the same event as an earlier one is not sent again."""


class Mailbox:
    """Keeps notifications where their users can read them.

    Args:
        store: where.
    """

    def __init__(self, store: NotificationStore) -> None:
        self._store = store

    async def send(self, notification: Notification) -> None:
        """Save it, unless there is one about the same event."""
        if await self._store.add(notification):
            log.info("sent %s to user %s", notification.id, notification.user_id)
        else:
            log.info("event %s was handled before", notification.event_id)
