"""Users' accounts, whatever the protocol: CreateUser, GetUser, UpdateUser, passwords, roles (clauses 2.1, 6.3)."""

import contextlib
import math
import time
from collections.abc import Iterator

from brownout_shop.problems import RETRY_AFTER, Problem
from brownout_shop.resilience.deadline import deadline_ns
from brownout_shop.resilience.limiter import Limiter, RateLimitError
from brownout_shop.telemetry import metrics
from brownout_shop.users.domain import InvalidUserError, Role, User, checked_email, checked_name, checked_password
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
        """Save a new user, who is a customer.

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
        metrics.LIMITER_WAITS.observe(time.perf_counter() - began, metrics.exemplar())
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

    async def change_password(self, user_id: str, old: str, new: str) -> User:
        """Change a password and return the user; tokens that were issued before are good for the rest of their hour.

        Raises:
            Problem: 403 where the old one is not the user's, 422 as for a new user, 404 for an unknown one.
        """
        with _refusals():
            checked_password(new)
        old_hash = await self._users.password_hash(user_id)
        if old_hash is None:
            raise _unknown()
        if await self._passwords.match(old_hash, old):
            changed = await self._users.change_password(user_id, old_hash, await self._passwords.hashed(new))
            if changed:
                return changed
        raise Problem(403, "wrong-password", "the old password is another one")

    async def change_role(self, user_id: str, role: Role, *, by: str) -> User:
        """Change another's role and return the user; one's own stays, so that the shop is never left without an admin.

        Args:
            user_id: whose role.
            role: what it is from now on.
            by: who changes it, and is an admin when it is changed, not only when it was asked for.

        Raises:
            Problem: 403 for one's own role and for who is no admin, 404 for an unknown user.
        """
        changed = await self._users.change_role(user_id, role, by=by)
        if changed is None:
            _found(await self._users.get(user_id))
            raise Problem(403, "forbidden", "a role is for another user, who is an admin, to change")
        return changed


def _found(user: User | None) -> User:
    if user is None:
        raise _unknown()
    return user


def _unknown() -> Problem:
    return Problem(404, "not-found", "no such user")


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Answer what breaks the rules as a problem."""
    try:
        yield
    except InvalidUserError as error:
        raise Problem(422, "invalid", str(error)) from error
    except EmailTakenError as error:
        raise Problem(409, "email-taken", "another user has this e-mail address") from error
