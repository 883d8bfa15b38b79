"""The rules of products and reservations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout_shop.products.domain import (
    CATALOGUE,
    InvalidReservationError,
    Item,
    Offer,
    OutOfStockError,
    checked_items,
    is_sku,
    refusal,
)

ITEMS = st.lists(st.builds(Item, st.sampled_from("abcd"), st.integers(1, 100)), min_size=1, max_size=20)


@given(ITEMS)
def test_checked_items_come_by_sku_and_each_sku_once(items: list[Item]) -> None:
    skus = [item.sku for item in checked_items(items)]
    assert skus == sorted({item.sku for item in items})


@given(ITEMS)
def test_the_quantities_of_a_sku_are_added_up(items: list[Item]) -> None:
    for checked in checked_items(items):
        assert checked.quantity == sum(item.quantity for item in items if item.sku == checked.sku)


@pytest.mark.parametrize(
    ("items", "named"),
    [
        ([], "items"),
        ([Item(f"sku-{number}", 1) for number in range(101)], "items"),
        ([Item("", 1)], "sku"),
        ([Item("a b", 1)], "sku"),
        ([Item("a" * 101, 1)], "sku"),
        ([Item("a", 0)], "quantity"),
        ([Item("a", 5), Item("a", -1)], "quantity"),
        ([Item("a", 10_001)], "quantity"),
        ([Item("a", 6_000), Item("a", 6_000)], "quantity"),
    ],
)
def test_items_out_of_bounds_are_refused_by_the_name_of_what_is_wrong(items: list[Item], named: str) -> None:
    with pytest.raises(InvalidReservationError, match=f"^{named}:"):
        checked_items(items)


def test_what_is_not_in_the_catalogue_is_named() -> None:
    why = refusal([Item("a", 1), Item("b", 1)], [Offer("a", 5, "EUR", 9)])
    assert isinstance(why, InvalidReservationError)
    assert str(why) == "sku: no such product: b"


def test_prices_in_two_currencies_make_no_reservation() -> None:
    why = refusal([Item("a", 1), Item("b", 1)], [Offer("a", 5, "EUR", 9), Offer("b", 5, "CHF", 9)])
    assert isinstance(why, InvalidReservationError)
    assert str(why) == "items: in one currency, not in CHF, EUR"


def test_too_few_pieces_are_told_with_what_is_left() -> None:
    why = refusal([Item("a", 1), Item("b", 4)], [Offer("a", 5, "EUR", 9), Offer("b", 5, "EUR", 3)])
    assert isinstance(why, OutOfStockError)
    assert str(why) == "b: 4 wanted, 3 left"


def test_the_catalogue_names_each_thing_once_and_has_a_book() -> None:
    skus = [product.sku for product in CATALOGUE]
    assert len(skus) == len(set(skus))
    assert all(is_sku(sku) for sku in skus)
    assert [(p.price, p.currency, p.stock) for p in CATALOGUE if p.sku == "book-1"] == [(1990, "EUR", 1_000_000)]
