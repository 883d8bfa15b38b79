"""The products' own tables, where pieces move between stock, held and sold.

Each change is one statement: it costs one round trip, and no row stays locked while an answer is on its way, so that
a slow network slows buyers down but does not line them up. Every statement locks the products first, in the order of
their skus, and a reservation only after them: no two can wait for each other.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Connection,
    ForeignKey,
    Index,
    MetaData,
    Table,
    Text,
    event,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP, TSVECTOR, insert

from brownout_shop.database import Database
from brownout_shop.products.domain import (
    CATALOGUE,
    HOLD_S,
    Item,
    Offer,
    OutOfStockError,
    Overdue,
    Product,
    Reservation,
    ReservedItem,
    State,
    refusal,
)

__all__ = ["METADATA", "ProductStore", "ReservationOverError"]

ASKED_AT_ONCE = 100
WORDS = """
    setweight(to_tsvector('english', sku || ' ' || name), 'A') || setweight(to_tsvector('english', description), 'B')
"""
"""What a product is found by; a word in its name ranks before one in its description."""

METADATA = MetaData()
_products = Table(
    "products",
    METADATA,
    Column("sku", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("stock", BigInteger, CheckConstraint("stock >= 0"), nullable=False),
    Column("held", BigInteger, CheckConstraint("held >= 0"), nullable=False),
    Column("sold", BigInteger, CheckConstraint("sold >= 0"), nullable=False),
    Column("words", TSVECTOR, Computed(WORDS, persisted=True)),
    Index("products_words", "words", postgresql_using="gin"),
)
_SEEN = (
    _products.c.sku,
    _products.c.name,
    _products.c.description,
    _products.c.price,
    _products.c.currency,
    _products.c.stock,
    _products.c.held,
    _products.c.sold,
)
_reservations = Table(
    "reservations",
    METADATA,
    Column("order_id", Text, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("expires_at", TIMESTAMP(timezone=True), nullable=False),
)
Index("reservations_held", _reservations.c.expires_at, postgresql_where=_reservations.c.state == State.HELD)
_reserved_items = Table(
    "reserved_items",
    METADATA,
    Column("order_id", Text, ForeignKey(_reservations.c.order_id), primary_key=True),
    Column("sku", Text, primary_key=True),
    Column("quantity", BigInteger, nullable=False),
    Column("price", BigInteger, nullable=False),
)

_RESERVE = text("""
WITH offers AS (
    SELECT sku, price, currency, stock, held, quantity
    FROM products JOIN jsonb_to_recordset(CAST(:wanted AS jsonb)) AS wanted (sku text, quantity bigint) USING (sku)
    ORDER BY sku FOR UPDATE OF products
), made AS (
    INSERT INTO reservations (order_id, currency, state, expires_at)
    SELECT :order_id, min(currency), 'held', now() + make_interval(secs => :hold_s)
    FROM offers
    HAVING bool_and(stock >= quantity)
        AND count(*) = jsonb_array_length(CAST(:wanted AS jsonb))
        AND count(DISTINCT currency) = 1
    ON CONFLICT (order_id) DO NOTHING
    RETURNING order_id
), items AS (
    INSERT INTO reserved_items (order_id, sku, quantity, price)
    SELECT order_id, sku, quantity, price FROM made, offers
), taken AS (
    UPDATE products SET stock = offers.stock - quantity, held = offers.held + quantity
    FROM made, offers
    WHERE products.sku = offers.sku
)
SELECT EXISTS (SELECT FROM made), sku, price, currency, stock FROM offers
""")
"""Take the wanted pieces if they are all there and the order has no reservation yet; say what there was, and if it did.

A product that another buyer is changing is waited for, and seen as it is then (READ COMMITTED). New counts are computed
from what was locked: from the row itself they would first be those of a while ago, which the constraints may refuse.
"""

_WHERE = {State.HELD: "held", State.SOLD: "sold", State.RETURNED: "stock", State.CANCELLED: "stock"}
"""In which column of a product the pieces of a reservation are counted."""


def _move(before: State, after: State, which: str, also: str = "", still: str = "true") -> Any:
    """Return the statement that moves the pieces of some reservations, if they are there, and says whose they were.

    Args:
        before: in which state they are.
        after: in which they will be.
        which: they are chosen by.
        also: what else is set.
        still: what has to hold of each even when others have done with it.
    """
    source, target = _WHERE[before], _WHERE[after]
    return text(f"""
