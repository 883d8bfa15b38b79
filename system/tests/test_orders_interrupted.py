"""CreateOrder, cut wherever it can be: nothing is lost, nothing is there twice, and no order is half there."""

from collections.abc import AsyncIterator

import pytest

from brownout_shop.events import Event, MalformedEventError
from brownout_shop.orders import app as orders_app
from brownout_shop.orders.domain import keyed_id
from brownout_shop.orders.reservation import answer_overdue
from brownout_shop.orders.store import OrderStore
from brownout_shop.products.domain import HOLD_S
from brownout_shop.resilience.client import Client
from ordering import Shop, ordered, shop_over, word

STATUSES = {201, 502, 503}


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with shop_over(database_url) as shop:
        yield shop


@pytest.mark.parametrize("kills", [False, True])
async def test_wherever_an_order_is_cut_it_is_there_with_its_pieces_or_not_at_all(
    shop: Shop, database_url: str, *, kills: bool
) -> None:
    placed: dict[str, str] = {}
    statuses = set()
    for pieces in range(500):
        async with shop.orders(database_url) as orders:
            shop.fuse.arm(pieces, kills=kills)
            status, order = await ordered(orders)
            shop.fuse.mend()
        await shop.settle()
        await shop.check()
        before, placed = placed, await shop.placed()
        assert len(placed) - len(before) in ({1} if status == 201 else {0, 1}), pieces
        assert status != 201 or order["id"] in placed
        statuses.add(status)
        if not shop.fuse.blown:
            break
    assert not shop.fuse.blown
    assert pieces > 10
    assert statuses == STATUSES
    assert len(placed) > 1, "none was saved without being acknowledged"


@pytest.mark.parametrize("kills", [False, True])
async def test_wherever_an_order_with_a_key_is_cut_the_same_request_again_makes_it_one_order(
    shop: Shop, database_url: str, *, kills: bool
) -> None:
    statuses = set()
    for pieces in range(500):
        key = f"key-{pieces}"
        async with shop.orders(database_url) as orders:
            shop.fuse.arm(pieces, kills=kills)
            statuses.add((await ordered(orders, key=key))[0])
            shop.fuse.mend()
        if not shop.fuse.blown:
            break
        async with shop.orders(database_url) as another:
            status, order = await ordered(another, key=key)
        assert (status, order.get("id")) == (201, keyed_id("alice", key)), pieces
        await shop.settle()
        await shop.check()
        assert len(await shop.placed()) == pieces + 1
    assert not shop.fuse.blown
    assert pieces > 10
    assert statuses == STATUSES


async def test_a_placed_order_keeps_its_pieces_however_late_products_hears_of_it(shop: Shop, database_url: str) -> None:
    vase = {"sku": "vase-1", "quantity": 1}
    async with shop.orders(database_url) as orders:
        assert (await ordered(orders, vase))[0] == 201
        await shop.be_asked()
        status, problem = await ordered(orders, vase, user="bob")
    assert (status, word(problem)) == (409, "out-of-stock")
    await shop.settle()
    await shop.check()
    assert list((await shop.placed()).values()) == ["pending"]


async def test_an_order_that_is_saved_so_late_that_its_pieces_may_be_gone_is_not_saved(
    shop: Shop, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders_app, "SAVED_WITHIN_S", -1)
    async with shop.orders(database_url) as orders:
        assert (await ordered(orders))[0] == 404
    await shop.settle()
    await shop.check()
    assert await shop.placed() == {}


def test_no_order_is_saved_when_its_pieces_may_be_asked_about() -> None:
    apart_s = 300  # that the clocks of orders and the databases may be
    assert orders_app.SAVED_WITHIN_S + apart_s < HOLD_S


@pytest.mark.parametrize("payload", [{}, {"order_id": "0" * 32}, {"order_id": "../x", "until_us": 1}])
async def test_a_question_about_no_order_is_malformed(shop: Shop, payload: dict[str, str]) -> None:
    store = OrderStore(shop.books, topic=str, told=lambda: None)
    async with Client("orders", lambda _: ()) as client:
        with pytest.raises(MalformedEventError):
            await answer_overdue(store, client, Event("e", "c1.reservation.overdue", payload))


async def test_whatever_is_tried_again_after_its_time_was_up_is_one_order(shop: Shop, database_url: str) -> None:
    for pieces in range(500):
        key = f"key-{pieces}"
        async with shop.orders(database_url) as orders:
            shop.fuse.arm(pieces, kills=True)
            await ordered(orders, key=key)
            shop.fuse.mend()
            if not shop.fuse.blown:
                break
            await shop.settle()
            assert (await ordered(orders, key=key))[0] == 201, pieces
        await shop.settle()
        await shop.check()
        assert len(await shop.placed()) == pieces + 1
    assert pieces > 10
