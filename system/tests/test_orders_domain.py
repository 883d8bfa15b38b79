"""The rules of orders."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout_shop.orders.domain import (
    InvalidOrderError,
    Item,
    Status,
    Wanted,
    before,
    check,
    consists_of,
    keyed_id,
    new_order,
)

ONE = Item("a", 1, 100)


@given(
    st.lists(st.builds(Item, st.just("a"), st.integers(1, 10_000), st.integers(0, 10**12)), min_size=1, max_size=100)
)
def test_the_amount_is_the_sum_over_the_items_and_fits_a_column(items: list[Item]) -> None:
    order = new_order("1", "u", items, "EUR")
    assert order.amount == sum(item.quantity * item.price for item in items)
    assert order.amount < 2**63


def test_a_new_order_is_pending() -> None:
    assert new_order("1", "u", [ONE], "EUR").status == "pending"


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ([], "items"),
        ([Wanted("a", 1)] * 101, "items"),
        ([Wanted("", 1)], "sku"),
        ([Wanted("a" * 101, 1)], "sku"),
        ([Wanted("a", 0)], "quantity"),
        ([Wanted("a", 1), Wanted("b", 10_001)], "quantity"),
    ],
)
def test_what_cannot_be_ordered_is_refused_by_the_name_of_what_is_wrong(wanted: list[Wanted], named: str) -> None:
    with pytest.raises(InvalidOrderError, match=f"^{named}:"):
        check(wanted)


def test_a_hundred_things_ten_thousand_of_each_can_be_ordered() -> None:
    check([Wanted("a" * 100, 10_000)] * 100)


@pytest.mark.parametrize(
    ("item", "currency", "named"),
    [(ONE, "eur", "currency"), (ONE, "EURO", "currency"), (Item("a", 1, -1), "EUR", "price")],
)
def test_a_price_out_of_bounds_makes_no_order(item: Item, currency: str, named: str) -> None:
    with pytest.raises(InvalidOrderError, match=f"^{named}:"):
        new_order("1", "u", [item], currency)


def test_an_order_goes_one_way_to_its_buyer_and_can_be_cancelled_until_it_is_shipped() -> None:
    ways = {(source, target) for target in Status for source in before(target)}
    assert ways == {
        ("pending", "paid"),
        ("paid", "shipped"),
        ("shipped", "delivered"),
        ("pending", "cancelled"),
        ("paid", "cancelled"),
    }


@given(st.text(), st.text(), st.text(), st.text())
def test_another_user_or_another_key_is_another_order(user: str, key: str, other_user: str, other_key: str) -> None:
    names = [name.replace("\n", "") for name in (user, key, other_user, other_key)]  # which no header has
    first, second = keyed_id(names[0], names[1]), keyed_id(names[2], names[3])
    assert (first == second) == (names[:2] == names[2:])
    assert re.fullmatch("[0-9a-f]{32}", first)


@given(st.lists(st.builds(Wanted, st.sampled_from("abc"), st.integers(1, 9)), min_size=1, max_size=9), st.randoms())
def test_an_order_consists_of_what_is_wanted_in_whatever_sequence_and_portions(
    wanted: list[Wanted], chance: random.Random
) -> None:
    order = new_order("1", "u", [Item(one.sku, one.quantity, 1) for one in wanted], "EUR")
    single = [Wanted(one.sku, 1) for one in wanted for _ in range(one.quantity)]
    chance.shuffle(single)
    assert consists_of(order, single)
    assert not consists_of(order, single[1:])
    assert not consists_of(order, [*single[1:], Wanted("d", 1)])
