"""The rules of payments."""

import pytest

from brownout_shop.payments.domain import Payment, Standing, Status, before, is_final, standing


def test_a_new_payment_is_pending_and_without_a_charge() -> None:
    payment = Payment("p", "o", "u", 1990, "EUR")
    assert (payment.status, payment.charge_id) == (Status.PENDING, "")


def test_nothing_becomes_pending_again() -> None:
    assert not before(Status.PENDING)


def test_a_charge_outranks_a_refusal_and_not_the_other_way_round() -> None:
    assert Status.REFUSED in before(Status.CHARGED)
    assert Status.CHARGED not in before(Status.REFUSED)


@pytest.mark.parametrize("status", Status)
def test_a_refunded_or_voided_payment_stays_so(status: Status) -> None:
    assert not before(status) & {Status.REFUNDED, Status.VOIDED}


def test_what_was_charged_is_refunded_and_never_voided() -> None:
    assert Status.CHARGED in before(Status.REFUNDED)
    assert Status.CHARGED not in before(Status.VOIDED)


@pytest.mark.parametrize("status", Status)
def test_no_payment_comes_to_where_it_is(status: Status) -> None:
    assert status not in before(status)


@pytest.mark.parametrize(
    ("order_status", "means"),
    [
        ("pending", Standing.DUE),
        ("paid", Standing.PAID),
        ("shipped", Standing.PAID),
        ("delivered", Standing.PAID),
        ("cancelled", Standing.CLOSED),
        ("a status to come", Standing.CLOSED),
    ],
)
def test_only_a_pending_order_is_due(order_status: str, means: Standing) -> None:
    assert standing(order_status) is means


@pytest.mark.parametrize(
    ("refusal", "final"),
    [(400, True), (402, True), (403, True), (422, True), (408, False), (409, False), (425, False), (429, False)],
)
def test_a_provider_that_asks_to_come_again_has_not_refused(refusal: int, final: bool) -> None:  # noqa: FBT001 - a table's column
    assert is_final(refusal) is final
