"""Products and reservations in a real Postgres: nothing is oversold, lost, or counted twice."""

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from brownout_shop.database import Database
from brownout_shop.products.domain import (
    InvalidReservationError,
    Item,
    OutOfStockError,
    Reservation,
    ReservedItem,
    State,
)
from brownout_shop.products.store import METADATA, ProductStore, ReservationOverError

BOOK = (Item("book-1", 2),)
VASE = (Item("vase-1", 1),)
ORDER = "0" * 32


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, METADATA)
    await database.prepare()
    yield database
    await database.close()


@pytest.fixture
def products(database: Database) -> ProductStore:
    return ProductStore(database)


@pytest.fixture
def hasty(database: Database) -> ProductStore:
    """Its reservations have expired as soon as they are made."""
    return ProductStore(database, hold_s=0)


async def where(products: ProductStore, sku: str) -> tuple[int, int, int]:
    """Return how many pieces are in stock, held and sold."""
    product = await products.get(sku)
    assert product is not None
    return product.stock, product.held, product.sold


async def leave(database: Database, sku: str, stock: int) -> None:
    await database.execute(text("UPDATE products SET stock = :stock WHERE sku = :sku").bindparams(sku=sku, stock=stock))


async def bought(products: ProductStore, *items: Item, order_id: str = "") -> str | None:
    """Return the id of the order that a buyer could reserve for, if it could."""
    order_id = order_id or uuid.uuid4().hex
    with contextlib.suppress(OutOfStockError, ReservationOverError):
        await products.reserve(order_id, items)
        return order_id
    return None


async def expire(products: ProductStore) -> list[str]:
    """Give back all that is overdue, as if there were no orders, and return whose it was."""
    overdue = await products.overdue()
    for one in overdue:
        await products.give_back(one.order_id, one.until_us)
    return [one.order_id for one in overdue]


async def test_preparing_again_brings_back_what_is_missing_and_leaves_the_rest(
    products: ProductStore, database: Database
) -> None:
    await products.reserve(ORDER, BOOK)
    await database.execute(text("DELETE FROM products WHERE sku = 'mug-1'"))
    await database.prepare()
    assert await where(products, "book-1") == (999_998, 2, 0)
    assert await where(products, "mug-1") == (10_000, 0, 0)


async def test_reserved_pieces_are_held_at_the_catalogues_price(products: ProductStore) -> None:
    made = await products.reserve(ORDER, (Item("book-1", 2), Item("mug-1", 1)))
    items = (ReservedItem("book-1", 2, 1990), ReservedItem("mug-1", 1, 1290))
    assert made == Reservation(ORDER, items, "EUR", State.HELD)
    assert await products.reservation(ORDER) == made
    assert await where(products, "book-1") == (999_998, 2, 0)
    assert await where(products, "mug-1") == (9_999, 1, 0)


async def test_the_same_order_again_has_the_same_reservation_though_nothing_is_left(products: ProductStore) -> None:
    made = await products.reserve(ORDER, VASE)
    assert await products.reserve(ORDER, VASE) == made
    assert await where(products, "vase-1") == (0, 1, 0)


async def test_the_same_order_in_parallel_takes_its_pieces_once(products: ProductStore) -> None:
    made = await asyncio.gather(*(products.reserve(ORDER, BOOK) for _ in range(20)))
    assert len(set(made)) == 1
    assert await where(products, "book-1") == (999_998, 2, 0)


async def test_of_the_last_10_pieces_50_parallel_buyers_get_exactly_10(
    products: ProductStore, database: Database
) -> None:
    await leave(database, "mug-1", 10)
    orders = await asyncio.gather(*(bought(products, Item("mug-1", 1)) for _ in range(50)))
    assert sum(order is not None for order in orders) == 10
    assert await where(products, "mug-1") == (0, 10, 0)


async def test_where_one_thing_is_short_nothing_is_taken(products: ProductStore) -> None:
    with pytest.raises(OutOfStockError, match=r"^vase-1: 2 wanted, 1 left$"):
        await products.reserve(ORDER, (Item("book-1", 2), Item("vase-1", 2)))
    assert await where(products, "book-1") == (1_000_000, 0, 0)
    assert await products.reservation(ORDER) is None


async def test_an_unknown_thing_is_no_reservation(products: ProductStore) -> None:
    with pytest.raises(InvalidReservationError, match=r"no such product: book-9$"):
        await products.reserve(ORDER, (Item("book-1", 2), Item("book-9", 1)))
    assert await where(products, "book-1") == (1_000_000, 0, 0)


