"""The orders' own tables: an order is one row, and the event that tells of it another, saved with it."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from opentelemetry import trace
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, func, insert, select, update
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from brownout_shop.database import Database
from brownout_shop.events import Outbox
from brownout_shop.orders.domain import Item, Order, Status

__all__ = ["METADATA", "OUTBOX", "OrderStore"]

LISTED = 100
METADATA = MetaData()
OUTBOX = Outbox(METADATA)
_orders = Table(
    "orders",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, nullable=False, index=True),
    Column("items", JSONB, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now()),
)
_SEEN = (
    _orders.c.id,
    _orders.c.user_id,
    _orders.c["items"],
    _orders.c.currency,
    _orders.c.amount,
    _orders.c.status,
)


tracer = trace.get_tracer("order-service")


class OrderStore:
    """Reads and writes orders; each method is one statement and raises DatabaseUnavailableError.

    Args:
        database: where the tables are.
        topic: where a new order is told of (clause 3.3).
        told: called after an event was committed.
    """

    def __init__(self, database: Database, *, topic: str, told: Callable[[], None]) -> None:
        self._database = database
        self._topic = topic
        self._told = told

    async def add(self, order: Order) -> None:
        """Save a new order, and the event that tells of it, both or none.

        One statement does it, so the spans of both, SaveOrder and PublishEvent (clause 6.4), are of the same time.

        Raises:
            NotExecutedError: it is not saved.
            DatabaseUnavailableError: whether it is saved is unknown.
        """
        saved = insert(_orders).values(asdict(order)).cte("saved")
        publishing = tracer.start_span("PublishEvent")
        try:
            with trace.use_span(publishing):
                event = OUTBOX.event(self._topic, order.id, _created(order))
            with tracer.start_as_current_span("SaveOrder"):
                await self._database.execute(event.add_cte(saved))
        finally:
            publishing.end()
        self._told()

    async def get(self, order_id: str, user_id: str) -> Order | None:
        """Return a user's order, if there is one."""
        query = select(*_SEEN).where(_orders.c.id == order_id, _orders.c.user_id == user_id)
        return _first(await self._database.execute(query))

    async def of_user(self, user_id: str) -> list[Order]:
        """Return a user's orders, the latest first, 100 at most."""
        latest = _orders.c.created_at.desc()
        query = select(*_SEEN).where(_orders.c.user_id == user_id).order_by(latest).limit(LISTED)
        return [_order(*row) for row in await self._database.execute(query)]

    async def move(
        self, order_id: str, user_id: str, status: Status, *, only_from: AbstractSet[Status]
    ) -> Order | None:
        """Set the status of a user's order if it is one of `only_from`, and return the order if it was."""
        statement = (
            update(_orders)
            .where(_orders.c.id == order_id, _orders.c.user_id == user_id, _orders.c.status.in_(only_from))
            .values(status=status)
            .returning(*_SEEN)
        )
        return _first(await self._database.execute(statement))


def _created(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.id,
        "user_id": order.user_id,
        "amount": order.amount,
        "currency": order.currency,
        "timestamp": datetime.now(UTC).isoformat(),
    }


def _first(rows: list[tuple[Any, ...]]) -> Order | None:
    return _order(*rows[0]) if rows else None


def _order(order_id: str, user_id: str, items: list[dict[str, Any]], currency: str, amount: int, status: str) -> Order:
    return Order(order_id, user_id, tuple(Item(**item) for item in items), currency, amount, Status(status))
