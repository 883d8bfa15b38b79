"""The payments' own table: an order has one payment, which the table itself sees to."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, func, select, update
from sqlalchemy.dialects.postgresql import TIMESTAMP, insert

from brownout_shop.database import Database
from brownout_shop.payments.domain import Payment, Status, before

__all__ = ["METADATA", "PaymentStore"]

METADATA = MetaData()
_payments = Table(
    "payments",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("order_id", Text, nullable=False, unique=True),
    Column("user_id", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("charge_id", Text, nullable=False),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now()),
)
_SEEN = (
    _payments.c.id,
    _payments.c.order_id,
    _payments.c.user_id,
    _payments.c.amount,
    _payments.c.currency,
    _payments.c.status,
    _payments.c.charge_id,
)


class PaymentStore:
    """Reads and writes payments; each method raises DatabaseUnavailableError.

    Args:
        database: where the table is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, payment: Payment) -> Payment:
        """Save a new payment, or leave the one that its order has already, and return the one that is there."""
        new = insert(_payments).values(asdict(payment))
        # Written onto itself, the row that is there is returned as well: one round trip, also for the later of two.
        kept = new.on_conflict_do_update(index_elements=["order_id"], set_={"order_id": new.excluded.order_id})
        return _payment(*(await self._database.execute(kept.returning(*_SEEN)))[0])

    async def get(self, payment_id: str) -> Payment | None:
        """Return a payment, if there is one."""
        return _first(await self._database.execute(select(*_SEEN).where(_payments.c.id == payment_id)))

    async def of_order(self, order_id: str, user_id: str) -> Payment | None:
        """Return the payment of a user's order, if there is one."""
        query = select(*_SEEN).where(_payments.c.order_id == order_id, _payments.c.user_id == user_id)
        return _first(await self._database.execute(query))

    async def move(self, payment: Payment, status: Status, charge_id: str = "") -> Payment:
        """Note what became of a payment, unless more is known already, and return it as it stands then."""
        statement = (
            update(_payments)
            .where(_payments.c.id == payment.id, _payments.c.status.in_(before(status)))
            .values(status=status, charge_id=charge_id)
            .returning(*_SEEN)
        )
        moved = _first(await self._database.execute(statement))
        return moved or await self.open(payment)


def _first(rows: list[tuple[Any, ...]]) -> Payment | None:
    return _payment(*rows[0]) if rows else None


def _payment(
    payment_id: str, order_id: str, user_id: str, amount: int, currency: str, status: str, charge_id: str
) -> Payment:
    return Payment(payment_id, order_id, user_id, amount, currency, Status(status), charge_id)
