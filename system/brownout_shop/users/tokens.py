"""What lets a user in: password hashes, and tokens signed for an hour."""

import asyncio
import secrets
import time

import argon2
import jwt

from brownout_shop.users.domain import TOKEN_LIFE_S

__all__ = ["Passwords", "Tokens"]

ALGORITHM = "HS256"


class Passwords:
    """Argon2id, each hash in a thread: it is meant to be slow.

    The parameters are OWASP's recommendation (19 MiB, 2 passes, 1 lane), a quarter of the library's work.
    """

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._nobodys = self._hasher.hash(secrets.token_hex())

    async def hashed(self, password: str) -> str:
        """Return the hash to keep."""
        return await asyncio.to_thread(self._hasher.hash, password)

    async def match(self, password_hash: str | None, password: str) -> bool:
        """Return whether the hash is this password's; to find that there is none takes as long."""
        try:
            return await asyncio.to_thread(self._hasher.verify, password_hash or self._nobodys, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False


class Tokens:
    """JSON web tokens that say who one is.

    Args:
        secret: what they are signed with, 32 bytes or more.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def issue(self, user_id: str, *, now_s: float | None = None) -> tuple[str, int]:
        """Return a token for a user, and when it expires, in seconds since 1970."""
        expires_at = int(time.time() if now_s is None else now_s) + TOKEN_LIFE_S
        return jwt.encode({"sub": user_id, "exp": expires_at}, self._secret, ALGORITHM), expires_at

    def user_id(self, token: str) -> str | None:
        """Return whose token it is, or None if it is expired, forged or none at all."""
        try:
            required = {"require": ["exp", "sub"]}
            claims = jwt.decode(token, self._secret, algorithms=[ALGORITHM], options=required)  # type: ignore[arg-type]
        except (jwt.InvalidTokenError, RecursionError):  # one whose JSON is too deep to read
            return None
        return str(claims["sub"])
