"""Gives back what was held for too long, beside the HTTP server."""

import logging

from brownout_shop.events.worker import Worker
from brownout_shop.products.store import ProductStore

__all__ = ["Expiry"]

EVERY_S = 5.0

log = logging.getLogger(__name__)


class Expiry:
    """A companion that looks for expired reservations, again and again, whatever happens to the database.

    Several instances may run one each: a reservation is given back by one of them.

    Args:
        products: where the reservations are.
        every_s: the pause between two looks.
    """

    def __init__(self, products: ProductStore, every_s: float = EVERY_S) -> None:
        self._products = products
        self._every_s = every_s
        self._worker = Worker("expiry", self._look)

    async def start(self) -> None:
        """Begin, with or without a database."""
        self._worker.start()

    async def stop(self, within_s: float) -> None:
        """Finish the look at hand."""
        await self._worker.stop(within_s)

    async def _look(self) -> None:
        while not self._worker.stopping.is_set() and (expired := await self._products.expire()):
            log.info("%d reservations have expired", expired)
        await self._worker.pause(self._every_s)
