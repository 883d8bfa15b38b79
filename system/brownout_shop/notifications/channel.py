"""The ways on which a notification reaches its user (clause 2.5)."""

import logging
from typing import Protocol

from brownout_shop.notifications.domain import Delivery

__all__ = ["Channel", "Mailbox"]

log = logging.getLogger(__name__)


class Channel(Protocol):
    """Something that sends."""

    async def send(self, delivery: Delivery) -> None:
        """Send, at least once: the receiver may get the same notification's id again.

        Raises:
            UndeliverableError: it was refused for good.
            Exception: try again later; whether it was sent is unknown.
        """


class Mailbox:
    """Stands in where no server is named: what is kept in the database is all there is."""

    async def send(self, delivery: Delivery) -> None:
        """Send nothing."""
        log.info("kept %s, which nobody sends by %s", delivery.notification_id, delivery.channel)
