"""The provider's ledger: one charge for each idempotency key, which the table itself sees to."""

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, func, select
from sqlalchemy.dialects.postgresql import TIMESTAMP, insert

from brownout_shop.database import Database

__all__ = ["METADATA", "Charge", "Ledger"]

LISTED = 100
METADATA = MetaData()
_charges = Table(
    "charges",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("reference", Text, nullable=False, index=True),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now()),
)
_SEEN = (_charges.c.id, _charges.c.amount, _charges.c.currency, _charges.c.reference)


@dataclass(frozen=True, slots=True)
class Charge:
    """What was charged; the amount is in minor units of its currency, the reference is the merchant's own."""

    id: str
    amount: int
    currency: str
    reference: str


class Ledger:
    """Reads and writes charges; each method is one statement and raises DatabaseUnavailableError.

    Args:
        database: where the table is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enter(self, key: str, charge: Charge) -> Charge:
        """Save a charge under a key, or leave the one that is there, and return the one that is there."""
        new = insert(_charges).values({"key": key, **asdict(charge)})
        # Written onto itself, the row that is there is returned as well.
        kept = new.on_conflict_do_update(index_elements=["key"], set_={"key": new.excluded.key})
        return _charge((await self._database.execute(kept.returning(*_SEEN)))[0])

    async def of_reference(self, reference: str) -> list[Charge]:
        """Return the charges with a reference, the earliest first, 100 at most."""
        query = select(*_SEEN).where(_charges.c.reference == reference).order_by(_charges.c.created_at).limit(LISTED)
        return [_charge(row) for row in await self._database.execute(query)]


def _charge(row: tuple[Any, ...]) -> Charge:
    return Charge(*row)
