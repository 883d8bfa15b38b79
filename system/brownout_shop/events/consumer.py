"""The consumer: hands each event of a topic to a handler, and the same one again until it was handled."""

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from brownout_shop.database import RefusedValueError
from brownout_shop.events.event import Event, MalformedEventError, name_of, read_event
from brownout_shop.events.worker import Worker
from brownout_shop.telemetry import metrics

__all__ = ["Consumer"]

SESSION_MS = 6_000  # the shortest that a broker grants unless told otherwise: then a dead member's share is free
HEARTBEAT_MS = 2_000
ANSWER_WITHIN_MS = 10_000  # longer than a session: joining is answered when the dead are known to be dead
METADATA_AGE_MS = 5_000  # until a topic is noticed that came later than we
RETRY_MS = 250  # each try of a client that is cut off writes some lines to the log
WAIT_MS = 500
FETCH_MS = 2_000  # how long the broker holds an empty answer back; a message is told at once
AT_ONCE = 20  # handled again at most after a death, as offsets are committed once for all of them
AGAIN_AFTER_S = 1.0

tracer = trace.get_tracer("events")
_traceparent = TraceContextTextMapPropagator()
log = logging.getLogger(__name__)


class Consumer:
    """A companion that has each event of a topic handled at least once, in the order of its partition.

    The offset is committed after `handle` returned. When it raises, the same event comes again after a second, and
    those behind it wait; a message that is malformed, or that `handle` calls so, is logged and skipped.

    Args:
        brokers: ``host:port`` of one of them.
        topic: the topic's name, the cell's prefix included.
        group: those of one group share the events; a new group begins with the first that there is.
        handle: handles an event; it may get the same one again.
    """

    def __init__(self, brokers: str, topic: str, group: str, handle: Callable[[Event], Awaitable[None]]) -> None:
        self._brokers = brokers
        self._topic = topic
        self._group = group
        self._handle = handle
        self._worker = Worker("consumer", self._step)

    async def start(self) -> None:
        """Begin, with or without a broker."""
        self._worker.start()

    async def stop(self, within_s: float) -> None:
        """Finish the event at hand, commit and leave the group."""
        await self._worker.stop(within_s)

    async def _step(self) -> None:
        async with self._member() as member:
            while not self._worker.stopping.is_set():
                some = await member.getmany(timeout_ms=WAIT_MS, max_records=AT_ONCE)
                for partition, records in some.items():
                    await self._work_off(member, partition, records)

    @contextlib.asynccontextmanager
    async def _member(self) -> AsyncIterator[AIOKafkaConsumer]:
        member = AIOKafkaConsumer(
            self._topic,
            bootstrap_servers=self._brokers,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            request_timeout_ms=ANSWER_WITHIN_MS,
            metadata_max_age_ms=METADATA_AGE_MS,
            retry_backoff_ms=RETRY_MS,
            fetch_max_wait_ms=FETCH_MS,
        )
        try:
            await member.start()
            yield member
        finally:
            await member.stop()

    async def _work_off(
        self, member: AIOKafkaConsumer, partition: TopicPartition, records: list[ConsumerRecord[bytes, bytes]]
    ) -> None:
        """Handle records up to the first that fails, which is then the next to be fetched, and commit."""
        begin = offset = records[0].offset
        for record in records:
            offset = record.offset
            if self._worker.stopping.is_set() or not await self._handled(record):
                member.seek(partition, offset)
                break
            offset += 1
        if offset > begin:
            await member.commit({partition: offset})
        if offset <= records[-1].offset:
            await self._worker.pause(AGAIN_AFTER_S)

    async def _handled(self, record: ConsumerRecord[bytes, bytes]) -> bool:
        """Return whether a record is done with."""
        name = name_of(record.topic)
        headers = {key: value.decode(errors="replace") for key, value in record.headers}
        position = f"{record.partition}-{record.offset}"
        with tracer.start_as_current_span(
            f"{name} process", _traceparent.extract(headers), SpanKind.CONSUMER, self._attributes(record)
        ) as span:
            try:
                event = read_event(record.topic, record.value, headers, position)
                span.set_attribute("messaging.message.id", event.id)
                await self._handle(event)
            except (MalformedEventError, RefusedValueError) as error:
                log.warning("skipped the malformed event %s: %s", position, error)
                span.record_exception(error)
                metrics.EVENTS_SKIPPED.labels(name).inc()
            except Exception as error:  # noqa: BLE001 - whatever it is, the event must not be lost
                log.warning("event %s is not handled yet: %r", position, error)
                span.record_exception(error)
                span.set_status(trace.StatusCode.ERROR)
                return False
            else:
                metrics.EVENTS_HANDLED.labels(name).inc()
        return True

    def _attributes(self, record: ConsumerRecord[bytes, bytes]) -> Mapping[str, str | int]:
        return {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.consumer.group.name": self._group,
        }
