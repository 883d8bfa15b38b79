"""ListOrders, page by page (clause 2.3)."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from sqlalchemy import text

from ordering import Shop, ordered, shop_over, word


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with shop_over(database_url) as shop:
        yield shop


@pytest.fixture
async def orders(shop: Shop, database_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with shop.orders(database_url) as orders:
        yield orders


async def listed(orders: aiohttp.ClientSession, query: str = "", user: str = "alice") -> tuple[int, dict[str, Any]]:
    async with orders.get(f"/orders?{query}", headers={"X-User-Id": user}) as answer:
        return answer.status, await answer.json(content_type=None)


async def some(orders: aiohttp.ClientSession, count: int, user: str = "alice") -> list[str]:
    """Place so many orders; return their ids, the latest first."""
    placed = [(await ordered(orders, user=user))[1]["id"] for _ in range(count)]
    return placed[::-1]


def ids(page: dict[str, Any]) -> list[str]:
    return [order["id"] for order in page["orders"]]


async def test_the_latest_come_first_20_of_them_and_only_ones_own(orders: aiohttp.ClientSession) -> None:
    mine = await some(orders, 22)
    await some(orders, 1, user="bob")
    status, page = await listed(orders)
    assert (status, ids(page), page["size"], page["more"]) == (200, mine[:20], 20, True)
    assert (await listed(orders, user="carol"))[1] == {"orders": [], "size": 20, "more": False}


async def test_pages_follow_each_other_though_orders_come_in_meanwhile(orders: aiohttp.ClientSession) -> None:
    mine = await some(orders, 5)
    pages, query = [], "size=2"
    while True:
        _, page = await listed(orders, query)
        pages.append(ids(page))
        if not page["more"]:
            break
        await some(orders, 1)
        query = f"size=2&after={pages[-1][-1]}"
    assert pages == [mine[:2], mine[2:4], mine[4:]]


async def test_orders_of_the_same_moment_are_listed_once_each(shop: Shop, orders: aiohttp.ClientSession) -> None:
    mine = await some(orders, 5)
    await shop.books.execute(text("UPDATE orders SET created_at = now()"))
    found, after = [], ""
    for _ in range(5):
        _, page = await listed(orders, f"size=1&after={after}")
        found += ids(page)
        after = found[-1]
    assert found == sorted(mine, reverse=True)


async def test_the_page_behind_the_last_order_is_empty(orders: aiohttp.ClientSession) -> None:
    mine = await some(orders, 2)
    assert (await listed(orders, f"after={mine[-1]}"))[1] == {"orders": [], "size": 20, "more": False}


async def test_behind_an_order_that_is_nobodys_or_anothers_there_is_nothing_to_list(
    orders: aiohttp.ClientSession,
) -> None:
    await some(orders, 1)
    for after in ("0" * 32, *await some(orders, 1, user="bob")):
        status, problem = await listed(orders, f"after={after}")
        assert (status, word(problem)) == (404, "not-found")


@pytest.mark.parametrize("wrong", ["size=0", "size=101", "size=x", "after=x", "after=%00", f"after={'A' * 32}"])
async def test_a_page_out_of_bounds_is_422(orders: aiohttp.ClientSession, wrong: str) -> None:
    status, problem = await listed(orders, wrong)
    assert (status, word(problem)) == (422, "invalid")
