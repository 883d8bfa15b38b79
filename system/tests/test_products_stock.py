"""The pieces of the catalogue, whatever is done to them: the real Postgres beside an executable model (clause 2.2)."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from brownout_shop.database import Database
from brownout_shop.events import Event
from brownout_shop.products.domain import Item, OutOfStockError, State
from brownout_shop.products.sales import cancel, sell
from brownout_shop.products.store import METADATA, ProductStore, ReservationOverError

PIECES = 5
SKUS = ("lamp-1", "mug-1", "vase-1")
ORDERS = st.sampled_from([f"{number:032x}" for number in range(4)])
WANTED = st.dictionaries(st.sampled_from(SKUS), st.integers(1, 3), min_size=1)
COUNTS = "SELECT sku, stock, held, sold FROM products WHERE sku = ANY(ARRAY['lamp-1', 'mug-1', 'vase-1'])"


@dataclass
class Set:
    """What is set aside for an order."""

    pieces: dict[str, int]
    state: State = State.HELD


@dataclass
class Model:
    """What there should be: pieces not held or sold are in stock."""

    orders: dict[str, Set] = field(default_factory=dict)

    def count(self, sku: str, *states: State) -> int:
        return sum(one.pieces.get(sku, 0) for one in self.orders.values() if one.state in states)

    def stock(self, sku: str) -> int:
        return PIECES - self.count(sku, State.HELD, State.SOLD)

    def has(self, pieces: dict[str, int]) -> bool:
        return all(self.stock(sku) >= quantity for sku, quantity in pieces.items())

    def state(self, order_id: str) -> State | None:
        return self.orders[order_id].state if order_id in self.orders else None


class Stock(RuleBasedStateMachine):
    """Four orders and three things, of which there are five each."""

    def __init__(self, run: asyncio.Runner, database: Database) -> None:
        super().__init__()
        self._run, self._database = run, database
        self._products = ProductStore(database)
        self._model = Model()
        run.run(database.execute(text("TRUNCATE reservations, reserved_items")))
        run.run(database.execute(text(f"UPDATE products SET stock = {PIECES}, held = 0, sold = 0")))  # noqa: S608 - ours

    @rule(order_id=ORDERS, wanted=WANTED)
    def reserve(self, order_id: str, wanted: dict[str, int]) -> None:
        before, again = self._model.state(order_id), self._model.orders.get(order_id, Set(wanted))
        expected: State | type[Exception] = State.SOLD if before is State.SOLD else State.HELD
        if before is State.CANCELLED:
            expected = ReservationOverError
        elif before in {None, State.RETURNED}:
            if self._model.has(again.pieces):
                self._model.orders[order_id] = Set(again.pieces)
            else:
                expected = OutOfStockError
        assert self._run.run(self._reserved(order_id, wanted)) == expected

    @rule(order_id=ORDERS)
    def give_back(self, order_id: str) -> None:
        if self._model.state(order_id) is State.HELD:
            self._model.orders[order_id].state = State.RETURNED
        assert self._run.run(self._products.give_back(order_id)) == self._model.state(order_id)

    @rule(order_id=ORDERS)
    def expire(self, order_id: str) -> None:
        over = text("UPDATE reservations SET expires_at = now() WHERE order_id = :order_id")
        self._run.run(self._database.execute(over.bindparams(order_id=order_id)))
        overdue = self._run.run(self._products.overdue())
        assert [one.order_id for one in overdue] == [order_id] * (self._model.state(order_id) is State.HELD)
        for one in overdue:
            self._model.orders[order_id].state = State.RETURNED
            assert self._run.run(self._products.give_back(order_id, one.until_us)) is State.RETURNED

    @rule(order_id=ORDERS)
    def created(self, order_id: str) -> None:
        state = self._model.state(order_id)
        late = state is State.RETURNED and self._model.has(self._model.orders[order_id].pieces)
        if late or state is State.HELD:
            self._model.orders[order_id].state = State.SOLD
        self._run.run(sell(self._products, Event("e", "c1.order.created", {"order_id": order_id})))

    @rule(order_id=ORDERS)
    def cancelled(self, order_id: str) -> None:
        if order_id in self._model.orders:
            self._model.orders[order_id].state = State.CANCELLED
        self._run.run(cancel(self._products, Event("e", "c1.order.cancelled", {"order_id": order_id})))

    @invariant()
    def the_books_are_the_models(self) -> None:
        rows = self._run.run(self._database.execute(text(COUNTS)))
        assert {sku: (stock, held, sold) for sku, stock, held, sold in rows} == {
            sku: (self._model.stock(sku), self._model.count(sku, State.HELD), self._model.count(sku, State.SOLD))
            for sku in SKUS
        }
        assert all(sum(counts) == PIECES and min(counts) >= 0 for _, *counts in rows)
        states = self._run.run(self._database.execute(text("SELECT order_id, state FROM reservations")))
        assert dict(states) == {order_id: one.state for order_id, one in self._model.orders.items()}

    async def _reserved(self, order_id: str, wanted: dict[str, int]) -> State | type[Exception]:
        """Reserve, and return the state of what is reserved then, or why it is not."""
        try:
            items = tuple(Item(sku, wanted[sku]) for sku in sorted(wanted))
            reservation = await self._products.reserve(order_id, items)
        except (OutOfStockError, ReservationOverError) as error:
            return type(error)
        assert {item.sku: item.quantity for item in reservation.items} == self._model.orders[order_id].pieces
        return reservation.state


@contextmanager
def running(database_url: str) -> Iterator[tuple[asyncio.Runner, Database]]:
    """A database, in an event loop that stands still between the steps."""
    with asyncio.Runner() as run:
        database = Database(database_url, METADATA)
        run.run(database.prepare())
        yield run, database
        run.run(database.close())


def test_whatever_is_done_in_whatever_sequence_no_piece_is_lost_or_made(database_url: str) -> None:
    with running(database_url) as parts:
        stock = settings(max_examples=50, stateful_step_count=30, deadline=None, database=None)
        run_state_machine_as_test(lambda: Stock(*parts), settings=stock)
