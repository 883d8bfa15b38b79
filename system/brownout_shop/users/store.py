"""The users' own table."""

import uuid
from typing import Any

from sqlalchemy import Column, MetaData, Table, Text, insert, select, update
from sqlalchemy.exc import IntegrityError

from brownout_shop.database import Database
from brownout_shop.users.domain import User

__all__ = ["METADATA", "EmailTakenError", "UserStore"]

METADATA = MetaData()
_users = Table(
    "users",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
)
_SEEN = (_users.c.id, _users.c.name, _users.c.email)


class EmailTakenError(Exception):
    """Another user has this address."""


class UserStore:
    """Reads and writes users; each method is one statement and raises DatabaseUnavailableError.

    Args:
        database: where the table is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, name: str, email: str, password_hash: str) -> User:
        """Save a new user.

        Raises:
            EmailTakenError: the address is taken.
        """
        user = User(uuid.uuid4().hex, name, email)
        row = {"id": user.id, "name": name, "email": email, "password_hash": password_hash}
        try:
            await self._database.execute(insert(_users).values(row))
        except IntegrityError as error:
            raise EmailTakenError from error
        return user

    async def get(self, user_id: str) -> User | None:
        """Return the user, if there is one."""
        return _first(await self._database.execute(select(*_SEEN).where(_users.c.id == user_id)))

    async def credentials(self, email: str) -> tuple[str, str] | None:
        """Return the id and password hash that belong to an address, if it has a user."""
        query = select(_users.c.id, _users.c.password_hash).where(_users.c.email == email)
        for user_id, password_hash in await self._database.execute(query):
            return user_id, password_hash
        return None

    async def change(self, user_id: str, *, name: str | None, email: str | None) -> User | None:
        """Change what is given and return the user, if there is one.

        Raises:
            EmailTakenError: the address is taken.
        """
        given = {"name": name, "email": email}
        changes = {key: value for key, value in given.items() if value is not None}
        if not changes:
            return await self.get(user_id)
        statement = update(_users).where(_users.c.id == user_id).values(changes).returning(*_SEEN)
        try:
            return _first(await self._database.execute(statement))
        except IntegrityError as error:
            raise EmailTakenError from error


def _first(rows: list[tuple[Any, ...]]) -> User | None:
    return User(*rows[0]) if rows else None
