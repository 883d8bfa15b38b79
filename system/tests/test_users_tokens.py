"""Tokens and password hashes."""

import time

from brownout_shop.users.tokens import Passwords, Tokens

SECRET = "a secret of these tests only, 32 bytes or more"


def test_a_token_says_whose_it_is() -> None:
    token, expires_at = Tokens(SECRET).issue("u1")
    assert Tokens(SECRET).user_id(token) == "u1"
    assert 3590 < expires_at - time.time() <= 3600


def test_an_expired_token_is_nobodys() -> None:
    token, _ = Tokens(SECRET).issue("u1", now_s=time.time() - 3601)
    assert Tokens(SECRET).user_id(token) is None


def test_a_token_under_another_secret_is_nobodys() -> None:
    token, _ = Tokens(SECRET[::-1]).issue("u1")
    assert Tokens(SECRET).user_id(token) is None


def test_what_is_no_token_is_nobodys() -> None:
    assert Tokens(SECRET).user_id("x.y.z") is None


async def test_only_the_right_password_matches_its_hash() -> None:
    passwords = Passwords()
    kept = await passwords.hashed("secret-123")
    assert kept.startswith("$argon2id$")
    assert await passwords.match(kept, "secret-123")
    assert not await passwords.match(kept, "secret-124")


async def test_a_broken_hash_matches_nothing() -> None:
    assert not await Passwords().match("no hash", "secret-123")
