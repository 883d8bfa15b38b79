"""The users' own table."""

import uuid
from dataclasses import asdict
from typing import Any

from sqlalchemy import Column, ColumnElement, MetaData, Table, Text, exists, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from brownout_shop.database import Database
from brownout_shop.users.domain import Role, User

__all__ = ["METADATA", "EmailTakenError", "UserStore"]

METADATA = MetaData()
_users = Table(
    "users",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
)
_SEEN = (_users.c.id, _users.c.name, _users.c.email, _users.c.role)


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
        """Save a new customer.

        Raises:
            EmailTakenError: the address is taken.
        """
        user = User(uuid.uuid4().hex, name, email, Role.CUSTOMER)
        try:
            await self._database.execute(insert(_users).values(_row(user, password_hash)))
        except IntegrityError as error:
            raise EmailTakenError from error
        return user

    async def add_first_admin(self, name: str, email: str, password_hash: str) -> User | None:
        """Save and return an admin if there is none; nothing is done either where a user has the address."""
        row = _row(User(uuid.uuid4().hex, name, email, Role.ADMIN), password_hash)
        nobody = ~exists().where(_users.c.role == Role.ADMIN)
        made = insert(_users).from_select([*row], select(*map(literal, row.values())).where(nobody))
        return _first(await self._database.execute(made.on_conflict_do_nothing().returning(*_SEEN)))

    async def get(self, user_id: str) -> User | None:
        """Return the user, if there is one."""
        return _first(await self._database.execute(select(*_SEEN).where(_users.c.id == user_id)))

    async def credentials(self, email: str) -> tuple[str, str] | None:
        """Return the id and password hash that belong to an address, if it has a user."""
        query = select(_users.c.id, _users.c.password_hash).where(_users.c.email == email)
        for user_id, password_hash in await self._database.execute(query):
            return user_id, password_hash
        return None

    async def password_hash(self, user_id: str) -> str | None:
        """Return the hash of a user's password, if there is such a user."""
        rows = await self._database.execute(select(_users.c.password_hash).where(_users.c.id == user_id))
        return str(rows[0][0]) if rows else None

    async def change(self, user_id: str, *, name: str | None, email: str | None) -> User | None:
        """Change what is given and return the user, if there is one.

        Raises:
            EmailTakenError: the address is taken.
        """
        given = {"name": name, "email": email}
        changes = {key: value for key, value in given.items() if value is not None}
        if not changes:
            return await self.get(user_id)
        try:
            return await self._changed(_users.c.id == user_id, changes)
        except IntegrityError as error:
            raise EmailTakenError from error

    async def change_role(self, user_id: str, role: Role, *, by: str) -> User | None:
        """Give a user a role and return the user, if there is one, and if `by` is another, who is an admin then.

        Both rows are locked first, in the order of their ids: of two who demote each other at once one is no admin any
        more when it is its turn.
        """
        locked = select(_users.c.id, _users.c.role).where(_users.c.id.in_([user_id, by]))
        both = locked.order_by(_users.c.id).with_for_update().cte("both")
        admin = select(both.c.role).where(both.c.id == by, both.c.id != user_id).scalar_subquery() == Role.ADMIN.value
        return await self._changed((_users.c.id == user_id) & admin, {"role": role.value})

    async def change_password(self, user_id: str, old_hash: str, new_hash: str) -> User | None:
        """Replace a password's hash and return the user; None where it is another one meanwhile."""
        still_old = (_users.c.id == user_id) & (_users.c.password_hash == old_hash)
        return await self._changed(still_old, {"password_hash": new_hash})

    async def _changed(self, which: ColumnElement[bool], changes: dict[str, str]) -> User | None:
        return _first(await self._database.execute(update(_users).where(which).values(changes).returning(*_SEEN)))


def _row(user: User, password_hash: str) -> dict[str, str]:
    return {**asdict(user), "role": user.role.value, "password_hash": password_hash}


def _first(rows: list[tuple[Any, ...]]) -> User | None:
    for user_id, name, email, role in rows:
        return User(user_id, name, email, Role(role))
    return None
