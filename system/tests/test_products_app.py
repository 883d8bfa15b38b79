"""The products routes over a real listener and a real Postgres: clause 2.2."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from brownout_shop.application import application
from brownout_shop.database import Database
from brownout_shop.middleware import Drain
from brownout_shop.products.app import build, routes
from brownout_shop.products.store import METADATA, ProductStore
from brownout_shop.resilience.client import Client
from brownout_shop.serve import _listening
from brownout_shop.service import Service
from brownout_shop.settings import Settings
from brownout_shop.telemetry.health import Health

ORDER = "0" * 32
BOOK = {"sku": "book-1", "quantity": 2}
VASE = {"sku": "vase-1", "quantity": 1}
SETTINGS = Settings(cell="c1", instance="products-0", listen="127.0.0.1:0", consul_url="", otlp_url="")
PROBLEM = "urn:brownout-shop:problem:"


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[ProductStore]:
    database = Database(database_url, METADATA)
    await database.prepare()
    yield ProductStore(database)
    await database.close()


@pytest.fixture
async def products(store: ProductStore) -> AsyncIterator[aiohttp.ClientSession]:
    health = Health(consul=lambda: True, has_instance=lambda _: True, needs=())
    app = application("products", Service(routes(store)), health, Drain())
    with _listening(app, SETTINGS) as listening:
        port = listening.listener.getsockname()[1]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield session
        await listening.finish(1)


async def asked(products: aiohttp.ClientSession, method: str, path: str, **more: Any) -> tuple[int, Any]:
    async with products.request(method, path, **more) as answer:
        return answer.status, await answer.json(content_type=None)


async def reserved(products: aiohttp.ClientSession, *items: dict[str, Any], order: str = ORDER) -> tuple[int, Any]:
    return await asked(products, "POST", "/reservations", json={"order_id": order, "items": items})


async def test_a_product_says_what_it_costs_and_where_its_pieces_are(products: aiohttp.ClientSession) -> None:
    await reserved(products, BOOK)
    assert await asked(products, "GET", "/products/book-1") == (
        200,
        {
            "sku": "book-1",
            "name": "A Book of Failures",
            "description": "What broke, and what was learnt",
            "price": 1990,
            "currency": "EUR",
            "stock": 999_998,
            "held": 2,
            "sold": 0,
        },
    )


@pytest.mark.parametrize("sku", ["book-9", "a%00b", "%25", "a" * 101])
async def test_an_unknown_product_is_404(products: aiohttp.ClientSession, sku: str) -> None:
    status, body = await asked(products, "GET", f"/products/{sku}")
    assert (status, body["type"]) == (404, f"{PROBLEM}not-found")


async def test_a_search_is_answered_page_by_page(products: aiohttp.ClientSession) -> None:
    pages = [await asked(products, "GET", f"/products?query=book-&page={page}&size=2") for page in (1, 2)]
    assert [[product["sku"] for product in body["products"]] for _, body in pages] == [["book-1", "book-2"], ["book-3"]]
    assert [body["more"] for _, body in pages] == [True, False]


@pytest.mark.parametrize("wrong", ["size=0", "size=101", "page=0", "page=10001", "query=%00", f"query={'a' * 101}"])
async def test_a_search_out_of_bounds_is_422(products: aiohttp.ClientSession, wrong: str) -> None:
    status, body = await asked(products, "GET", f"/products?{wrong}")
    assert (status, body["type"]) == (422, f"{PROBLEM}invalid")


async def test_a_reservation_is_answered_with_the_catalogues_prices(products: aiohttp.ClientSession) -> None:
    status, body = await reserved(products, BOOK, {"sku": "mug-1", "quantity": 1}, BOOK)
    assert status == 201
    assert body == {
        "order_id": ORDER,
        "items": [
            {"sku": "book-1", "quantity": 4, "price": 1990},
            {"sku": "mug-1", "quantity": 1, "price": 1290},
        ],
        "currency": "EUR",
    }


async def test_the_same_order_again_has_the_same_answer_even_when_it_is_sold(
    products: aiohttp.ClientSession, store: ProductStore
) -> None:
    first = await reserved(products, VASE)
    assert await reserved(products, VASE) == first
    await store.sell(ORDER)
    assert await reserved(products, VASE) == first


async def test_of_parallel_buyers_one_gets_the_last_piece_and_the_others_409(products: aiohttp.ClientSession) -> None:
    answers = await asyncio.gather(*(reserved(products, VASE, order=f"{n:032x}") for n in range(20)))
    assert sorted(status for status, _ in answers) == [201] + [409] * 19
    assert {body["type"] for status, body in answers if status == 409} == {f"{PROBLEM}out-of-stock"}


@pytest.mark.parametrize(
    "items",
    [[], [{"sku": "book-9", "quantity": 1}], [{"sku": "book-1", "quantity": 0}], [{"sku": "\x00", "quantity": 1}]],
)
async def test_a_reservation_of_nothing_there_is_422(
    products: aiohttp.ClientSession, items: list[dict[str, Any]]
) -> None:
    status, body = await reserved(products, *items)
    assert (status, body["type"]) == (422, f"{PROBLEM}invalid")


@pytest.mark.parametrize("order", ["", "0" * 31, "A" * 32, "0" * 31 + "\x00"])
async def test_an_order_id_is_32_hex_digits(products: aiohttp.ClientSession, order: str) -> None:
    assert (await reserved(products, BOOK, order=order))[0] == 422


async def test_giving_back_twice_is_204_twice_and_what_came_back_is_reserved_again(
    products: aiohttp.ClientSession,
) -> None:
    await reserved(products, VASE)
    for _ in range(2):
        assert await asked(products, "DELETE", f"/reservations/{ORDER}") == (204, None)
    assert (await asked(products, "GET", f"/reservations/{ORDER}"))[1]["state"] == "returned"
    assert (await asked(products, "GET", "/products/vase-1"))[1]["stock"] == 1
    assert (await reserved(products, VASE))[0] == 201


async def test_for_a_cancelled_order_nothing_is_reserved_again(
    products: aiohttp.ClientSession, store: ProductStore
) -> None:
    await reserved(products, VASE)
    await store.cancel(ORDER)
    status, body = await reserved(products, VASE)
    assert (status, body["type"]) == (409, f"{PROBLEM}reservation-over")
    assert (await asked(products, "DELETE", f"/reservations/{ORDER}"))[0] == 204


async def test_giving_back_what_was_never_reserved_is_204(products: aiohttp.ClientSession) -> None:
    assert (await asked(products, "DELETE", f"/reservations/{ORDER}"))[0] == 204


async def test_what_was_sold_is_not_given_back(products: aiohttp.ClientSession, store: ProductStore) -> None:
    await reserved(products, VASE)
    await store.sell(ORDER)
    status, body = await asked(products, "DELETE", f"/reservations/{ORDER}")
    assert (status, body["type"]) == (409, f"{PROBLEM}already-sold")


async def test_an_order_without_a_reservation_is_404(products: aiohttp.ClientSession) -> None:
    assert (await asked(products, "GET", f"/reservations/{ORDER}"))[0] == 404


async def test_without_its_database_it_answers_503() -> None:
    nobody = Database("postgresql://postgres@127.0.0.1:1/x", METADATA)
    health = Health(consul=lambda: True, has_instance=lambda _: True, needs=())
    app = application("products", Service(routes(ProductStore(nobody))), health, Drain())
    with _listening(app, SETTINGS) as listening:
        port = listening.listener.getsockname()[1]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            status, body = await reserved(session, BOOK)
        await listening.finish(1)
    await nobody.close()
    assert (status, body["type"]) == (503, f"{PROBLEM}database-unavailable")


async def test_the_service_is_built_with_its_database_its_expiry_and_its_sales(database_url: str) -> None:
    settings = SETTINGS.model_copy(update={"database_url": SecretStr(database_url), "kafka": "127.0.0.1:1"})
    async with Client("products", lambda _: []) as client:
        service = build(settings, client)
    assert service.needs == ()
    assert service.database is not None
    assert [type(companion).__name__ for companion in service.companions] == ["Expiry", "Consumer", "Consumer"]
    await service.database.close()
