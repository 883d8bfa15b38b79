"""The notifications' own tables: what users were told, how each wants to be told, and what became of each delivery."""

from dataclasses import asdict

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, MetaData, Table, Text, func, select, text, update
from sqlalchemy.dialects.postgresql import TIMESTAMP, insert

from brownout_shop.database import Database
from brownout_shop.notifications.domain import (
    ChannelName,
    Delivery,
    DeliveryReport,
    Notification,
    Outcome,
    Preferences,
    State,
)

__all__ = ["METADATA", "NotificationStore"]

LISTED = 100
TAKEN_AT_ONCE = 10
HELD_S = 60.0
"""How long a dispatcher keeps what it took from the others: longer than one attempt and noting it may take."""

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
_preferences = Table(
    "preferences",
    METADATA,
    Column("user_id", Text, primary_key=True),
    Column("email", Boolean, nullable=False),
    Column("phone", Text),
    Column("device", Text),
)
_deliveries = Table(
    "deliveries",
    METADATA,
    Column("notification_id", Text, ForeignKey(_notifications.c.id), primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text, nullable=False),
    Column("due_at", TIMESTAMP(timezone=True), nullable=False),
    Column("traceparent", Text, nullable=False),
)
Index(
    "deliveries_due",
    _deliveries.c.channel,
    _deliveries.c.due_at,
    postgresql_where=_deliveries.c.state == State.WAITING,
)
_SEEN = (
    _notifications.c.id,
    _notifications.c.user_id,
    _notifications.c.email,
    _notifications.c.text,
    _notifications.c.event_id,
)

_ADD = text("""
WITH added AS (
    INSERT INTO notifications (id, user_id, email, text, event_id)
    VALUES (:id, :user_id, :email, :text, :event_id)
    ON CONFLICT DO NOTHING
    RETURNING id, user_id, email
), waiting AS (
    INSERT INTO deliveries (notification_id, channel, address, state, attempts, last_error, due_at, traceparent)
    SELECT id, channel, address, 'waiting', 0, '', now(), CAST(:traceparent AS text)
    FROM added LEFT JOIN preferences USING (user_id), LATERAL (VALUES
        ('email', CASE WHEN coalesce(preferences.email, true) THEN added.email END),
        ('sms', phone),
        ('push', device)
    ) AS ways (channel, address)
    WHERE address IS NOT NULL
)
SELECT id FROM added
""")
"""Save a notification, unless there is one of its event, and a delivery for each way its user wants: both or none."""

_TAKE = text("""
WITH taken AS (
    SELECT notification_id, channel FROM deliveries
    WHERE channel = :channel AND state = 'waiting' AND due_at <= now()
    ORDER BY due_at LIMIT :at_once
    FOR UPDATE SKIP LOCKED
)
UPDATE deliveries SET attempts = attempts + 1, due_at = now() + make_interval(secs => :held_s)
FROM taken JOIN notifications ON notifications.id = taken.notification_id
WHERE deliveries.notification_id = taken.notification_id AND deliveries.channel = taken.channel
RETURNING deliveries.notification_id, deliveries.channel, address, text, attempts, traceparent
""")
"""Take what is due, and make it due again for when whoever takes it should die: held by a date, and by no lock."""

_traceparent = TraceContextTextMapPropagator()


class NotificationStore:
    """Reads and writes notifications; each method is one statement and raises DatabaseUnavailableError.

    Args:
        database: where the tables are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, notification: Notification) -> bool:
        """Save a notification with its deliveries, which will belong to the trace at hand.

        Returns:
            Whether it is the first of its event; otherwise nothing is saved.
        """
        trace: dict[str, str] = {}
        _traceparent.inject(trace)
        values = {**asdict(notification), "traceparent": trace.get("traceparent", "")}
        return bool(await self._database.execute(_ADD.bindparams(**values)))

    async def of_user(self, user_id: str) -> list[Notification]:
        """Return a user's notifications, the latest first, 100 at most."""
        latest = _notifications.c.created_at.desc()
        query = select(*_SEEN).where(_notifications.c.user_id == user_id).order_by(latest).limit(LISTED)
        return [Notification(*row) for row in await self._database.execute(query)]

    async def preferences(self, user_id: str) -> Preferences:
        """Return how a user wants to be told: by e-mail, if nothing else was said."""
        columns = (_preferences.c.email, _preferences.c.phone, _preferences.c.device)
        rows = await self._database.execute(select(*columns).where(_preferences.c.user_id == user_id))
        return Preferences(*rows[0]) if rows else Preferences()

    async def prefer(self, user_id: str, preferences: Preferences) -> None:
        """Keep how a user wants to be told from now on."""
        new = insert(_preferences).values(user_id=user_id, **asdict(preferences))
        await self._database.execute(new.on_conflict_do_update(index_elements=["user_id"], set_=asdict(preferences)))

    async def deliveries(self, notification_id: str) -> list[DeliveryReport]:
        """Return what became of a notification on each of its ways."""
        columns = (
            _deliveries.c.channel,
            _deliveries.c.address,
            _deliveries.c.state,
            _deliveries.c.attempts,
            _deliveries.c.last_error,
        )
        query = select(*columns).where(_deliveries.c.notification_id == notification_id)
        rows = await self._database.execute(query.order_by(_deliveries.c.channel))
        return [DeliveryReport(ChannelName(row[0]), row[1], State(row[2]), *row[3:]) for row in rows]

    async def take(self, channel: ChannelName) -> list[Delivery]:
        """Return what is due on a channel, 10 at most, for a new attempt; it is nobody else's for 60 s."""
        statement = _TAKE.bindparams(channel=channel, at_once=TAKEN_AT_ONCE, held_s=HELD_S)
        rows = await self._database.execute(statement)
        return [Delivery(row[0], ChannelName(row[1]), *row[2:]) for row in rows]

    async def note(self, delivery: Delivery, outcome: Outcome) -> None:
        """Note how an attempt ended; that it was sent counts always, the rest only if there was no later attempt."""
        table = _deliveries.c
        mine = [table.notification_id == delivery.notification_id, table.channel == delivery.channel]
        if outcome.state is not State.SENT:
            mine += [table.state == State.WAITING, table.attempts == delivery.attempts]
        values = {
            "state": outcome.state,
            "due_at": func.now() + func.make_interval(0, 0, 0, 0, 0, 0, outcome.again_in_s),
        }
        error = {"last_error": outcome.error} if outcome.error else {}
        await self._database.execute(update(_deliveries).where(*mine).values({**values, **error}))