async def test_things_in_two_currencies_are_no_reservation(products: ProductStore, database: Database) -> None:
    await database.execute(text("UPDATE products SET currency = 'CHF' WHERE sku = 'mug-1'"))
    with pytest.raises(InvalidReservationError, match=r"in one currency, not in CHF, EUR$"):
        await products.reserve(ORDER, (Item("book-1", 2), Item("mug-1", 1)))
    assert await where(products, "book-1") == (1_000_000, 0, 0)


async def test_giving_back_returns_the_pieces_once(products: ProductStore) -> None:
    await products.reserve(ORDER, BOOK)
    states = await asyncio.gather(*(products.give_back(ORDER) for _ in range(5)))
    assert states == [State.RETURNED] * 5
    assert await where(products, "book-1") == (1_000_000, 0, 0)


async def test_what_was_given_back_is_taken_again_if_the_order_is_asked_for_again(products: ProductStore) -> None:
    first = await products.reserve(ORDER, BOOK)
    await products.give_back(ORDER)
    assert await asyncio.gather(*(products.reserve(ORDER, BOOK) for _ in range(10))) == [first] * 10
    assert await where(products, "book-1") == (999_998, 2, 0)


async def test_what_was_given_back_and_sold_to_others_is_not_taken_again(products: ProductStore) -> None:
    await products.reserve(ORDER, VASE)
    await products.give_back(ORDER)
    await products.reserve("1" * 32, VASE)
    with pytest.raises(OutOfStockError):
        await products.reserve(ORDER, VASE)
    assert await where(products, "vase-1") == (0, 1, 0)


async def test_what_is_asked_for_again_is_held_from_then_on(products: ProductStore, hasty: ProductStore) -> None:
    for held_before in (True, False):
        await hasty.reserve(ORDER, BOOK)
        if not held_before:
            await expire(products)
        await products.reserve(ORDER, BOOK)
        assert await products.overdue() == []
        assert await where(products, "book-1") == (999_998, 2, 0)


@pytest.mark.parametrize("before", ["held", "sold", "returned"])
async def test_the_pieces_of_a_cancelled_order_come_back_once_and_are_not_taken_again(
    products: ProductStore, before: str
) -> None:
    await products.reserve(ORDER, BOOK)
    if before != "held":
        await (products.sell(ORDER) if before == "sold" else products.give_back(ORDER))
    assert await asyncio.gather(*(products.cancel(ORDER) for _ in range(5))) == [State.CANCELLED] * 5
    assert await products.sell(ORDER) is State.CANCELLED
    assert await products.give_back(ORDER) is State.CANCELLED
    with pytest.raises(ReservationOverError):
        await products.reserve(ORDER, BOOK)
    assert await where(products, "book-1") == (1_000_000, 0, 0)


async def test_a_cancelled_order_does_not_expire(products: ProductStore, hasty: ProductStore) -> None:
    await hasty.reserve(ORDER, BOOK)
    await products.cancel(ORDER)
    assert await products.overdue() == []
    assert await where(products, "book-1") == (1_000_000, 0, 0)


async def test_an_order_without_a_reservation_has_nothing_to_give_back_or_sell(products: ProductStore) -> None:
    assert await products.give_back(ORDER) is None
    assert await products.sell(ORDER) is None
    assert await products.cancel(ORDER) is None


async def test_a_sale_counts_once_and_cannot_be_given_back(products: ProductStore) -> None:
    await products.reserve(ORDER, BOOK)
    assert await asyncio.gather(*(products.sell(ORDER) for _ in range(5))) == [State.SOLD] * 5
    assert await products.give_back(ORDER) is State.SOLD
    assert await where(products, "book-1") == (999_998, 0, 2)


async def test_an_overdue_reservation_is_given_back_and_one_in_its_time_is_not(
    products: ProductStore, hasty: ProductStore
) -> None:
    await products.reserve(ORDER, VASE)
    await hasty.reserve("1" * 32, BOOK)
    assert await expire(products) == ["1" * 32]
    assert await where(products, "vase-1") == (0, 1, 0)
    assert await where(products, "book-1") == (1_000_000, 0, 0)


async def test_an_answer_that_comes_late_gives_back_nothing_that_is_held_on_since(
    products: ProductStore, hasty: ProductStore
) -> None:
    await hasty.reserve(ORDER, BOOK)
    (overdue,) = await products.overdue()
    await products.reserve(ORDER, BOOK)
    assert await products.give_back(overdue.order_id, overdue.until_us) is State.HELD
    assert await where(products, "book-1") == (999_998, 2, 0)


