"""The provider's ledger: one charge for each idempotency key, which the table itself sees to, and what is to tell."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text, case, func, select, update
from sqlalchemy.dialects.postgresql import TIMESTAMP, Insert, insert

from brownout_shop.database import Database

__all__ = ["METADATA", "Callback", "Charge", "Ledger", "Status"]

LISTED = 100
AT_ONCE = 20
METADATA = MetaData()
_charges = Table(
    "charges",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("reference", Text, nullable=False, index=True),
    Column("status", Text, nullable=False),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now()),
)
_callbacks = Table(
    "callbacks",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("status", Text, primary_key=True),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now()),
    Column("told_at", TIMESTAMP(timezone=True)),
)
Index("callbacks_untold", _callbacks.c.created_at, postgresql_where=_callbacks.c.told_at.is_(None))
_SEEN = ("id", "amount", "currency", "reference", "status")


class Status(StrEnum):
    """What became of a charge; voided is one that was given back before it was made, and never will be."""

    CHARGED = "charged"
    REFUNDED = "refunded"
    VOIDED = "voided"


@dataclass(frozen=True, slots=True)
class Charge:
    """What was charged; the amount is in minor units of its currency, the reference is the merchant's own."""

    id: str
    amount: int
    currency: str
    reference: str
    status: Status = Status.CHARGED


@dataclass(frozen=True, slots=True)
class Callback:
    """What the merchant is still to be told: that the charge under its key has come to this status."""

    key: str
    charge: Charge


class Ledger:
    """Reads and writes charges; each method is one statement and raises DatabaseUnavailableError.

    Args:
        database: where the tables are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enter(self, key: str, charge: Charge) -> Charge:
        """Save a charge under a key, or leave the one that is there, and return the one that is there."""
        new = insert(_charges).values({"key": key, **asdict(charge)})
        # Written onto itself, the row that is there is returned as well.
        return await self._kept(new.on_conflict_do_update(index_elements=["key"], set_={"key": new.excluded.key}))

    async def give_back(self, key: str, void: Charge) -> Charge:
        """Refund the charge under a key, or save `void` in its place if there is none, and return what is there."""
        new = insert(_charges).values({"key": key, **asdict(void)})
        refunded = case((_charges.c.status == Status.CHARGED, Status.REFUNDED), else_=_charges.c.status)
        return await self._kept(new.on_conflict_do_update(index_elements=["key"], set_={"status": refunded}))

    async def of_reference(self, reference: str) -> list[Charge]:
        """Return the charges with a reference, the earliest first, 100 at most."""
        made = (_charges.c.reference == reference, _charges.c.status != Status.VOIDED)
        query = select(*(_charges.c[name] for name in _SEEN)).where(*made).order_by(_charges.c.created_at).limit(LISTED)
        return [_charge(row) for row in await self._database.execute(query)]

    async def untold(self) -> list[Callback]:
        """Return what the merchant is still to be told, the earliest first, 20 at most."""
        charge = (_charges.c[name] for name in _SEEN[:-1])
        query = (
            select(_callbacks.c.key, *charge, _callbacks.c.status)
            .join(_charges, _charges.c.key == _callbacks.c.key)
            .where(_callbacks.c.told_at.is_(None))
            .order_by(_callbacks.c.created_at)
            .limit(AT_ONCE)
        )
        return [Callback(key, _charge(tuple(row))) for key, *row in await self._database.execute(query)]

    async def told(self, callback: Callback) -> None:
        """Note that the merchant knows."""
        one = (_callbacks.c.key == callback.key, _callbacks.c.status == callback.charge.status)
        await self._database.execute(update(_callbacks).where(*one).values(told_at=func.now()))

    async def _kept(self, statement: Insert) -> Charge:
        """Write a charge, and with it that its status is to be told, unless that was noted before."""
        kept = statement.returning(_charges).cte("kept")
        status = select(kept.c.key, kept.c.status).where(kept.c.status != Status.VOIDED)
        callback = insert(_callbacks).from_select(["key", "status"], status).on_conflict_do_nothing()
        query = select(*(kept.c[name] for name in _SEEN)).add_cte(callback.cte("callback"))
        return _charge((await self._database.execute(query))[0])


def _charge(row: tuple[Any, ...]) -> Charge:
    charge_id, amount, currency, reference, status = row
    return Charge(charge_id, amount, currency, reference, Status(status))
