"""The rules of orders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout_shop.orders.domain import InvalidOrderError, Item, Status, before, new_order

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
    ("items", "currency", "named"),
    [
        ([], "EUR", "items"),
        ([ONE] * 101, "EUR", "items"),
        ([ONE], "eur", "currency"),
        ([ONE], "EURO", "currency"),
        ([Item("", 1, 1)], "EUR", "sku"),
        ([Item("a", 0, 1)], "EUR", "quantity"),
        ([Item("a", 10_001, 1)], "EUR", "quantity"),
        ([Item("a", 1, -1)], "EUR", "price"),
    ],
)
def test_an_order_out_of_bounds_is_refused_by_the_name_of_what_is_wrong(
    items: list[Item], currency: str, named: str
) -> None:
    with pytest.raises(InvalidOrderError, match=f"^{named}:"):
        new_order("1", "u", items, currency)


def test_a_shipped_order_can_no_longer_be_cancelled() -> None:
    assert Status.SHIPPED not in before(Status.CANCELLED)


def test_nothing_becomes_pending_again() -> None:
    assert not before(Status.PENDING)
