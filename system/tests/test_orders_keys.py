"""Orders with an Idempotency-Key, over the real products: one key is one order, whoever else asks meanwhile."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from brownout_shop.orders.domain import keyed_id
from brownout_shop.products.domain import Item
from ordering import Shop, ordered, shop_over, word

MUG = {"sku": "mug-1", "quantity": 1}
BOOK = {"sku": "book-1", "quantity": 2}
KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with shop_over(database_url) as shop:
        yield shop
        await shop.settle()
        await shop.check()


@pytest.fixture
async def orders(shop: Shop, database_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with shop.orders(database_url) as orders:
        yield orders


async def test_the_same_request_again_is_the_same_order(shop: Shop, orders: aiohttp.ClientSession) -> None:
    first = await ordered(orders, key=KEY)
    assert first[0] == 201
    assert await ordered(orders, key=KEY) == first
    assert list(await shop.placed()) == [first[1]["id"]]
    assert len(await shop.tell()) == shop.woken == 1


async def test_without_a_key_it_is_another_order(shop: Shop, orders: aiohttp.ClientSession) -> None:
    assert (await ordered(orders))[1]["id"] != (await ordered(orders))[1]["id"]
    assert len(await shop.placed()) == 2


async def test_another_request_under_the_key_is_refused(shop: Shop, orders: aiohttp.ClientSession) -> None:
    await ordered(orders, BOOK, key=KEY)
    for items in ([MUG], [BOOK, MUG], [BOOK, BOOK]):
        status, problem = await ordered(orders, *items, key=KEY)
        assert (status, word(problem)) == (422, "key-reused")
    assert len(await shop.placed()) == 1


async def test_the_same_things_named_in_another_way_are_the_same_request(orders: aiohttp.ClientSession) -> None:
    first = await ordered(orders, BOOK, MUG, key=KEY)
    assert await ordered(orders, MUG, {**BOOK, "quantity": 1}, {**BOOK, "quantity": 1}, key=KEY) == first


async def test_a_key_is_its_users_own(shop: Shop, orders: aiohttp.ClientSession) -> None:
    one, other = [await ordered(orders, key=KEY, user=user) for user in ("alice", "bob")]
    assert [one[1]["user_id"], other[1]["user_id"]] == ["alice", "bob"]
    assert len(await shop.placed()) == 2


@pytest.mark.parametrize("key", ["k" * 256, "two words", "\xe9", " \t"])
async def test_a_key_of_another_form_is_422(shop: Shop, orders: aiohttp.ClientSession, key: str) -> None:
    headers = {"X-User-Id": "alice", "Idempotency-Key": key}
    async with orders.post("/orders", json={"items": [BOOK]}, headers=headers) as answer:
        assert (answer.status, word(await answer.json(content_type=None))) == (422, "invalid")
    assert await shop.placed() == {}


async def test_20_times_at_once_at_two_instances_it_is_one_order(
    shop: Shop, orders: aiohttp.ClientSession, database_url: str
) -> None:
    async with shop.orders(database_url) as other:
        asking = [ordered(one, MUG, key=KEY) for one in (orders, other) for _ in range(10)]
        answers = await asyncio.gather(*asking)
    assert [status for status, _ in answers] == [201] * 20
    assert {order["id"] for _, order in answers} == set(await shop.placed())
    assert len(await shop.tell()) == 1
    mug = await shop.products.get("mug-1")
    assert mug is not None
    assert (mug.stock, mug.held, mug.sold) == (9_999, 0, 1)


async def test_of_two_requests_at_once_under_one_key_one_is_the_order_and_the_other_is_refused(
    shop: Shop, orders: aiohttp.ClientSession
) -> None:
    answers = await asyncio.gather(*(ordered(orders, item, key=KEY) for item in (BOOK, MUG)))
    assert sorted(status for status, _ in answers) == [201, 422]
    assert [word(problem) for status, problem in answers if status == 422] == ["key-reused"]
    assert len(await shop.placed()) == 1


async def test_of_an_order_that_was_cancelled_the_key_gives_that_order(
    shop: Shop, orders: aiohttp.ClientSession
) -> None:
    _, order = await ordered(orders, key=KEY)
    async with orders.post(f"/orders/{order['id']}/cancel", headers={"X-User-Id": "alice"}) as answer:
        assert answer.status == 200
    await shop.tell()
    assert await ordered(orders, key=KEY) == (201, {**order, "status": "cancelled"})
    assert len(await shop.placed()) == 1


async def test_a_try_whose_pieces_were_given_back_or_sold_to_others_meanwhile_can_be_repeated(
    shop: Shop, orders: aiohttp.ClientSession
) -> None:
    vase = {"sku": "vase-1", "quantity": 1}
    order_id = keyed_id("alice", KEY)
    await shop.products.reserve(order_id, (Item("vase-1", 1),))
    await shop.settle()
    assert (await ordered(orders, vase, user="bob"))[0] == 201
    status, problem = await ordered(orders, vase, key=KEY)
    assert (status, word(problem)) == (409, "out-of-stock")
    await shop.tell()
    async with orders.post(f"/orders/{next(iter(await shop.placed()))}/cancel", headers={"X-User-Id": "bob"}) as answer:
        assert answer.status == 200
    await shop.tell()
    status, order = await ordered(orders, vase, key=KEY)
    assert (status, order["id"]) == (201, order_id)


async def test_a_try_that_found_nothing_left_can_be_repeated_with_less(
    shop: Shop, orders: aiohttp.ClientSession
) -> None:
    status, problem = await ordered(orders, {"sku": "vase-1", "quantity": 2}, key=KEY)
    assert (status, problem["detail"]) == (409, "vase-1: 2 wanted, 1 left")
    assert (await ordered(orders, {"sku": "vase-1", "quantity": 1}, key=KEY))[0] == 201
    assert len(await shop.placed()) == 1


async def test_of_50_buyers_10_get_the_last_10_pieces(shop: Shop, database_url: str) -> None:
    await shop.leave("mug-1", 10)
    async with shop.orders(database_url) as one, shop.orders(database_url) as other:
        answers = await asyncio.gather(*(ordered((one, other)[n % 2], MUG, user=f"user-{n}") for n in range(50)))
    assert sorted(status for status, _ in answers) == [201] * 10 + [409] * 40
    assert {word(problem) for status, problem in answers if status == 409} == {"out-of-stock"}
    assert {order["id"] for status, order in answers if status == 201} == set(await shop.placed())
    await shop.tell()
    mug = await shop.products.get("mug-1")
    assert mug is not None
    assert (mug.stock, mug.held, mug.sold) == (0, 0, 10)
    await shop.leave("mug-1", 9_990)  # those that this test had taken away
