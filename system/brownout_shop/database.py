"""A service's own database: few round trips, and no wait without an end.

Every statement commits by itself, so a query costs one round trip on a warm connection; what belongs together is one
statement, with common table expressions: over a slow network a transaction of four round trips takes four times as
long, and holds its locks as long. Waits are ended by
aborting the connection: cancelling a statement needs a round trip too, which a black hole never answers.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import asyncpg
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from sqlalchemy import Executable, MetaData, event, exc, make_url
from sqlalchemy.exc import DisconnectionError, IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from brownout_shop.problems import Problem

__all__ = ["Database", "DatabaseUnavailableError", "Execute", "NotExecutedError", "Ping", "RefusedValueError"]

log = logging.getLogger(__name__)
logging.getLogger("sqlalchemy.engine").setLevel(logging.WARNING)  # at DEBUG it tells rows, password hashes among them

CONNECT_WITHIN_S = 3.0
ANSWER_WITHIN_S = 5.0
PING_WITHIN_S = 2.5  # of the 3 s that /health has (clause 6.5)
PREPARE_WITHIN_S = 30.0
RETRY_S = 0.5
CONNECTIONS = 50
"""Opened as they are needed, and kept: a new one costs three round trips, which a slow network multiplies."""

_NO_ANSWER = (
    exc.DBAPIError,  # refused, cut, aborted by us
    exc.TimeoutError,  # no connection of the pool became free
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
)


Rows: TypeAlias = list[tuple[Any, ...]]
Execute: TypeAlias = Callable[[Executable], Awaitable[Rows]]
"""Executes one statement and returns its rows."""


class DatabaseUnavailableError(Problem):
    """The database did not answer: 503, which counts against us in the caller's breaker."""

    def __init__(self, cause: BaseException | str) -> None:
        reason = str(cause).partition("\n")[0] or type(cause).__name__
        super().__init__(503, "database-unavailable", f"the database does not answer: {reason}")


class RefusedValueError(Problem):
    """The database answered, and does not take a value: a text with a NUL, a number beyond its type's."""

    def __init__(self) -> None:
        super().__init__(422, "invalid", "a text or number that cannot be kept")


class NotExecutedError(DatabaseUnavailableError):
    """There was no connection: surely nothing was executed."""


class Database:
    """The tables of one service.

    Args:
        url: ``postgresql://…``.
        metadata: the tables.
    """

    def __init__(self, url: str, metadata: MetaData) -> None:
        self._metadata = metadata
        self._engine = create_async_engine(
            make_url(url).set(drivername="postgresql+asyncpg"),
            isolation_level="AUTOCOMMIT",
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=ANSWER_WITHIN_S,
            pool_use_lifo=True,
            hide_parameters=True,  # or an error and a log would tell them, password hashes among them
            connect_args={"timeout": CONNECT_WITHIN_S, "ssl": False},
        )
        event.listen(self._engine.sync_engine, "checkout", _refuse_closed)
        # It was released before SQLAlchemy 2.1 and refuses what it works with.
        SQLAlchemyInstrumentor().instrument(engine=self._engine.sync_engine, skip_dep_check=True)
        self._ping = Ping(url)

    async def execute(self, statement: Executable) -> Rows:
        """Execute one statement, committed when this returns, and return its rows.

        Raises:
            NotExecutedError: no connection could be had; it was not executed.
            DatabaseUnavailableError: no answer in time, or none at all; whether it was executed is unknown.
            IntegrityError: a constraint refused it.
            RefusedValueError: a value is none that it takes.
        """
        async with self._connected() as connection:
            result = await connection.execute(statement)
            return [tuple(row) for row in result] if result.returns_rows else []

    async def prepare(self) -> None:
        """Create the tables, trying for 30 s.

        Raises:
            DatabaseUnavailableError: the database did not answer in that time.
        """
        deadline = asyncio.get_running_loop().time() + PREPARE_WITHIN_S
        while True:
            try:
                # Two instances may create a table at once: one is refused, and finds it the next time.
                async with self._connected() as connection:
                    await connection.run_sync(self._metadata.create_all)
            except (DatabaseUnavailableError, exc.DBAPIError) as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise DatabaseUnavailableError(error) from error
                log.warning("the tables are not there yet: %s", error)
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def answers(self) -> bool:
        """Return whether the database answers a ping within 2.5 s."""
        return await self._ping.answered()

    async def close(self) -> None:
        """Close all connections; those in use are aborted when their use ends."""
        self._ping.close()
        await self._engine.dispose()

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        lost: type[DatabaseUnavailableError] = NotExecutedError
        try:
            async with self._engine.connect() as connection:
                raw = (await connection.get_raw_connection()).driver_connection
                assert raw is not None  # noqa: S101 - a checked-out connection has its driver's
                end = asyncio.get_running_loop().call_later(ANSWER_WITHIN_S, raw.terminate)
                lost = DatabaseUnavailableError
                try:
                    yield connection
                finally:
                    end.cancel()
        except (IntegrityError, ProgrammingError):
            raise  # it did answer
        except _NO_ANSWER as error:
            if _refuses_value(error):
                raise RefusedValueError from error
            raise lost(error) from error


class Ping:
    """Asks the database over a connection of its own, so that a busy pool does not look like a lost database.

    However many ask at once, there is one ping under way at most.

    Args:
        url: ``postgresql://…``.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection[Any] | None = None
        self._pending: asyncio.Task[bool] | None = None

    async def answered(self) -> bool:
        """Return whether the ping under way, or a new one, is answered within 2.5 s."""
        if self._pending is None or self._pending.done():
            self._pending = asyncio.create_task(self._ping())
        pending = self._pending
        await asyncio.wait({pending}, timeout=PING_WITHIN_S)
        if not pending.done():
            self.close()
            return False
        return pending.result()

    def close(self) -> None:
        """Abort the connection, which also ends a ping that waits on it."""
        if self._connection is not None:
            self._connection.terminate()

    async def _ping(self) -> bool:
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._url, timeout=PING_WITHIN_S, ssl=False)
            await self._connection.execute("SELECT 1")
        except _NO_ANSWER:
            return False
        return True


def _refuses_value(error: BaseException) -> bool:
    """Return whether it is about a value: the driver cannot send it, or the server's error is of class 22."""
    return isinstance(getattr(getattr(error, "orig", None), "__cause__", None), asyncpg.DataError)


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Make the pool replace a connection that was cut; unlike a pre-ping it costs no round trip."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError("the connection was cut")
