"""Users' accounts, whatever the protocol that asks for them: CreateUser, GetUser, UpdateUser (clauses 2.1, 6.3)."""

import contextlib
import math
import time
from collections.abc import Iterator

from brownout_shop.problems import RETRY_AFTER, Problem
from brownout_shop.resilience.deadline import deadline_ns
from brownout_shop.resilience.limiter import Limiter, RateLimitError
from brownout_shop.telemetry import metrics
from brownout_shop.users.domain import InvalidUserError, User, checked_email, checked_name, checked_password
from brownout_shop.users.store import EmailTakenError, UserStore
from brownout_shop.users.tokens import Passwords

__all__ = ["Accounts"]


class Accounts:
    """What others may do with users; what is refused is raised as a problem.

    Args:
        users: where they are kept.
        passwords: what hashes their passwords.
        limiter: what GetUser waits on, the same one for all protocols.
    """

    def __init__(self, users: UserStore, passwords: Passwords, limiter: Limiter) -> None:
        self._users = users
        self._passwords = passwords
        self._limiter = limiter

    async def create(self, name: str, email: str, password: str) -> User:
        """Save a new user.

        Raises:
            Problem: 422 for data that break a rule, 409 for an address that another user has.
        """
        with _refusals():
            name, email = checked_name(name), checked_email(email)
            return await self._users.add(name, email, await self._passwords.hashed(checked_password(password)))

    async def get(self, user_id: str) -> User:
        """Return a user, waiting for the limiter's token first (clause 6.3).

        Raises:
            Problem: 429 if the token would come after the caller's deadline, 404 for an unknown user.
        """
        began = time.perf_counter()
        try:
            await self._limiter.wait(deadline_ns=deadline_ns())
        except RateLimitError as error:
            metrics.LIMITER_REFUSALS.inc()
            wait_s = max(1, math.ceil(self._limiter.wait_ns() / 1e9))
            raise Problem(429, "rate-limited", str(error), {RETRY_AFTER: str(wait_s)}) from error
        metrics.LIMITER_WAITS.observe(time.perf_counter() - began)
        return _found(await self._users.get(user_id))

    async def change(self, user_id: str, *, name: str | None, email: str | None) -> User:
        """Change what is given and return the user.

        Raises:
            Problem: 422, 409 as for a new user, 404 for an unknown one.
        """
        with _refusals():
            name = None if name is None else checked_name(name)
            email = None if email is None else checked_email(email)
            return _found(await self._users.change(user_id, name=name, email=email))


def _found(user: User | None) -> User:
    if user is None:
        raise Problem(404, "not-found", "no such user")
    return user


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Answer what breaks the rules as a problem."""
    try:
        yield
    except InvalidUserError as error:
        raise Problem(422, "invalid", str(error)) from error
    except EmailTakenError as error:
        raise Problem(409, "email-taken", "another user has this e-mail address") from error