async def test_what_is_held_on_while_it_is_given_back_stays_held(
    products: ProductStore, hasty: ProductStore, database: Database, database_url: str
) -> None:
    await hasty.reserve(ORDER, BOOK)
    (overdue,) = await products.overdue()
    other = await asyncpg.connect(database_url, ssl=False, timeout=10)
    async with other.transaction():
        await other.execute("SELECT FROM products WHERE sku = 'book-1' FOR UPDATE")
        late = asyncio.create_task(products.give_back(overdue.order_id, overdue.until_us))
        await somebody_waits(database)
        await database.execute(text("UPDATE reservations SET expires_at = now() + interval '600 s'"))
    await other.close()
    assert await late is State.HELD
    assert await where(products, "book-1") == (999_998, 2, 0)


async def test_what_is_sold_does_not_expire(products: ProductStore, hasty: ProductStore) -> None:
    await hasty.reserve(ORDER, BOOK)
    await products.sell(ORDER)
    assert await products.overdue() == []
    assert await where(products, "book-1") == (999_998, 0, 2)


async def test_a_late_sale_takes_expired_pieces_again(products: ProductStore, hasty: ProductStore) -> None:
    await hasty.reserve(ORDER, BOOK)
    await expire(products)
    assert await products.sell(ORDER) is State.SOLD
    assert await where(products, "book-1") == (999_998, 0, 2)


async def test_a_late_sale_never_takes_what_another_holds(products: ProductStore, hasty: ProductStore) -> None:
    await hasty.reserve(ORDER, (Item("book-1", 1), Item("vase-1", 1)))
    await expire(products)
    await products.reserve("1" * 32, VASE)
    assert await products.sell(ORDER) is State.RETURNED
    assert await where(products, "vase-1") == (0, 1, 0)
    assert await where(products, "book-1") == (1_000_000, 0, 0)


async def test_a_buyer_waits_for_pieces_that_are_just_coming_back(
    products: ProductStore, database: Database, database_url: str
) -> None:
    await leave(database, "mug-1", 0)
    other = await asyncpg.connect(database_url, ssl=False, timeout=10)
    async with other.transaction():
        await other.execute("UPDATE products SET stock = 2 WHERE sku = 'mug-1'")
        buying = asyncio.create_task(products.reserve(ORDER, (Item("mug-1", 2),)))
        await somebody_waits(database)
    await other.close()
    assert (await buying).state is State.HELD
    assert await where(products, "mug-1") == (0, 2, 0)


async def somebody_waits(database: Database) -> None:
    waiting = text("SELECT 1 FROM pg_locks WHERE NOT granted")
    async with asyncio.timeout(4):
        while not await database.execute(waiting):  # noqa: ASYNC110 - a lock tells nobody
            await asyncio.sleep(0.01)


async def test_the_database_itself_refuses_a_stock_below_zero(database: Database) -> None:
    with pytest.raises(IntegrityError):
        await leave(database, "mug-1", -1)


async def test_whatever_happens_at_once_no_piece_is_lost_or_made(
    products: ProductStore, hasty: ProductStore, database: Database
) -> None:
    skus = ("mug-1", "mug-2", "lamp-1", "fuse-1")
    for sku in skus:
        await leave(database, sku, 30)
    chance = random.Random(5)

    async def live(store: ProductStore) -> None:
        items = [Item(sku, chance.randint(1, 3)) for sku in sorted(chance.sample(skus, 2))]
        if order_id := await bought(store, *items):
            changes = [store.sell(order_id), store.give_back(order_id), store.cancel(order_id), expire(store)]
            chance.shuffle(changes)
            await asyncio.gather(*changes[:2], bought(store, *items, order_id=order_id), *changes[2:])

    await asyncio.gather(*(live(chance.choice((products, hasty))) for _ in range(100)))
    for sku in skus:
        stock, held, sold = await where(products, sku)
        assert stock + held + sold == 30
        assert (held, sold) == (await recorded(database, sku, State.HELD), await recorded(database, sku, State.SOLD))


async def recorded(database: Database, sku: str, state: State) -> int:
    """Return how many pieces of a thing the reservations in `state` have, added up."""
    query = text("""
        SELECT coalesce(sum(quantity), 0) FROM reservations JOIN reserved_items USING (order_id)
        WHERE sku = :sku AND state = :state
    """)
    return int((await database.execute(query.bindparams(sku=sku, state=state.value)))[0][0])
