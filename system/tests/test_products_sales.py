"""What a created order does to its reservation, and a cancelled one, in a real Postgres."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import permutations
from typing import TypeAlias

import pytest

from brownout_shop.database import Database, DatabaseUnavailableError
from brownout_shop.events import Event, MalformedEventError
from brownout_shop.products.domain import Item, State
from brownout_shop.products.sales import cancel, sell
from brownout_shop.products.store import METADATA, ProductStore

Handle: TypeAlias = Callable[[ProductStore, Event], Awaitable[None]]
Make: TypeAlias = Callable[[object], Event]
Told: TypeAlias = tuple[Handle, Make]

VASE = (Item("vase-1", 1),)
ORDER = "0" * 32


@pytest.fixture
async def products(database_url: str) -> AsyncIterator[ProductStore]:
    database = Database(database_url, METADATA)
    await database.prepare()
    yield ProductStore(database)
    await database.close()


def created(order_id: object) -> Event:
    return Event("e1", "c1.order.created", {"order_id": order_id, "user_id": "u", "amount": 1, "timestamp": "t"})


def cancelled(order_id: object) -> Event:
    return Event("e2", "c1.order.cancelled", {"order_id": order_id, "user_id": "u", "timestamp": "t"})


async def vases(products: ProductStore) -> tuple[int, int, int]:
    vase = await products.get("vase-1")
    assert vase is not None
    return vase.stock, vase.held, vase.sold


async def state(products: ProductStore) -> State | None:
    reservation = await products.reservation(ORDER)
    return reservation.state if reservation else None


async def test_a_created_order_sells_what_is_held_for_it_however_often_it_is_told(products: ProductStore) -> None:
    await products.reserve(ORDER, VASE)
    for _ in range(2):
        await sell(products, created(ORDER))
    assert await vases(products) == (0, 0, 1)


@pytest.mark.parametrize("told", list(permutations([(sell, created), (cancel, cancelled), (cancel, cancelled)])))
async def test_a_cancelled_order_gives_its_pieces_back_once_in_whatever_order_it_is_told(
    products: ProductStore, told: list[Told], caplog: pytest.LogCaptureFixture
) -> None:
    await products.reserve(ORDER, VASE)
    for handle, event in told:
        await handle(products, event(ORDER))
    assert await vases(products) == (1, 0, 0)
    assert await state(products) is State.CANCELLED
    assert not [record for record in caplog.records if record.name.startswith("brownout_shop")]


async def test_a_cancelled_order_takes_nothing_from_who_bought_its_pieces_since(products: ProductStore) -> None:
    await products.reserve(ORDER, VASE)
    await cancel(products, cancelled(ORDER))
    await products.reserve("1" * 32, VASE)
    await cancel(products, cancelled(ORDER))
    await sell(products, created(ORDER))
    assert await vases(products) == (0, 1, 0)


@pytest.mark.parametrize(
    ("handle", "event", "warning"),
    [
        (sell, created, f"order {ORDER} has no reservation"),
        (cancel, cancelled, f"order {ORDER} was cancelled, and has no reservation"),
    ],
)
async def test_an_order_without_a_reservation_is_logged_and_done_with(
    products: ProductStore, caplog: pytest.LogCaptureFixture, handle: Handle, event: Make, warning: str
) -> None:
    await handle(products, event(ORDER))
    assert [(r.levelno, r.getMessage()) for r in caplog.records if r.name.startswith("brownout_shop")] == [
        (logging.WARNING, warning)
    ]


async def test_a_sale_that_comes_too_late_is_an_error_in_the_log(
    products: ProductStore, caplog: pytest.LogCaptureFixture
) -> None:
    await products.reserve(ORDER, VASE)
    await products.give_back(ORDER)
    await products.reserve("1" * 32, VASE)
    await sell(products, created(ORDER))
    assert await state(products) is State.RETURNED
    assert [r.levelno for r in caplog.records if ORDER in r.getMessage()] == [logging.ERROR]


@pytest.mark.parametrize("order_id", [None, 7, ["0"]])
@pytest.mark.parametrize(("handle", "event"), [(sell, created), (cancel, cancelled)])
async def test_an_event_that_names_no_order_is_malformed(
    products: ProductStore, order_id: object, handle: Handle, event: Make
) -> None:
    with pytest.raises(MalformedEventError):
        await handle(products, event(order_id))


@pytest.mark.parametrize(("handle", "event"), [(sell, created), (cancel, cancelled)])
async def test_without_its_database_the_event_is_to_come_again(handle: Handle, event: Make) -> None:
    nobody = Database("postgresql://postgres@127.0.0.1:1/x", METADATA)
    with pytest.raises(DatabaseUnavailableError):
        await handle(ProductStore(nobody), event(ORDER))
    await nobody.close()
