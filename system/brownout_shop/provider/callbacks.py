"""Tells the merchant of each charge and refund, signed, and again until it is answered with success."""

import asyncio
import contextlib
import json
import logging
from dataclasses import asdict

from opentelemetry.instrumentation.utils import suppress_instrumentation

from brownout_shop.events.worker import Worker
from brownout_shop.problems import Problem
from brownout_shop.provider.store import Callback, Ledger
from brownout_shop.resilience.client import Client
from brownout_shop.signature import HEADER, Signer

__all__ = ["Callbacks"]

PATH = "/api/payments/callback"
POLL_S = 1.0  # for what another instance charged and did not live to tell
AGAIN_AFTER_S = 2.0

log = logging.getLogger(__name__)


class Callbacks:
    """A companion that calls the merchant back, at least once for each charge and each refund, in any order.

    Args:
        ledger: what there is to tell.
        client: what calls the merchant's gateway.
        signer: signs each callback anew, as old signatures are refused.
        again_after_s: the pause after one was not answered with success.
    """

    def __init__(self, ledger: Ledger, client: Client, signer: Signer, *, again_after_s: float = AGAIN_AFTER_S) -> None:
        self._ledger = ledger
        self._client = client
        self._signer = signer
        self._again_after_s = again_after_s
        self._added = asyncio.Event()
        self._worker = Worker("callbacks", self._step)

    def wake(self) -> None:
        """Look at once: there is something to tell."""
        self._added.set()

    async def start(self) -> None:
        """Begin, with or without a merchant."""
        self._worker.start()

    async def stop(self, within_s: float) -> None:
        """Finish the callbacks under way."""
        self._added.set()
        await self._worker.stop(within_s)

    async def _step(self) -> None:
        self._added.clear()
        with suppress_instrumentation():  # or each look would be a trace of its own
            untold = await self._ledger.untold()
        if not untold:
            await self._idle()
        elif not all(await asyncio.gather(*map(self._told, untold))):
            await self._worker.pause(self._again_after_s)

    async def _idle(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._added.wait()

    async def _told(self, callback: Callback) -> bool:
        body = json.dumps({"key": callback.key, **asdict(callback.charge)}).encode()
        headers = {"Content-Type": "application/json", HEADER: self._signer.sign(body)}
        try:
            await self._client.call("gateway", "POST", PATH, body=body, headers=headers)
            await self._ledger.told(callback)
        except Problem as problem:
            log.warning("charge %s is %s, to be told again: %s", callback.charge.id, callback.charge.status, problem)
            return False
        return True
