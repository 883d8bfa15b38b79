"""The outbox in a real Postgres: what is in it is what was committed, and each row has one relay at a time."""

from collections.abc import AsyncIterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import MetaData, literal, select, text

from brownout_shop.database import Database, RefusedValueError
from brownout_shop.events import Outbox

METADATA = MetaData()
OUTBOX = Outbox(METADATA)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, METADATA)
    await database.prepare()
    yield database
    await database.close()


async def add(database: Database, *numbers: int) -> None:
    for number in numbers:
        await database.execute(OUTBOX.event("c1.order.created", f"order-{number}", {"number": number}))


async def taken(database: Database, relay: str) -> list[int]:
    return [row.payload["number"] for row in await OUTBOX.take(database.execute, relay)]


async def test_what_was_committed_is_taken_in_order(database: Database) -> None:
    await add(database, 1, 2, 3)
    await add(database, 4)
    assert await taken(database, "a") == [1, 2, 3, 4]


async def test_it_is_not_there_if_what_it_tells_of_was_refused(database: Database) -> None:
    event = OUTBOX.event("c1.order.created", "order-1", {})
    impossible = select(literal(1) / literal(0)).cte("impossible")
    with pytest.raises(RefusedValueError):
        await database.execute(event.add_cte(impossible).returning(select(impossible).scalar_subquery()))
    assert await OUTBOX.depth(database.execute) == 0


async def test_it_is_there_if_what_it_tells_of_took_place_and_only_then(database: Database) -> None:
    for happened in (True, False):
        change = select(literal(1)).where(literal(happened)).cte("change")
        await database.execute(OUTBOX.event("c1.order.created", "order-1", {"happened": happened}, of=change))
    (row,) = await OUTBOX.take(database.execute, "a")
    assert row.payload == {"happened": True}


async def test_an_event_has_an_id_of_its_own_and_its_key(database: Database) -> None:
    await add(database, 1, 2)
    first, second = await OUTBOX.take(database.execute, "a")
    assert first.event_id != second.event_id
    assert (first.key, first.topic) == ("order-1", "c1.order.created")


async def test_it_belongs_to_the_trace_in_which_it_was_added(database: Database) -> None:
    with TracerProvider().get_tracer("test").start_as_current_span("PublishEvent") as span:
        await add(database, 1)
    (row,) = await OUTBOX.take(database.execute, "a")
    context = span.get_span_context()
    assert row.traceparent.split("-")[1:3] == [f"{context.trace_id:032x}", f"{context.span_id:016x}"]


async def test_what_one_relay_holds_another_does_not_get(database: Database) -> None:
    await add(database, 1, 2)
    assert await taken(database, "a") == [1, 2]
    await add(database, 3)
    assert await taken(database, "b") == [3]


async def test_a_relay_gets_again_what_it_holds(database: Database) -> None:
    await add(database, 1)
    await taken(database, "a")
    await add(database, 2)
    assert await taken(database, "a") == [1, 2]


async def test_what_a_dead_relay_held_is_free_when_its_time_is_up(database: Database) -> None:
    await add(database, 1)
    await taken(database, "a")
    assert await taken(database, "b") == []
    await database.execute(text("UPDATE outbox SET held_until = now() - interval '1 ms'"))
    assert await taken(database, "b") == [1]


async def test_a_hundred_are_taken_at_once(database: Database) -> None:
    await add(database, *range(130))
    assert await taken(database, "a") == list(range(100))
    assert await taken(database, "b") == list(range(100, 130))


async def test_what_is_removed_counts_no_longer(database: Database) -> None:
    await add(database, 1, 2, 3)
    first, *_ = await OUTBOX.take(database.execute, "a")
    await OUTBOX.remove(database.execute, [first.position])
    assert await OUTBOX.depth(database.execute) == 2
