"""What a cell's services keep and tell, straight at the servers: rows of their databases, messages of their topics."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import asyncpg
import msgspec

from brownout.cells.wiring import database_of
from brownout.errors import CellError

__all__ = ["MOST_ROWS", "LocalStores", "Log", "create_databases", "drop_databases"]

MOST_ROWS = 10_000
"""Rows that a query may have: all of them go into the history."""

CONNECT_S = 5.0
ANSWER_S = 10.0


class Log(Protocol):
    """The broker's topics, as `brownout.cells.kafka.Topics` reads them."""

    async def messages(self, topic: str) -> Sequence[msgspec.Struct]:
        """All messages of a topic from its beginning: ``key``, ``value``, ``headers`` and more; none of no topic."""

    async def publish(self, topic: str, value: str) -> int:
        """Put a message on a topic, or all that are there once more; returns how many were put there."""


class LocalStores:
    """Databases and topics of one cell; implements `brownout.cell.Stores`.

    Args:
        cell: the cell's name, the prefix of its topics and databases.
        postgres: ``host:port`` of the server itself; None where the system has no database.
        log: the broker's topics; None where the system has no broker.
    """

    def __init__(self, cell: str, postgres: str | None, log: Log | None = None) -> None:
        self._cell = cell
        self._postgres = postgres
        self._log = log

    async def select(self, service: str, sql: str) -> list[dict[str, Any]]:
        """The rows of a query on a service's own database, which cannot change anything.

        Raises:
            CellError: the database refused it or did not answer, there is none, or more than ``MOST_ROWS``.
        """
        if self._postgres is None:
            raise CellError(f"{self._cell}/{service}", f"{sql}: no database", "name {postgres} in the topology")
        try:
            rows = await self._rows(database_of(self._cell, service), sql)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise CellError(f"{self._cell}/{service}", f"{sql}: {error or type(error).__name__}") from error
        if len(rows) > MOST_ROWS:
            raise CellError(f"{self._cell}/{service}", f"{sql}: more than {MOST_ROWS} rows", "select fewer")
        return [msgspec.to_builtins(dict(row), enc_hook=str) for row in rows]

    async def messages(self, topic: str) -> list[dict[str, Any]]:
        """All messages of a topic of the cell.

        Raises:
            CellError: there is no broker, or it did not answer.
        """
        if self._log is None:
            raise CellError(self._cell, f"no broker to read {topic!r} from", "name {kafka} in the topology")
        return [msgspec.to_builtins(message) for message in await self._log.messages(f"{self._cell}.{topic}")]

    async def publish(self, topic: str, value: str) -> int:
        """Put a message on a topic of the cell, or all that are there once more.

        Raises:
            CellError: there is no broker, or it did not answer.
        """
        if self._log is None:
            raise CellError(self._cell, f"no broker to publish on {topic!r}", "name {kafka} in the topology")
        return await self._log.publish(f"{self._cell}.{topic}", value)

    async def _rows(self, database: str, sql: str) -> list[Any]:
        connection = await asyncpg.connect(
            f"postgresql://postgres@{self._postgres}/{database}", timeout=CONNECT_S, command_timeout=ANSWER_S
        )
        try:
            async with connection.transaction(readonly=True):
                cursor = await connection.cursor(sql)
                return list(await cursor.fetch(MOST_ROWS + 1))
        finally:
            await connection.close(timeout=CONNECT_S)


async def create_databases(postgres: str, names: Iterable[str]) -> None:
    """Make databases, at a server's ``host:port``.

    Raises:
        CellError: one is there already, or the server did not answer.
    """
    await _each(postgres, "created", [f'CREATE DATABASE "{name}"' for name in names])


async def drop_databases(postgres: str, names: Iterable[str]) -> None:
    """Remove databases, whoever still uses them.

    Raises:
        CellError: the server did not answer.
    """
    await _each(postgres, "dropped", [f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)' for name in names])


async def _each(postgres: str, done: str, statements: Iterable[str]) -> None:
    try:
        connection = await asyncpg.connect(f"postgresql://postgres@{postgres}/postgres", timeout=ANSWER_S)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise CellError("postgres", f"databases cannot be {done}: {error}") from None
