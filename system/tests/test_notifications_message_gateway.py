"""SMS and push messages through a real gateway over HTTP: clause 2.5."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from brownout_shop.discovery.registry import Instance, Registration, Registry
from brownout_shop.notifications.domain import ChannelName, Delivery, UndeliverableError
from brownout_shop.notifications.message_gateway import MessageGateway
from brownout_shop.resilience.client import CalleeFailedError, CalleeRefusedError, CallRefusedError, Client
from brownout_shop.serve import _discovery
from brownout_shop.settings import Settings

SMS = "127.0.0.1:7"
HELLO = Delivery("n1", ChannelName.SMS, "+4915112345678", "hello", 1, "")


@dataclass
class Gateway:
    """A gateway that answers as it is told."""

    status: int = 202
    received: list[tuple[str, Any]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.received.append((request.headers["Idempotency-Key"], await request.json()))
        return web.Response(status=self.status)


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
async def sms(gateway: Gateway) -> AsyncIterator[MessageGateway]:
    app = web.Application()
    app.add_routes([web.post("/messages", gateway.take)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    async with Client("notifications", lambda _: [Instance("sms", f"{host}:{port}")]) as client:
        yield MessageGateway(client, "sms")
    await runner.cleanup()


async def test_a_message_has_its_receiver_its_text_and_the_same_key_each_time(
    sms: MessageGateway, gateway: Gateway
) -> None:
    await asyncio.gather(sms.send(HELLO), sms.send(HELLO))
    assert gateway.received == [("n1", {"to": "+4915112345678", "text": "hello"})] * 2


@pytest.mark.parametrize("status", [400, 404, 410, 413, 422])
async def test_what_is_wrong_with_the_message_is_for_good(sms: MessageGateway, gateway: Gateway, status: int) -> None:
    gateway.status = status
    with pytest.raises(UndeliverableError):
        await sms.send(HELLO)


@pytest.mark.parametrize("status", [401, 403, 408, 409, 425, 429])
async def test_what_is_about_us_or_about_now_is_tried_again(sms: MessageGateway, gateway: Gateway, status: int) -> None:
    gateway.status = status
    with pytest.raises(CalleeRefusedError):
        await sms.send(HELLO)


async def test_a_gateway_that_fails_is_let_alone_by_the_breaker(sms: MessageGateway, gateway: Gateway) -> None:
    gateway.status = 500
    for error in [CalleeFailedError] * 3 + [CallRefusedError]:
        with pytest.raises(error):
            await sms.send(HELLO)
    assert len(gateway.received) == 3


def test_a_gateway_is_found_at_its_plain_address_and_a_service_in_the_registry_only() -> None:
    settings = Settings(
        cell="c1", instance="notifications-0", listen="127.0.0.1:0", consul_url="", otlp_url="", sms=SMS
    )
    registration = Registration("notifications", "notifications-0", "c1", "127.0.0.1", 0)
    discover = _discovery(Registry("http://127.0.0.1:1", registration), settings)
    assert [instance.address_for("notifications") for instance in discover("sms")] == [SMS]
    assert (discover("push"), discover("users")) == ((), ())
