"""Topics and listeners of a real broker, its clients behind a real Toxiproxy."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from itertools import count

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from brownout.cells.kafka import ListenerPool, Message, Topics
from brownout.cells.toxiproxy import Toxiproxy
from brownout.errors import CellError
from brownout.servers import KafkaAddresses, Listener
from brownout.servers.ports import free_port

pytestmark = pytest.mark.servers

CUT_S = 10.0
HEAL_BOUND_S = 3.0
"""How long after a heal the next message may come; aiokafka's own back-off here is at most 1 s."""

STOP_BOUND_S = 5.0

_cells = count()


@pytest.fixture
def topic() -> str:
    return f"k{next(_cells)}.order.created"


@pytest.fixture
async def toxiproxy(
    toxiproxy_server: Callable[[], AbstractContextManager[str]],
) -> AsyncIterator[Toxiproxy]:
    with toxiproxy_server() as address:
        async with Toxiproxy(address) as made:
            yield made


@asynccontextmanager
async def _producer(address: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=address, request_timeout_ms=2000)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def _consumer(address: str, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=address,
        group_id=f"{topic}.readers",
        auto_offset_reset="earliest",
        request_timeout_ms=2000,
        retry_backoff_ms=200,
    )
    await consumer.start()
    try:
        yield consumer
    finally:  # the library's own end has been seen to wait for ever, after a cut
        await asyncio.wait({asyncio.ensure_future(consumer.stop())}, timeout=STOP_BOUND_S)


async def _next(consumer: AIOKafkaConsumer, within_s: float) -> bytes | None:
    async with asyncio.timeout(within_s):
        value: bytes | None = (await consumer.getone()).value
        return value


async def test_clients_of_a_listener_reach_the_broker_through_its_proxy_alone(
    kafka_listeners: ListenerPool, toxiproxy: Toxiproxy, topic: str
) -> None:
    listener = kafka_listeners.take()
    await toxiproxy.create("k.orders.kafka", listener.advertised, listener.upstream)
    async with _producer(listener.advertised) as producer, _consumer(listener.advertised, topic) as consumer:
        await producer.send_and_wait(topic, b"first")
        assert await _next(consumer, 10) == b"first"
        await toxiproxy.switch("k.orders.kafka", on=False)
        with pytest.raises((KafkaError, TimeoutError)):
            async with asyncio.timeout(3):
                await producer.send_and_wait(topic, b"second")
        await toxiproxy.switch("k.orders.kafka", on=True)


async def test_after_a_cut_of_10_s_the_next_message_comes_soon_after_the_heal(
    kafka_server: KafkaAddresses, kafka_listeners: ListenerPool, toxiproxy: Toxiproxy, topic: str
) -> None:
    listener = kafka_listeners.take()
    await toxiproxy.create("k.notifications.kafka", listener.advertised, listener.upstream)
    async with _producer(kafka_server.direct) as producer, _consumer(listener.advertised, topic) as consumer:
        await producer.send_and_wait(topic, b"before")
        assert await _next(consumer, 10) == b"before"
        await toxiproxy.switch("k.notifications.kafka", on=False)
        await producer.send_and_wait(topic, b"meanwhile")  # who does not use the edge is not touched
        with pytest.raises(TimeoutError):
            await _next(consumer, CUT_S)
        await toxiproxy.switch("k.notifications.kafka", on=True)
        healed_s = time.monotonic()
        assert await _next(consumer, 20) == b"meanwhile"
    took_s = time.monotonic() - healed_s
    print(f"the next message came {took_s:.2f} s after the heal")  # noqa: T201  a figure to read, with -s
    assert took_s < HEAL_BOUND_S


async def test_the_messages_of_a_topic_are_read_from_its_beginning_to_its_end(
    kafka_server: KafkaAddresses, topic: str
) -> None:
    begun_ns = time.time_ns()
    async with _producer(kafka_server.direct) as producer:
        headers = [("event-id", b"e1"), ("traceparent", b"00-ab")]
        await producer.send_and_wait(topic, b'{"order_id": "o1"}', key=b"o1", headers=headers)
        await producer.send_and_wait(topic, b"{no json", key=b"o2")
        await producer.send_and_wait(topic, None, key=b"o3")
    first, second, third = await Topics(kafka_server.direct).messages(topic)
    assert (first.key, first.value, first.offset) == ("o1", {"order_id": "o1"}, 0)
    assert first.headers == {"event-id": "e1", "traceparent": "00-ab"}
    assert begun_ns - 1_000_000 <= first.at_ns <= time.time_ns()
    assert second == Message("o2", "{no json", {}, 1, second.at_ns)
    assert third == Message("o3", "", {}, 2, third.at_ns)


async def test_many_messages_are_read_in_their_order(kafka_server: KafkaAddresses, topic: str) -> None:
    async with _producer(kafka_server.direct) as producer:
        for number in range(10_000):
            await producer.send(topic, str(number).encode())
        await producer.flush()
    begun_s = time.monotonic()
    found = await Topics(kafka_server.direct).messages(topic)
    print(f"10 000 messages were read in {time.monotonic() - begun_s:.2f} s")  # noqa: T201  a figure to read, with -s
    assert [message.value for message in found] == list(range(10_000))


async def test_a_topic_that_is_not_there_has_no_messages_and_is_not_made_by_asking(
    kafka_server: KafkaAddresses, topic: str
) -> None:
    topics = Topics(kafka_server.direct)
    assert await topics.messages(topic) == []
    async with _producer(kafka_server.direct) as producer:
        assert topic not in (await producer.client.fetch_all_metadata()).topics()


async def test_a_broker_that_is_not_there_is_an_error() -> None:
    with pytest.raises(CellError, match=r"kafka: orders cannot be read at 127\.0\.0\.1:"):
        await Topics(f"127.0.0.1:{free_port()}").messages("orders")


async def test_a_broker_that_is_silent_is_an_error_in_time() -> None:
    over = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        over.set()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(CellError, match=r"orders cannot be read within 0\.5 s"):
            await Topics(address, within_s=0.5).messages("orders")
        async with asyncio.timeout(5):
            await over.wait()


def test_an_empty_pool_states_its_size_and_what_helps() -> None:
    pool = ListenerPool([Listener("a", "b"), Listener("c", "d")])
    taken = pool.take(), pool.take()
    with pytest.raises(CellError, match=r"all 2 listeners are taken.*let fewer cells run at once"):
        pool.take()
    pool.give_back(taken[0])
    assert pool.take() is taken[0]


def test_a_listener_that_was_given_back_comes_after_those_that_were_free() -> None:
    pool = ListenerPool([Listener("a", "b"), Listener("c", "d")])
    pool.give_back(pool.take())
    assert [pool.take().upstream, pool.take().upstream] == ["c", "a"]
