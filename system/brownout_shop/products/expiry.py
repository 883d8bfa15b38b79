"""Asks, beside the HTTP server, whether what was held for too long may be given back.

Only orders knows whether it has an order: the news of one may be anywhere on its way for as long as the broker is
gone, and an order that was acknowledged must not lose its pieces meanwhile. So products takes nothing back by itself.
It tells orders by ``reservation.overdue`` what is overdue, and orders gives back what it has no order for. An order is
saved within a fraction of the time that its pieces are held, so one that is not there then never will be.
"""

import json
import logging
import uuid
from dataclasses import asdict

from brownout_shop.events.event import EVENT_ID
from brownout_shop.events.publisher import Message, Publisher
from brownout_shop.events.worker import Worker
from brownout_shop.products.domain import Overdue
from brownout_shop.products.store import ProductStore

__all__ = ["Expiry"]

EVERY_S = 60.0

log = logging.getLogger(__name__)


class Expiry:
    """A companion that asks about overdue reservations, again and again, whatever happens to database and broker.

    Several instances may run one each: asked twice, orders gives back once.

    Args:
        products: where the reservations are.
        publisher: sends the questions.
        topic: where it is asked.
        every_s: the pause between two looks.
    """

    def __init__(self, products: ProductStore, publisher: Publisher, topic: str, every_s: float = EVERY_S) -> None:
        self._products = products
        self._publisher = publisher
        self._topic = topic
        self._every_s = every_s
        self._worker = Worker("expiry", self._look)

    async def start(self) -> None:
        """Begin, with or without a database and a broker."""
        self._worker.start()

    async def stop(self, within_s: float) -> None:
        """Finish the look at hand."""
        await self._worker.stop(within_s)
        await self._publisher.close()

    async def _look(self) -> None:
        if overdue := await self._products.overdue():
            log.info("%d reservations are overdue", len(overdue))
            await self._publisher.connect()
            await self._publisher.publish([_asked(self._topic, one) for one in overdue])  # again where it failed
        await self._worker.pause(self._every_s)


def _asked(topic: str, one: Overdue) -> Message:
    return Message(topic, one.order_id.encode(), json.dumps(asdict(one)).encode(), {EVENT_ID: uuid.uuid4().hex})
