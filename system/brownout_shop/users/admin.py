"""The first admin, who makes the others: named by the environment (clause 2.1)."""

import logging

from brownout_shop.events.worker import Worker
from brownout_shop.users.domain import checked_email, checked_password
from brownout_shop.users.store import UserStore
from brownout_shop.users.tokens import Passwords

__all__ = ["FirstAdmin"]

NAME = "Admin"

log = logging.getLogger(__name__)


class FirstAdmin:
    """A companion that makes an admin where there is none yet, however many instances have one each.

    Args:
        users: where it is kept.
        passwords: what hashes its password.
        email: whose it is; a user who has this address already stays what it is.
        password: for the first log-in.

    Raises:
        InvalidUserError: one of them breaks a rule.
    """

    def __init__(self, users: UserStore, passwords: Passwords, email: str, password: str) -> None:
        self._users = users
        self._passwords = passwords
        self._email = checked_email(email)
        self._password = checked_password(password)
        self._worker = Worker("first admin", self._make)

    async def start(self) -> None:
        """Begin, with or without a database."""
        self._worker.start()

    async def stop(self, within_s: float) -> None:
        """Finish what is begun."""
        await self._worker.stop(within_s)

    async def _make(self) -> None:
        made = await self._users.add_first_admin(NAME, self._email, await self._passwords.hashed(self._password))
        if made is not None:
            log.info("the first admin is user %s", made.id)
        await self._worker.stopping.wait()
