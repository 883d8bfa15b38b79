"""Rows of a real database and messages of a topic, as the harness reads them beside the system."""

from collections.abc import Sequence
from itertools import count

import asyncpg
import msgspec
import pytest

from brownout.cells import stores
from brownout.cells.stores import LocalStores, own_databases
from brownout.errors import CellError
from brownout.servers import Addresses
from brownout.servers.ports import free_port

_cells = count()


class Message(msgspec.Struct):
    """One message of a topic."""

    key: str
    value: dict[str, str]
    headers: dict[str, str]


class Log:
    """A broker that keeps one topic."""

    async def messages(self, topic: str) -> Sequence[msgspec.Struct]:
        return [Message("7", {"order_id": "7"}, {"event-id": "e"})] if topic == "s1.order.created" else []


@pytest.fixture
async def cell(servers: Addresses) -> str:
    """A cell whose orders have a database with a table in it."""
    name = f"stores-{next(_cells)}"
    admin = await asyncpg.connect(f"postgresql://postgres@{servers.postgres}/postgres")
    await admin.execute(f'CREATE DATABASE "{name}_orders"')
    await admin.close()
    connection = await asyncpg.connect(f"postgresql://postgres@{servers.postgres}/{name}_orders")
    await connection.execute("CREATE TABLE orders (id uuid, amount numeric, at timestamptz, note text)")
    await connection.execute(
        "INSERT INTO orders VALUES ('00000000-0000-0000-0000-000000000007', 19.90, '2026-01-02T03:04:05Z', NULL)"
    )
    await connection.close()
    return name


@pytest.mark.servers
async def test_rows_of_a_services_database_are_fit_for_json(servers: Addresses, cell: str) -> None:
    rows = await LocalStores(cell, servers.postgres).select("orders", "SELECT id, amount, at, note FROM orders")
    assert msgspec.json.decode(msgspec.json.encode(rows)) == rows
    assert rows == [
        {
            "id": "00000000-0000-0000-0000-000000000007",
            "amount": "19.90",
            "at": "2026-01-02T03:04:05Z",
            "note": None,
        }
    ]


@pytest.mark.servers
@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELECT nothing FROM orders", 'column "nothing" does not exist'),
        ("SELECT * FROM nowhere", 'relation "nowhere" does not exist'),
        ("DELETE FROM orders RETURNING id", "read-only transaction"),
    ],
)
async def test_a_query_that_is_wrong_or_changes_something_is_refused(
    servers: Addresses, cell: str, sql: str, told: str
) -> None:
    with pytest.raises(CellError, match=told):
        await LocalStores(cell, servers.postgres).select("orders", sql)


@pytest.mark.servers
async def test_more_rows_than_the_bound_are_refused(
    servers: Addresses, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MOST_ROWS", 3)
    reader = LocalStores(cell, servers.postgres)
    assert len(await reader.select("orders", "SELECT generate_series(1, 3)")) == 3
    with pytest.raises(CellError, match="more than 3 rows"):
        await reader.select("orders", "SELECT generate_series(1, 4)")


@pytest.mark.servers
async def test_a_query_that_does_not_end_is_given_up(
    servers: Addresses, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "ANSWER_S", 0.3)
    with pytest.raises(CellError, match="pg_sleep"):
        await LocalStores(cell, servers.postgres).select("orders", "SELECT pg_sleep(20)")


async def test_a_database_that_is_away_is_an_error() -> None:
    with pytest.raises(CellError, match="c1/orders: SELECT 1: "):
        await LocalStores("c1", f"127.0.0.1:{free_port()}").select("orders", "SELECT 1")


async def test_messages_are_those_of_the_cells_own_topic() -> None:
    found = await LocalStores("s1", "", Log()).messages("order.created")
    assert found == [{"key": "7", "value": {"order_id": "7"}, "headers": {"event-id": "e"}}]
    assert await LocalStores("s2", "", Log()).messages("order.created") == []


async def test_without_a_broker_there_are_no_messages_to_read() -> None:
    with pytest.raises(CellError, match="no broker"):
        await LocalStores("s1", "").messages("order.created")


@pytest.mark.servers
async def test_databases_go_with_their_cell_whoever_still_uses_them(servers: Addresses) -> None:
    names = [f"own-{next(_cells)}_{service}" for service in ("orders", "users")]
    server = f"postgresql://postgres@{servers.postgres}"
    async with own_databases(servers.postgres, names):
        used = [await asyncpg.connect(f"{server}/{name}") for name in names]
    for connection in used:
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.execute("SELECT 1")
    admin = await asyncpg.connect(f"{server}/postgres")
    assert not await admin.fetchval("SELECT count(*) FROM pg_database WHERE datname = ANY($1)", names)
    await admin.close()


@pytest.mark.servers
async def test_databases_that_cannot_be_made_are_told_of_and_a_lost_server_is_left(servers: Addresses) -> None:
    names = [f"own-{next(_cells)}_orders"]
    with pytest.raises(CellError, match="databases cannot be created"):
        async with own_databases(f"127.0.0.1:{free_port()}", names):
            pass
    async with own_databases(servers.postgres, names):
        with pytest.raises(CellError, match=f'"{names[0]}" already exists'):
            async with own_databases(servers.postgres, names):
                pass
