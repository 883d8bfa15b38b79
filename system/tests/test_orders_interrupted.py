"""CreateOrder, cut wherever it can be: nothing is lost, nothing is there twice, and no order is half there."""

from collections.abc import AsyncIterator

import pytest

from brownout_shop.orders.domain import keyed_id
from ordering import Shop, ordered, shop_over

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
