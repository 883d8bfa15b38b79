"""The provider's callbacks, from a real Postgres to a merchant on loopback who does not always answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from brownout_shop.database import Database
from brownout_shop.discovery.registry import Instance
from brownout_shop.provider.app import build
from brownout_shop.provider.callbacks import Callbacks
from brownout_shop.provider.store import METADATA, Charge, Ledger, Status
from brownout_shop.resilience.client import Client
from brownout_shop.settings import Settings, SettingsError
from brownout_shop.signature import Signer
from wires import until

SIGNER = Signer(b"a secret of thirty-two bytes, yes")
CHARGE = Charge("c1", 1990, "EUR", "order-1")
VOID = Charge("v1", 0, "", "order-1", Status.VOIDED)


class Merchant:
    """Takes callbacks, and answers as it is told to; every signature it gets is the provider's."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.told: list[dict[str, Any]] = []
        self.taken: list[tuple[str, str]] = []
        self.app = web.Application()
        self.app.router.add_post("/api/payments/callback", self._take)

    async def _take(self, request: web.Request) -> web.Response:
        assert SIGNER.signed(await request.read(), request.headers["X-Signature"])
        body = await request.json()
        status = self.answers.pop(0) if self.answers else 200
        self.told.append(body)
        if status == 200:
            self.taken.append((body["key"], body["status"]))
        return web.Response(status=status)


@pytest.fixture
def merchant() -> Merchant:
    return Merchant()


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    database = Database(database_url, METADATA)
    await database.prepare()
    yield Ledger(database)
    await database.close()


@pytest.fixture
async def client(merchant: Merchant) -> AsyncIterator[Client]:
    clock_ns = 0

    def later() -> int:
        nonlocal clock_ns
        clock_ns += 11 * 10**9  # each call is in a window of its own: no breaker opens here
        return clock_ns

    async with TestServer(merchant.app) as server:
        gateway = Instance("gateway", f"127.0.0.1:{server.port}")
        async with Client("provider", lambda _: [gateway], clock=later) as client:
            yield client


@pytest.fixture
async def callbacks(ledger: Ledger, client: Client) -> AsyncIterator[Callbacks]:
    callbacks = Callbacks(ledger, client, SIGNER, again_after_s=0.05)
    await callbacks.start()
    yield callbacks
    await callbacks.stop(5)


async def nothing_left(ledger: Ledger) -> None:
    async with asyncio.timeout(20):
        while await ledger.untold():  # noqa: ASYNC110 - same
            await asyncio.sleep(0.01)


async def test_a_charge_is_told_once_with_all_that_is_known_of_it(
    ledger: Ledger, merchant: Merchant, callbacks: Callbacks
) -> None:
    for _ in range(2):
        await ledger.enter("k1", CHARGE)
    callbacks.wake()
    await nothing_left(ledger)
    assert merchant.told == [
        {"key": "k1", "id": "c1", "amount": 1990, "currency": "EUR", "reference": "order-1", "status": "charged"}
    ]


async def test_a_refund_is_told_beside_its_charge(ledger: Ledger, merchant: Merchant, callbacks: Callbacks) -> None:
    await ledger.enter("k1", CHARGE)
    for _ in range(2):
        await ledger.give_back("k1", VOID)
    callbacks.wake()
    await nothing_left(ledger)
    assert sorted(merchant.taken) == [("k1", "charged"), ("k1", "refunded")]
    assert {told["id"] for told in merchant.told} == {"c1"}


@pytest.mark.parametrize("failure", [301, 401, 500, 503])
async def test_whatever_is_no_success_is_told_again(
    ledger: Ledger, merchant: Merchant, callbacks: Callbacks, failure: int
) -> None:
    merchant.answers = [failure] * 3
    await ledger.enter("k1", CHARGE)
    callbacks.wake()
    await nothing_left(ledger)
    assert (len(merchant.told), merchant.taken) == (4, [("k1", "charged")])


async def test_one_that_is_not_taken_does_not_hold_up_the_others(
    ledger: Ledger, merchant: Merchant, callbacks: Callbacks
) -> None:
    merchant.answers = [503]
    await ledger.enter("k1", CHARGE)
    await ledger.enter("k2", Charge("c2", 1, "EUR", "order-2"))
    callbacks.wake()
    await until(lambda: len(merchant.taken) == 2)
    assert len(merchant.told) == 3


async def test_what_an_earlier_process_did_not_live_to_tell_is_told(
    ledger: Ledger, merchant: Merchant, client: Client
) -> None:
    await ledger.enter("k1", CHARGE)
    callbacks = Callbacks(ledger, client, SIGNER)
    await callbacks.start()
    await nothing_left(ledger)
    await callbacks.stop(5)
    assert merchant.taken == [("k1", "charged")]


async def test_without_an_address_nobody_is_told_and_with_one_there_has_to_be_a_secret(client: Client) -> None:
    own = {"cell": "c1", "instance": "provider-0", "listen": "127.0.0.1:0", "consul_url": "", "otlp_url": ""}
    silent = Settings(**own, database_url=SecretStr("postgresql://postgres@127.0.0.1:1/x"))
    assert build(silent, client).companions == ()
    with pytest.raises(SettingsError, match="CALLBACK_SECRET"):
        build(silent.model_copy(update={"callback": "127.0.0.1:1"}), client)


async def test_what_was_never_charged_is_not_told(ledger: Ledger) -> None:
    await ledger.give_back("k1", VOID)
    assert await ledger.untold() == []
