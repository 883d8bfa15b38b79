"""The rules of users."""

import pytest

from brownout_shop.users.domain import InvalidUserError, checked_email, checked_name, checked_password


def test_addresses_are_compared_without_case_and_space() -> None:
    assert checked_email(" Ann@Example.org ") == "ann@example.org"


@pytest.mark.parametrize(
    "email", ["a.n-n+1'x@localhost", "ann@a-b.example.org", "grün_1@bücher.example", f"{'x' * 64}@b.c"]
)
def test_an_address_may_be_in_any_language(email: str) -> None:
    assert checked_email(email) == email


@pytest.mark.parametrize("email", ["", "ann", "ann@", "@example.org", "a b@example.org", "a@b@c"])
@pytest.mark.parametrize("more", ["", "\n"])
def test_what_is_no_address_is_refused_without_being_repeated(email: str, more: str) -> None:
    with pytest.raises(InvalidUserError) as caught:
        checked_email(email + more)
    assert str(caught.value) == "email: something@somewhere"


UNWRITABLE = [
    "a@[",
    'a@,"',
    "().@x",
    "a@[1.2.3.4]",
    "a(b)@c",
    '"a b"@c',
    "a..b@c",
    ".a@b",
    "a@b.",
    "a@-b",
    "a,b@c",
    "a<b@c>",
]


@pytest.mark.parametrize("email", [*UNWRITABLE, f"{'x' * 65}@b.c", f"a@{'b.' * 128}c", f"a@{'b' * 64}"])
def test_what_no_mail_can_be_sent_to_is_no_address(email: str) -> None:
    with pytest.raises(InvalidUserError):
        checked_email(email)


@pytest.mark.parametrize("name", ["", "   ", "x" * 201])
def test_a_name_has_1_to_200_characters(name: str) -> None:
    with pytest.raises(InvalidUserError, match=r"^name:"):
        checked_name(name)


@pytest.mark.parametrize("password", ["seven77", "x" * 1001])
def test_a_password_has_8_to_1000_characters(password: str) -> None:
    with pytest.raises(InvalidUserError, match=r"^password:"):
        checked_password(password)
