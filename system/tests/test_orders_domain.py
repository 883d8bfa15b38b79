"""The rules of orders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout_shop.orders.domain import InvalidOrderError, Item, Status, Wanted, before, check, new_order

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


def test_a_shipped_order_can_no_longer_be_cancelled() -> None:
    assert Status.SHIPPED not in before(Status.CANCELLED)


def test_nothing_becomes_pending_again() -> None:
    assert not before(Status.PENDING)
