"""The outbox: events are rows beside what they tell of, saved by the same statement, until they are published."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import (
    CTE,
    BigInteger,
    Column,
    Identity,
    Insert,
    MetaData,
    Table,
    Text,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from brownout_shop.database import Execute

__all__ = ["Outbox", "Row"]

TAKEN_AT_ONCE = 100
HELD_FOR = timedelta(seconds=20)
"""How long a relay keeps what it took from the others: longer than publishing and removing may take it."""

_traceparent = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True)
class Row:
    """An event that waits to be published."""

    position: int
    event_id: str
    topic: str
    key: str
    payload: dict[str, Any]
    traceparent: str


class Outbox:
    """The table ``outbox`` of a service's own database.

    Args:
        metadata: the service's tables, to which it is added.
    """

    def __init__(self, metadata: MetaData) -> None:
        self._table = Table(
            "outbox",
            metadata,
            Column("position", BigInteger, Identity(), primary_key=True),
            Column("event_id", Text, nullable=False),
            Column("topic", Text, nullable=False),
            Column("key", Text, nullable=False),
            Column("payload", JSONB, nullable=False),
            Column("traceparent", Text, nullable=False),
            Column("relay", Text),
            Column("held_until", TIMESTAMP(timezone=True)),
        )

    def event(self, topic: str, key: str, payload: dict[str, Any], *, of: CTE | None = None) -> Insert:
        """The statement that adds an event, which will belong to the trace at hand.

        Args:
            topic: where it shall be published.
            key: events of the same key keep their order.
            payload: what it tells, as JSON.
            of: the change that it tells of, which returns a row if it took place: without one there is no event.
        """
        trace: dict[str, str] = {}
        _traceparent.inject(trace)
        row = {
            "event_id": uuid.uuid4().hex,
            "topic": topic,
            "key": key,
            "payload": payload,
            "traceparent": trace.get("traceparent", ""),
        }
        values = select(*(literal(value, self._table.c[name].type) for name, value in row.items()))
        return insert(self._table).from_select(list(row), values if of is None else values.select_from(of))

    async def take(self, execute: Execute, relay: str) -> list[Row]:
        """Return the first rows that no other relay holds, in order, 100 at most; this one holds them for 20 s.

        They are held by a date and not by a lock: a transaction that waits for a broker would hold a connection,
        and a broker that is slow would end it.

        Args:
            execute: one statement of its own.
            relay: who takes them; what it holds already it gets again.
        """
        table = self._table.c
        free = or_(table.held_until.is_(None), table.held_until < func.now(), table.relay == relay)
        first = select(table.position).where(free).order_by(table.position).limit(TAKEN_AT_ONCE)
        taken = first.with_for_update(skip_locked=True).cte("taken")
        statement = (
            update(self._table)
            .where(table.position.in_(select(taken.c.position)))
            .values(relay=relay, held_until=func.now() + HELD_FOR)
            .returning(table.position, table.event_id, table.topic, table.key, table.payload, table.traceparent)
        )
        return sorted((Row(*row) for row in await execute(statement)), key=lambda row: row.position)

    async def remove(self, execute: Execute, positions: Iterable[int]) -> None:
        """Remove rows that the broker has acknowledged."""
        await execute(delete(self._table).where(self._table.c.position.in_(list(positions))))

    async def depth(self, execute: Execute) -> int:
        """Return how many events wait, whoever holds them."""
        rows = await execute(select(func.count()).select_from(self._table))
        return int(rows[0][0])
