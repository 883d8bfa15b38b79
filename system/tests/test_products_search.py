"""The search in the catalogue, by a real Postgres (clause 2.2)."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from brownout_shop.database import Database
from brownout_shop.products.domain import CATALOGUE, is_sku
from brownout_shop.products.store import METADATA, ProductStore

EVERYTHING = [product.sku for product in CATALOGUE]
NEW = "INSERT INTO products VALUES (:sku, 'Tin', 'Small', 100, 'EUR', 1, 0, 0)"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, METADATA)
    await database.prepare()
    yield database
    await database.close()


@pytest.fixture
def products(database: Database) -> ProductStore:
    return ProductStore(database)


async def found(products: ProductStore, query: str) -> list[str]:
    return [product.sku for product in await products.search(query, offset=0, limit=100)]


@pytest.mark.parametrize(
    ("query", "skus"),
    [
        ("RECOVERIES", ["book-2"]),
        ("recovery", ["book-2"]),
        ("FAILURE book", ["book-1"]),
        ('"locking plug"', ["cable-1", "cable-2"]),
        ('"plug locking"', []),
        ("mug -chipped", ["mug-1"]),
        ("vase or fuse", ["fuse-1", "vase-1"]),
        ("emergen", []),
        ("the", []),
        ("%", []),
        ("_", []),
        ("'; --", []),
        ("", EVERYTHING),
    ],
)
async def test_words_are_found_in_whatever_form_and_what_is_no_word_finds_nothing(
    products: ProductStore, query: str, skus: list[str]
) -> None:
    assert sorted(await found(products, query)) == skus


async def test_a_word_in_the_name_ranks_before_one_in_the_description_and_then_the_sku_decides(
    products: ProductStore,
) -> None:
    assert await found(products, "power") == ["lamp-1", "torch-1"]
    assert await found(products, "book") == ["book-1", "book-2", "book-3"]
    assert await found(products, "open or circuit or lamp") == ["switch-1", "lamp-1"]


@pytest.mark.parametrize("sku", [*EVERYTHING, "MUG-2"])
async def test_a_sku_finds_its_product(products: ProductStore, sku: str) -> None:
    assert (await found(products, sku))[0] == sku.lower()


@pytest.mark.parametrize("sku", ["or", "-x", "a.b_c", "1.5e-3", "the", "www.tin.example", "..."])
async def test_a_sku_that_reads_like_something_else_finds_its_product_as_well(
    products: ProductStore, database: Database, sku: str
) -> None:
    assert is_sku(sku)
    await database.execute(text(NEW).bindparams(sku=sku))
    assert sku in await found(products, sku)


async def test_what_changes_its_name_is_found_by_the_new_one(products: ProductStore, database: Database) -> None:
    await database.execute(text("UPDATE products SET name = 'Beaker' WHERE sku = 'mug-1'"))
    assert await found(products, "beakers") == ["mug-1"]


async def test_pages_follow_each_other_without_a_gap(products: ProductStore) -> None:
    for query in ("", "book or mug or cable or power"):
        whole = await products.search(query, offset=0, limit=100)
        pages = [await products.search(query, offset=offset, limit=3) for offset in range(0, 12, 3)]
        assert [product for page in pages for product in page] == whole
        assert len(whole) > 6
