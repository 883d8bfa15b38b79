"""The dispatcher: sends what waits for a channel, beside the HTTP server, each until it is sent or given up."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from brownout_shop.database import DatabaseUnavailableError
from brownout_shop.events.worker import Worker
from brownout_shop.notifications.channel import Channel
from brownout_shop.notifications.domain import ChannelName, Delivery, Outcome, State, outcome
from brownout_shop.notifications.store import NotificationStore
from brownout_shop.telemetry import metrics

__all__ = ["Dispatcher"]

POLL_S = 2.0  # for what is due again, and for what another instance did not live to send

tracer = trace.get_tracer("notifications")
_traceparent = TraceContextTextMapPropagator()
log = logging.getLogger(__name__)


class Dispatcher:
    """A companion that delivers at least once, whatever becomes of the receiver and the database meanwhile.

    Several may work on one channel, each on deliveries of its own. A channel has a dispatcher of its own, so that one
    that hangs holds nobody else up.

    Args:
        store: where the deliveries are.
        name: which of them are sent here.
        channel: what sends them.
        poll_s: the pause between two looks, unless it is woken.
        jitter: a number from 0 to 1, another one each time.
    """

    def __init__(
        self,
        store: NotificationStore,
        name: ChannelName,
        channel: Channel,
        *,
        poll_s: float = POLL_S,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._name = name
        self._channel = channel
        self._poll_s = poll_s
        self._jitter = jitter
        self._unnoted: dict[Delivery, Outcome] = {}
        self._added = asyncio.Event()
        self._worker = Worker(f"dispatcher-{name}", self._step)

    def wake(self) -> None:
        """Look at once: a notification was added."""
        self._added.set()

    async def start(self) -> None:
        """Begin, with or without a receiver and a database."""
        self._worker.start()

    async def stop(self, within_s: float) -> None:
        """Finish the attempts under way; what waits is sent by another instance, or after the next start."""
        self._added.set()
        await self._worker.stop(within_s)

    async def _step(self) -> None:
        with suppress_instrumentation():  # or each look would be a trace of its own
            for delivery in tuple(self._unnoted):  # before it takes more: what it has sent it does not send again
                await self._note(delivery)
            taken = await self._store.take(self._name)
        await asyncio.gather(*map(self._deliver, taken))
        if not taken:
            await self._idle()

    async def _idle(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_s):
                await self._added.wait()
        self._added.clear()

    async def _deliver(self, delivery: Delivery) -> None:
        result = outcome(delivery.attempts, await self._failure(delivery), self._jitter())
        metrics.DELIVERY_ATTEMPTS.labels(delivery.channel, result.state).inc()
        self._unnoted[delivery] = result
        with suppress_instrumentation(), contextlib.suppress(DatabaseUnavailableError):
            await self._note(delivery)

    async def _failure(self, delivery: Delivery) -> Exception | None:
        """Make an attempt, and return what went wrong."""
        parent = _traceparent.extract({"traceparent": delivery.traceparent})
        with tracer.start_as_current_span(f"{delivery.channel} send", parent, SpanKind.PRODUCER) as span:
            span.set_attribute("messaging.message.id", delivery.notification_id)
            try:
                await self._channel.send(delivery)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not hold up the others
                # What was said may name the receiver, and stays in the row.
                kind = type(error).__name__
                log.warning("%s by %s was not sent: %s", delivery.notification_id, delivery.channel, kind)
                span.set_attribute("error.type", kind)
                span.set_status(trace.StatusCode.ERROR)
                return error
        return None

    async def _note(self, delivery: Delivery) -> None:
        result = self._unnoted[delivery]
        await self._store.note(delivery, result)
        del self._unnoted[delivery]
        if result.state is State.FAILED:
            log.error("%s by %s is given up", delivery.notification_id, delivery.channel)