WITH chosen AS (
    SELECT order_id FROM reservations WHERE state = '{before}' AND {which}
), pieces AS (
    SELECT sku, sum(quantity) AS quantity FROM chosen JOIN reserved_items USING (order_id) GROUP BY sku
), locked AS (
    SELECT sku, {source}, {target}, {source} >= quantity AS enough
    FROM products JOIN pieces USING (sku)
    ORDER BY sku FOR UPDATE OF products
), moved AS (
    UPDATE reservations SET state = '{after}'{also}
    WHERE state = '{before}' AND {still} AND order_id IN (SELECT order_id FROM chosen)
        AND (SELECT bool_and(enough) FROM locked)
    RETURNING order_id
), counts AS (
    SELECT sku, sum(quantity) AS quantity FROM moved JOIN reserved_items USING (order_id) GROUP BY sku
), counted AS (
    UPDATE products SET {source} = locked.{source} - quantity, {target} = locked.{target} + quantity
    FROM locked JOIN counts USING (sku)
    WHERE products.sku = locked.sku
)
SELECT order_id FROM moved
""")  # noqa: S608 - made of this file's own words


_OF_ORDER = "order_id = :order_id"
_FROM_NOW = "expires_at = now() + make_interval(secs => :hold_s)"
_GIVE_BACK = _move(State.HELD, State.RETURNED, _OF_ORDER)
_SELL = _move(State.HELD, State.SOLD, _OF_ORDER)
_SELL_LATE = _move(State.RETURNED, State.SOLD, _OF_ORDER)
_HOLD_ON = text(f"""
UPDATE reservations SET {_FROM_NOW} WHERE {_OF_ORDER} AND state = 'held' RETURNING order_id
""")  # noqa: S608 - same
_HOLD_AGAIN = _move(State.RETURNED, State.HELD, _OF_ORDER, f", {_FROM_NOW}")
_CANCEL_HELD = _move(State.HELD, State.CANCELLED, _OF_ORDER)
_CANCEL_SOLD = _move(State.SOLD, State.CANCELLED, _OF_ORDER)
_CANCEL_RETURNED = text(f"""
UPDATE reservations SET state = 'cancelled' WHERE {_OF_ORDER} AND state = 'returned' RETURNING order_id
""")  # noqa: S608 - same
_UNTIL = "CAST(extract(epoch FROM expires_at) * 1000000 AS bigint)"
_AS_ASKED = f"{_UNTIL} = :until_us"
_GIVE_BACK_OVERDUE = _move(State.HELD, State.RETURNED, f"{_OF_ORDER} AND {_AS_ASKED}", still=_AS_ASKED)
_OVERDUE = text(f"""
SELECT order_id, {_UNTIL} FROM reservations WHERE state = 'held' AND expires_at <= now()
ORDER BY random() LIMIT {ASKED_AT_ONCE}
""")  # noqa: S608 - same
"""Some at random: those of orders whose news is long on its way must not keep all others from being asked about."""


class ReservationOverError(Exception):
    """The order was cancelled: nothing is reserved for it again."""


class ProductStore:
    """Reads products and moves pieces of them; every method may raise DatabaseUnavailableError.

    Args:
        database: where the tables are.
        hold_s: how long pieces are held before it is asked whether there is an order.
    """

    def __init__(self, database: Database, hold_s: float = HOLD_S) -> None:
        self._database = database
        self._hold_s = hold_s

    async def get(self, sku: str) -> Product | None:
        """Return the product, if there is one."""
        rows = await self._database.execute(select(*_SEEN).where(_products.c.sku == sku))
        return Product(*rows[0]) if rows else None

    async def search(self, query: str, *, offset: int, limit: int) -> list[Product]:
        """Return the products that a search finds, those that fit best first, and of those that fit as well by sku.

        Args:
            query: words that are all in a product's sku, name or description, in whatever form and case; ``"…"`` for a
                phrase, ``or``, and ``-`` before a word that is not there. A sku finds its product. Empty for all.
            offset: how many to leave out.
            limit: how many at most.
        """
        page = select(*_SEEN).order_by(_products.c.sku).offset(offset).limit(limit)
        if query:
            words = func.websearch_to_tsquery(text("'english'"), query)
            found = or_(_products.c.words.op("@@")(words), _products.c.sku == query)
            best = func.ts_rank(_products.c.words, words).desc()
            page = page.where(found).order_by(None).order_by(best, _products.c.sku)
        return [Product(*row) for row in await self._database.execute(page)]

    async def reserve(self, order_id: str, items: tuple[Item, ...]) -> Reservation:
        """Hold all the items for an order, or what was reserved for it before.

        Args:
            order_id: the order; what it has a reservation of stays the same, whatever the items now, and so do its
                prices. It is held from now on; if it was given back it is taken again.
            items: as `checked_items` returns them.

        Raises:
            InvalidReservationError: a thing is not in the catalogue, or the prices are in several currencies.
            OutOfStockError: too few pieces of one thing are left; nothing is held.
            ReservationOverError: the order was cancelled.
        """
        wanted = json.dumps([asdict(item) for item in items])  # about an array's type the driver would ask first
        statement = _RESERVE.bindparams(order_id=order_id, hold_s=self._hold_s, wanted=wanted)
        rows = await self._database.execute(statement)
        offers = [Offer(*row[1:]) for row in rows]
        if any(made for made, *_ in rows):
            prices = {offer.sku: offer.price for offer in offers}
            bought = tuple(ReservedItem(item.sku, item.quantity, prices[item.sku]) for item in items)
            return Reservation(order_id, bought, offers[0].currency, State.HELD)
        earlier = await self.reservation(order_id)
        if earlier is None:
            raise refusal(items, offers)
        return await self._held_again(earlier)

    async def reservation(self, order_id: str) -> Reservation | None:
        """Return an order's reservation, if it has one."""
        query = (
            select(
                _reservations.c.currency,
                _reservations.c.state,
                _reserved_items.c.sku,
                _reserved_items.c.quantity,
                _reserved_items.c.price,
            )
            .join_from(_reservations, _reserved_items)
            .where(_reservations.c.order_id == order_id)
            .order_by(_reserved_items.c.sku)
        )
        rows = await self._database.execute(query)
        if not rows:
            return None
        currency, state, *_ = rows[0]
        return Reservation(order_id, tuple(ReservedItem(*row[2:]) for row in rows), currency, State(state))

    async def give_back(self, order_id: str, until_us: int | None = None) -> State | None:
        """Put the pieces held for an order back into stock, and return where they are now, if it has a reservation.

        Args:
            order_id: the order.
            until_us: only if they are held until then, and not on; None: in any case.
        """
        statement = _GIVE_BACK if until_us is None else _GIVE_BACK_OVERDUE.bindparams(until_us=until_us)
        return await self._moved(order_id, (statement,), State.RETURNED)

    async def sell(self, order_id: str) -> State | None:
        """Turn an order's reservation into a sale, and return its state then, if it has one.

        One that was given back is taken again; it stays so where too few pieces are left.
        """
        return await self._moved(order_id, (_SELL, _SELL_LATE), State.SOLD)

    async def cancel(self, order_id: str) -> State | None:
        """Put the pieces of a cancelled order back into stock, and return its reservation's state then, if it has one.

        From then on nothing is reserved for it or sold to it, whatever is asked and told later.
        """
        statements = (_CANCEL_HELD, _CANCEL_SOLD, _CANCEL_RETURNED)
        while True:  # until none of the others was quicker
            state = await self._moved(order_id, statements, State.CANCELLED)
            if state in {State.CANCELLED, None}:
                return state

    async def overdue(self) -> list[Overdue]:
        """Return some of the reservations that were held for their time, 100 at most."""
        return [Overdue(*row) for row in await self._database.execute(_OVERDUE)]

    async def _held_again(self, earlier: Reservation) -> Reservation:
        holding = [statement.bindparams(hold_s=self._hold_s) for statement in (_HOLD_ON, _HOLD_AGAIN)]
        state = await self._moved(earlier.order_id, holding, State.HELD)
        if state is State.HELD or state is State.SOLD:
            return replace(earlier, state=state)
        if state is State.RETURNED:
            raise OutOfStockError("too few pieces are left of what was reserved before")
        raise ReservationOverError(earlier.order_id)

    async def _moved(self, order_id: str, statements: Sequence[Any], after: State) -> State | None:
        for statement in statements:
            if await self._database.execute(statement.bindparams(order_id=order_id)):
                return after
        earlier = await self.reservation(order_id)
        return earlier.state if earlier else None


@event.listens_for(METADATA, "after_create")
def _fill(_metadata: MetaData, connection: Connection, **_: object) -> None:
    """Put into the catalogue what is not in it yet, each time that the tables are prepared."""
    connection.execute(insert(_products).on_conflict_do_nothing(), [asdict(product) for product in CATALOGUE])
