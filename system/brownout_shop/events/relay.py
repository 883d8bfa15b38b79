"""The relay: publishes what is in the outbox, in order, and removes it once the broker has acknowledged it."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from brownout_shop.database import Database
from brownout_shop.events.event import EVENT_ID, name_of
from brownout_shop.events.outbox import Outbox, Row
from brownout_shop.events.publisher import Message, Publisher
from brownout_shop.events.worker import Worker
from brownout_shop.telemetry import metrics

__all__ = ["Relay"]

POLL_S = 1.0  # for what another instance added and did not live to publish

tracer = trace.get_tracer("events")
_traceparent = TraceContextTextMapPropagator()


class Relay:
    """A companion that publishes events at least once, whatever becomes of the broker and the database meanwhile.

    Several may work on one outbox: each row is published by one of them, and its order is kept by each.

    Args:
        outbox: the table.
        database: where it is.
        brokers: ``host:port`` of one of them.
    """

    def __init__(self, outbox: Outbox, database: Database, brokers: str) -> None:
        self._outbox = outbox
        self._database = database
        self._publisher = Publisher(brokers)
        self._id = uuid.uuid4().hex
        self._added = asyncio.Event()
        self._worker = Worker("relay", self._step)

    def wake(self) -> None:
        """Look at once: an event was added, and its transaction committed."""
        self._added.set()

    async def start(self) -> None:
        """Begin, with or without a broker."""
        self._worker.start()

    async def stop(self, within_s: float) -> None:
        """Finish what is being published; what is added from now on waits for the next relay."""
        deadline = asyncio.get_running_loop().time() + within_s
        self._added.set()
        await self._worker.stop(within_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._publisher.close()

    async def _step(self) -> None:
        with suppress_instrumentation():  # or each look would be a trace of its own
            depth = await self._outbox.depth(self._database.execute)
            metrics.OUTBOX_DEPTH.set(depth)
            if not (depth and await self._publish()):
                await self._idle()

    async def _idle(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._added.wait()
        self._added.clear()

    async def _publish(self) -> int:
        """Publish what can be taken, and return how many that were.

        Raises:
            KafkaError: one of them could not be; those that could are removed.
        """
        await self._publisher.connect()
        rows = await self._outbox.take(self._database.execute, self._id)
        if not rows:
            return 0
        outcomes = await self._traced(rows)
        acknowledged = [row.position for row, error in zip(rows, outcomes, strict=True) if error is None]
        await self._outbox.remove(self._database.execute, acknowledged)
        for error in filter(None, outcomes):
            raise error
        return len(rows)

    async def _traced(self, rows: Sequence[Row]) -> list[BaseException | None]:
        spans = [_span(row) for row in rows]
        outcomes = await self._publisher.publish([_message(*pair) for pair in zip(rows, spans, strict=True)])
        for row, span, error in zip(rows, spans, outcomes, strict=True):
            if error is None:
                metrics.EVENTS_PUBLISHED.labels(name_of(row.topic)).inc()
            else:
                span.set_status(Status(StatusCode.ERROR, repr(error)))
            span.end()
        return outcomes


def _span(row: Row) -> trace.Span:
    name = name_of(row.topic)
    attributes = {
        "messaging.system": "kafka",
        "messaging.operation.type": "send",
        "messaging.operation.name": "publish",
        "messaging.destination.name": row.topic,
        "messaging.kafka.message.key": row.key,
        "messaging.message.id": row.event_id,
    }
    parent = _traceparent.extract({"traceparent": row.traceparent})
    return tracer.start_span(f"{name} publish", parent, SpanKind.PRODUCER, attributes)


def _message(row: Row, span: trace.Span) -> Message:
    headers = {EVENT_ID: row.event_id}
    _traceparent.inject(headers, trace.set_span_in_context(span))
    return Message(row.topic, row.key.encode(), json.dumps(row.payload).encode(), headers)
