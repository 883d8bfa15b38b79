"""The notifications' own table."""

from dataclasses import asdict

from sqlalchemy import Column, MetaData, Table, Text, func, select
from sqlalchemy.dialects.postgresql import TIMESTAMP, insert

from brownout_shop.database import Database
from brownout_shop.notifications.domain import Notification

__all__ = ["METADATA", "NotificationStore"]

LISTED = 100
METADATA = MetaData()
_notifications = Table(
    "notifications",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, nullable=False, index=True),
    Column("email", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("event_id", Text, unique=True),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now()),
)
_SEEN = (
    _notifications.c.id,
    _notifications.c.user_id,
    _notifications.c.email,
    _notifications.c.text,
    _notifications.c.event_id,
)


class NotificationStore:
    """Reads and writes notifications; each method is one statement and raises DatabaseUnavailableError.

    Args:
        database: where the table is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, notification: Notification) -> bool:
        """Save a notification, and return whether it is the first of its event."""
        statement = insert(_notifications).values(asdict(notification)).on_conflict_do_nothing()
        return bool(await self._database.execute(statement.returning(_notifications.c.id)))

    async def of_user(self, user_id: str) -> list[Notification]:
        """Return a user's notifications, the latest first, 100 at most."""
        latest = _notifications.c.created_at.desc()
        query = select(*_SEEN).where(_notifications.c.user_id == user_id).order_by(latest).limit(LISTED)
        return [Notification(*row) for row in await self._database.execute(query)]
