"""The rules of users."""

import pytest

from brownout_shop.users.domain import InvalidUserError, checked_email, checked_name, checked_password


def test_addresses_are_compared_without_case_and_space() -> None:
    assert checked_email(" Ann@Example.org ") == "ann@example.org"


@pytest.mark.parametrize("email", ["", "ann", "ann@", "@example.org", "a b@example.org", "a@b@c"])
def test_what_is_no_address_is_refused_without_being_repeated(email: str) -> None:
    with pytest.raises(InvalidUserError) as caught:
        checked_email(email)
    assert str(caught.value) == "email: something@somewhere"


@pytest.mark.parametrize("name", ["", "   ", "x" * 201])
def test_a_name_has_1_to_200_characters(name: str) -> None:
    with pytest.raises(InvalidUserError, match=r"^name:"):
        checked_name(name)


@pytest.mark.parametrize("password", ["seven77", "x" * 1001])
def test_a_password_has_8_to_1000_characters(password: str) -> None:
    with pytest.raises(InvalidUserError, match=r"^password:"):
        checked_password(password)
