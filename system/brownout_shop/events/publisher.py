"""What sends messages to the broker: one producer as long as it works, another one after any failure."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

__all__ = ["Message", "Publisher", "UnacknowledgedError"]

ANSWER_WITHIN_MS = 3_000  # of one request; a slow network may well take a second for it
CONNECT_WITHIN_S = 8.0
SEND_WITHIN_S = 8.0  # the topic's metadata, a connection and the message: four answers of a slow network
RETRY_MS = 250  # each try of a client that is cut off writes some lines to the log
METADATA_AGE_MS = 30_000

log = logging.getLogger(__name__)


class UnacknowledgedError(KafkaError):  # type: ignore[misc]  # the library is not typed
    """The broker has not acknowledged a message in time; whether it has it is unknown."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the broker keeps it."""

    topic: str
    key: bytes
    value: bytes
    headers: Mapping[str, str]


class Publisher:
    """Sends messages in order, each until it is acknowledged by all replicas.

    Args:
        brokers: ``host:port`` of one of them.
    """

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers
        self._producer: AIOKafkaProducer | None = None

    async def connect(self) -> None:
        """Have a producer.

        Raises:
            KafkaError: the broker is not there.
            TimeoutError: it did not answer in 8 s.
        """
        if self._producer is not None:
            return
        # Idempotent: what the producer itself repeats, after a cut say, is kept once.
        producer = AIOKafkaProducer(
            bootstrap_servers=self._brokers,
            enable_idempotence=True,
            acks="all",
            request_timeout_ms=ANSWER_WITHIN_MS,
            retry_backoff_ms=RETRY_MS,
            metadata_max_age_ms=METADATA_AGE_MS,
        )
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer

    async def publish(self, messages: Sequence[Message]) -> list[BaseException | None]:
        """Send messages, and return for each what went wrong, or None where the broker acknowledged it.

        It takes 8 s at most. After a failure the producer is given up, as its state is anybody's guess.
        """
        assert self._producer is not None, "connect first"  # noqa: S101 - the only caller does
        sent: list[asyncio.Future[object]] = []
        failure: BaseException = UnacknowledgedError()
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                for message in messages:
                    sent.append(await _send(self._producer, message))  # noqa: PERF401 - those before one that fails count
                await asyncio.wait(sent)
        except (KafkaError, TimeoutError) as error:
            failure = error if isinstance(error, KafkaError) else failure
        if len(sent) < len(messages) or not all(map(_acknowledged, sent)):
            await self._give_up()
        outcomes = [future.exception() if future.done() else failure for future in sent]
        return outcomes + [failure] * (len(messages) - len(sent))

    async def close(self) -> None:
        """Send what is left and close the connections."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await producer.stop()

    async def _give_up(self) -> None:
        """Close without sending what is left, for which stop() would wait; what is under way ends within 3 s."""
        assert self._producer is not None  # noqa: S101 - the only caller has used it
        producer, self._producer = self._producer, None
        sender = producer._sender.sender_task  # noqa: SLF001 - there is no public way to give up
        sender.cancel()
        await asyncio.wait({sender})
        await producer.client.close()
        producer._closed = True  # noqa: SLF001 - same


def _acknowledged(sent: asyncio.Future[object]) -> bool:
    return sent.done() and sent.exception() is None


async def _send(producer: AIOKafkaProducer, message: Message) -> asyncio.Future[object]:
    headers = [(name, text.encode()) for name, text in message.headers.items()]
    future: asyncio.Future[object] = await producer.send(message.topic, message.value, key=message.key, headers=headers)
    return future
