"""What cells share of the broker: its listeners, one an edge; and what the harness reads in its topics."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from brownout.errors import CellError
from brownout.servers import Listener

__all__ = ["ListenerPool", "Message", "Topics"]

READ_S = 10.0
"""Longest that reading a topic may take: 10 000 messages take 0.3 s."""

_PAUSE_MS = 100  # how long one look for messages waits; the last one is in time whatever it is


class ListenerPool:
    """The broker's listeners, each of which one edge of one cell has at a time.

    Args:
        listeners: all of them, as `Addresses.kafka` has them.
    """

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._free = deque(listeners)
        self._size = len(self._free)

    def take(self) -> Listener:
        """A listener that nobody has; a proxy is to listen at its advertised address.

        Raises:
            CellError: there is none left.
        """
        if not self._free:
            cause = f"all {self._size} listeners are taken, each edge to the broker has one of its own"
            raise CellError("kafka", cause, "let fewer cells run at once")
        return self._free.popleft()

    def give_back(self, listener: Listener) -> None:
        """Let another edge have a listener; it comes after all that are free, for late clients to go away."""
        self._free.append(listener)


class Message(msgspec.Struct, frozen=True):
    """A message of a topic.

    Attributes:
        key: its key; empty where it has none.
        value: what its JSON means, else its text.
        headers: by name; of a name that is there twice the last.
        offset: its place in its partition.
        at_ns: its time stamp, Unix time; Kafka knows milliseconds.
    """

    key: str
    value: Any
    headers: dict[str, str]
    offset: int
    at_ns: int


class Topics:
    """The broker's topics, past every proxy and every group of consumers.

    Args:
        direct: ``host:port`` of the listener that is the harness's own.
        within_s: longest that reading or writing one may take.
    """

    def __init__(self, direct: str, within_s: float = READ_S) -> None:
        self._direct = direct
        self._within_s = within_s

    async def messages(self, topic: str) -> list[Message]:
        """All messages of a topic, from its beginning to its end of now; none where there is no such topic.

        Raises:
            CellError: the broker does not answer, or not in time.
        """
        async with self._bounded(topic, "read"):
            return [_message(record) for record in await self._records(topic)]

    async def publish(self, topic: str, value: str) -> int:
        """Put a message on a topic, or each that is there once more, as it is; returns how many were put there.

        Raises:
            CellError: the broker does not answer, or not in time.
        """
        async with self._bounded(topic, "written"):
            again = [] if value else await self._records(topic)
            async with AIOKafkaProducer(bootstrap_servers=self._direct) as producer:
                if value:
                    await producer.send_and_wait(topic, value.encode())
                for record in again:
                    await producer.send_and_wait(topic, record.value, key=record.key, headers=list(record.headers))
        return 1 if value else len(again)

    async def _records(self, topic: str) -> list[ConsumerRecord[bytes | None, bytes | None]]:
        async with _consumer(self._direct) as consumer:
            known = await consumer.topics()
        if topic not in known:  # to ask for it by its name would make it
            return []
        async with _consumer(self._direct, topic) as consumer:
            return await _read(consumer)

    @asynccontextmanager
    async def _bounded(self, topic: str, done: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._within_s):
                yield
        except TimeoutError:
            raise CellError("kafka", f"{topic} cannot be {done} within {self._within_s:g} s") from None
        except KafkaError as error:
            raise CellError("kafka", f"{topic} cannot be {done} at {self._direct}: {error!r}") from error


@asynccontextmanager
async def _consumer(address: str, *topics: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=address, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        await consumer.start()
        yield consumer
    finally:  # one that did not start has to be stopped as well
        await consumer.stop()


async def _read(consumer: AIOKafkaConsumer) -> list[ConsumerRecord[bytes | None, bytes | None]]:
    partitions = sorted(consumer.assignment())
    ends = await consumer.end_offsets(partitions)
    records = []
    while [each for each in partitions if await consumer.position(each) < ends[each]]:
        for found in (await consumer.getmany(timeout_ms=_PAUSE_MS)).values():
            records += found
    return [record for record in records if record.offset < ends[TopicPartition(record.topic, record.partition)]]


def _message(record: ConsumerRecord[bytes | None, bytes | None]) -> Message:
    return Message(
        key=_text(record.key),
        value=_value(record.value),
        headers={name: _text(value) for name, value in record.headers},
        offset=record.offset,
        at_ns=record.timestamp * 1_000_000,
    )


def _value(raw: bytes | None) -> Any:
    try:
        return msgspec.json.decode(raw or b"")
    except msgspec.DecodeError:
        return _text(raw)


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")
