"""The orders' own tables: an order is one row, and the event that tells of it another, saved with it.

Creating an order and moving it are one statement each, together with their event: a change that did not take place, as
the order was there already, or elsewhere, adds no event either.
"""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from opentelemetry import trace
from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text, Update, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, insert

from brownout_shop.database import Database
from brownout_shop.events import Outbox
from brownout_shop.orders.domain import Item, Order, Status, before

__all__ = ["METADATA", "OUTBOX", "OrderStore"]

METADATA = MetaData()
OUTBOX = Outbox(METADATA)
_orders = Table(
    "orders",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("items", JSONB, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now()),
)
_PLACE = (_orders.c.created_at, _orders.c.id)
"""Where an order is listed: by time, and of one time by id, so that no two are at the same place."""
Index("orders_of_user", _orders.c.user_id, *_PLACE)
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
        topic: gives the full name of a topic, ``order.created`` and ``order.cancelled`` (clause 3.3).
        told: called after an event was committed.
    """

    def __init__(self, database: Database, *, topic: Callable[[str], str], told: Callable[[], None]) -> None:
        self._database = database
        self._topic = topic
        self._told = told

    async def add(self, order: Order, before: datetime) -> bool:
        """Save a new order, and the event that tells of it, both or none; return whether it is saved by this.

        It is not where there is one of its id, nor later than `before`: its pieces may be given back by then.
        One statement does it, so the spans of both, SaveOrder and PublishEvent (clause 6.4), are of the same time.

        Raises:
            NotExecutedError: it is not saved.
            DatabaseUnavailableError: whether it is saved is unknown.
        """
        row = select(*(literal(value, _orders.c[name].type) for name, value in asdict(order).items()))
        saving = insert(_orders).from_select(
            list(asdict(order)), row.where(func.now() < literal(before, TIMESTAMP(timezone=True)))
        )
        saved = saving.on_conflict_do_nothing().returning(_orders.c.id).cte("saved")
        publishing = tracer.start_span("PublishEvent")
        try:
            with trace.use_span(publishing):
                price = {"amount": order.amount, "currency": order.currency}
                created = _told_of(order.id, order.user_id, **price)
                event = OUTBOX.event(self._topic("order.created"), order.id, created, of=saved)
            with tracer.start_as_current_span("SaveOrder"):
                is_new = bool(await self._database.execute(select(saved).add_cte(event.cte("told"))))
        finally:
            publishing.end()
        if is_new:
            self._told()
        return is_new

    async def get(self, order_id: str) -> Order | None:
        """Return the order, if there is one."""
        return _first(await self._database.execute(select(*_SEEN).where(_orders.c.id == order_id)))

    async def of_user(self, user_id: str, *, after: str, limit: int) -> list[Order]:
        """Return a user's orders, the latest first.

        Args:
            user_id: whose.
            after: the order behind which they begin, the last one of the page before; empty for the first page.
            limit: how many at most.
        """
        query = select(*_SEEN).where(_orders.c.user_id == user_id)
        if after:
            query = query.where(tuple_(*_PLACE) < select(*_PLACE).where(_orders.c.id == after).scalar_subquery())
        page = query.order_by(*(column.desc() for column in _PLACE)).limit(limit)
        return [_order(*row) for row in await self._database.execute(page)]

    async def move(self, order_id: str, status: Status) -> Order | None:
        """Set the status of an order if it may come to it from where it stands, and return the order if it did."""
        moving = _moving(order_id, status).returning(*_SEEN)
        return _first(await self._database.execute(moving))

    async def cancel(self, order_id: str, user_id: str) -> Order | None:
        """Cancel a user's order if it may still be, and return the order if it was.

        The event that tells of it is saved by the same statement.
        """
        moving = _moving(order_id, Status.CANCELLED).where(_orders.c.user_id == user_id)
        cancelled = moving.returning(*_SEEN).cte("cancelled")
        event = OUTBOX.event(self._topic("order.cancelled"), order_id, _told_of(order_id, user_id), of=cancelled)
        order = _first(await self._database.execute(select(cancelled).add_cte(event.cte("told"))))
        if order is not None:
            self._told()
        return order


def _moving(order_id: str, status: Status) -> Update:
    return update(_orders).where(_orders.c.id == order_id, _orders.c.status.in_(before(status))).values(status=status)


def _told_of(order_id: str, user_id: str, **more: Any) -> dict[str, Any]:
    return {"order_id": order_id, "user_id": user_id, **more, "timestamp": datetime.now(UTC).isoformat()}


def _first(rows: list[tuple[Any, ...]]) -> Order | None:
    return _order(*rows[0]) if rows else None


def _order(order_id: str, user_id: str, items: list[dict[str, Any]], currency: str, amount: int, status: str) -> Order:
    return Order(order_id, user_id, tuple(Item(**item) for item in items), currency, amount, Status(status))
