"""Notifications over a real listener, with a real Postgres and users by gRPC: clauses 2.5, 3.2 and 3.3."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from brownout_shop.application import application
from brownout_shop.database import Database, DatabaseUnavailableError
from brownout_shop.discovery.registry import Instance
from brownout_shop.events import Event, MalformedEventError
from brownout_shop.middleware import Drain
from brownout_shop.notifications.app import build, channels, routes
from brownout_shop.notifications.channel import Mailbox
from brownout_shop.notifications.dispatcher import Dispatcher
from brownout_shop.notifications.domain import ChannelName, State
from brownout_shop.notifications.message_gateway import MessageGateway
from brownout_shop.notifications.notifier import Notifier
from brownout_shop.notifications.smtp import Email
from brownout_shop.notifications.store import METADATA, NotificationStore
from brownout_shop.problems import Problem
from brownout_shop.resilience.client import Client
from brownout_shop.resilience.errors import CalleeFailedError, CallRefusedError
from brownout_shop.rpc.method import GET_USER
from brownout_shop.rpc.server import Server
from brownout_shop.rpc.user_pb2 import GetUserRequest, User
from brownout_shop.serve import _listening
from brownout_shop.service import Service
from brownout_shop.settings import Settings
from brownout_shop.telemetry.health import Health

ORDER = Event("e1", "c1.order.created", {"order_id": "o1", "user_id": "ann", "amount": 1990, "timestamp": "now"})


class Users:
    """Users knows Ann, unless it is away."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False

    async def get_user(self, request: GetUserRequest) -> User:
        self.asked += 1
        if self.away:
            raise DatabaseUnavailableError("gone")
        if request.id != "ann":
            raise Problem(404, "not-found", "no such user")
        return User(id="ann", name="Ann", email="ann@example.org")


@pytest.fixture
def users() -> Users:
    return Users()


@pytest.fixture
async def client(users: Users) -> AsyncIterator[Client]:
    server = Server("127.0.0.1:0", {GET_USER: users.get_user})
    await server.start()
    instance = Instance("users-0", "", {"grpc": f"127.0.0.1:{server.port}"})
    async with Client("notifications", lambda _: [instance]) as client:
        yield client
    await server.stop(0)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[NotificationStore]:
    database = Database(database_url, METADATA)
    await database.prepare()
    yield NotificationStore(database)
    await database.close()


@pytest.fixture
def woken() -> list[None]:
    """As long as notifications were added."""
    return []


@pytest.fixture
def notifier(client: Client, store: NotificationStore, woken: list[None]) -> Notifier:
    return Notifier(client.rpc, store, told=lambda: woken.append(None))


@pytest.fixture
async def session(notifier: Notifier, store: NotificationStore) -> AsyncIterator[aiohttp.ClientSession]:
    database = store._database.answers
    health = Health(consul=lambda: True, has_instance=lambda _: True, needs=("users",), database=database)
    app = application("notifications", Service(routes(store, notifier)), health, Drain())
    settings = Settings(cell="c1", instance="notifications-0", listen="127.0.0.1:0", consul_url="", otlp_url="")
    with _listening(app, settings) as listening:
        port = listening.listener.getsockname()[1]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield session
        await listening.finish(1)


async def posted(session: aiohttp.ClientSession, user_id: str, text: str = "hello") -> tuple[int, dict[str, Any]]:
    async with session.post("/notifications", json={"user_id": user_id, "text": text}) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_what_is_sent_can_be_read_and_costs_one_call(session: aiohttp.ClientSession, users: Users) -> None:
    status, sent = await posted(session, "ann", " hello ")
    assert (status, sent["text"], sent["email"], users.asked) == (201, "hello", "ann@example.org", 1)
    async with session.get("/notifications", params={"user_id": "ann"}) as answer:
        assert await answer.json() == [sent]


async def test_the_same_text_twice_is_sent_twice(session: aiohttp.ClientSession) -> None:
    assert [(await posted(session, "ann"))[0] for _ in range(2)] == [201, 201]
    async with session.get("/notifications", params={"user_id": "ann"}) as answer:
        assert len(await answer.json()) == 2


async def test_an_unknown_user_is_422(session: aiohttp.ClientSession) -> None:
    status, problem = await posted(session, "bob")
    assert (status, problem["type"]) == (422, "urn:brownout-shop:problem:unknown-user")


async def test_an_empty_text_is_422_and_nobody_is_asked(session: aiohttp.ClientSession, users: Users) -> None:
    assert ((await posted(session, "ann", " "))[0], users.asked) == (422, 0)


async def test_lost_users_is_the_problem_of_each_call_until_the_breaker_opens(
    session: aiohttp.ClientSession, users: Users
) -> None:
    users.away = True
    answers = [await posted(session, "ann") for _ in range(4)]
    assert [status for status, _ in answers] == [502, 502, 502, 503]
    assert answers[3][1]["type"] == "urn:brownout-shop:problem:breaker-open"
    assert users.asked == 3


async def test_an_event_delivered_twice_is_told_once(
    notifier: Notifier, store: NotificationStore, woken: list[None]
) -> None:
    for _ in range(2):
        await notifier.handle(ORDER)
    (told,) = await store.of_user("ann")
    assert (told.event_id, told.text) == ("e1", "We have received your order o1.")
    assert len(woken) == 1


async def test_a_cancelled_order_is_told_as_well(notifier: Notifier, store: NotificationStore) -> None:
    await notifier.handle(ORDER)
    await notifier.handle(replace(ORDER, id="e2", topic="c1.order.cancelled"))
    cancelled, _ = await store.of_user("ann")
    assert (cancelled.event_id, cancelled.text) == ("e2", "Your order o1 is cancelled.")


async def test_an_event_comes_again_until_users_is_back(
    notifier: Notifier, store: NotificationStore, users: Users
) -> None:
    users.away = True
    with pytest.raises(CalleeFailedError):
        await notifier.handle(ORDER)
    users.away = False
    await notifier.handle(ORDER)
    assert len(await store.of_user("ann")) == 1


async def test_an_open_breaker_makes_the_event_come_again(notifier: Notifier, users: Users) -> None:
    users.away = True
    for error in [CalleeFailedError] * 3 + [CallRefusedError]:
        with pytest.raises(error):
            await notifier.handle(ORDER)


async def test_an_order_of_an_unknown_user_is_skipped(notifier: Notifier, store: NotificationStore) -> None:
    await notifier.handle(Event("e2", ORDER.topic, {**ORDER.payload, "user_id": "bob"}))
    assert await store.of_user("bob") == []


async def test_an_event_without_an_order_is_malformed(notifier: Notifier) -> None:
    with pytest.raises(MalformedEventError, match="order_id"):
        await notifier.handle(Event("e3", ORDER.topic, {"user_id": "ann"}))


async def test_what_nobody_sends_is_kept_and_the_delivery_says_on_which_ways(
    session: aiohttp.ClientSession, store: NotificationStore
) -> None:
    preferred = {"email": True, "phone": "+4915112345678", "device": None}
    async with session.put("/preferences/ann", json=preferred) as answer:
        assert (answer.status, await answer.json()) == (200, preferred)
    async with session.get("/preferences/ann") as answer:
        assert await answer.json() == preferred
    _, sent = await posted(session, "ann")
    dispatchers = [Dispatcher(store, name, Mailbox(), poll_s=0.05) for name in ChannelName]
    await asyncio.gather(*(dispatcher.start() for dispatcher in dispatchers))
    async with asyncio.timeout(10):
        while any(report.state is not State.SENT for report in await store.deliveries(sent["id"])):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await asyncio.gather(*(dispatcher.stop(5) for dispatcher in dispatchers))
    async with session.get(f"/notifications/{sent['id']}/deliveries") as answer:
        assert await answer.json() == [
            {"channel": channel, "address": address, "state": "sent", "attempts": 1, "last_error": ""}
            for channel, address in (("email", "ann@example.org"), ("sms", "+4915112345678"))
        ]


async def test_a_silent_email_server_holds_up_nothing_else(
    session: aiohttp.ClientSession, notifier: Notifier, store: NotificationStore
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        dispatcher = Dispatcher(store, ChannelName.EMAIL, Email(server, "shop@example.org"), poll_s=0.05)
        await notifier.handle(ORDER)
        await dispatcher.start()
        (told,) = await store.of_user("ann")
        async with asyncio.timeout(10):
            while not all(report.attempts for report in await store.deliveries(told.id)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        async with asyncio.timeout(4):  # the server is waited for longer
            for number in range(10):
                await notifier.handle(replace(ORDER, id=f"more-{number}"))
            for path in ("/health", "/notifications?user_id=ann"):
                async with session.get(path) as answer:
                    assert answer.status == 200
        await dispatcher.stop(20)
    assert len(await store.of_user("ann")) == 11


@pytest.mark.parametrize(
    "wrong", [{"phone": "0151"}, {"device": ""}, {"email": "perhaps"}, {"device": 7}, {"emial": False}]
)
async def test_preferences_out_of_bounds_or_misspelt_are_422(
    session: aiohttp.ClientSession, wrong: dict[str, Any]
) -> None:
    async with session.put("/preferences/ann", json=wrong) as answer:
        assert (answer.status, (await answer.json(content_type=None))["type"]) == (
            422,
            "urn:brownout-shop:problem:invalid",
        )


@pytest.mark.parametrize("path", ["/notifications?user_id=%00", "/preferences/%00", "/notifications/%00/deliveries"])
async def test_an_id_that_nobody_can_have_is_422(session: aiohttp.ClientSession, path: str) -> None:
    async with session.get(path) as answer:
        assert answer.status == 422


def settings(**named: str) -> Settings:
    return Settings(
        cell="c1",
        instance="notifications-0",
        listen="127.0.0.1:0",
        consul_url="",
        otlp_url="",
        kafka="127.0.0.1:1",
        **named,  # type: ignore[arg-type]  # pydantic makes the secret one secret
    )


async def test_the_service_needs_users_consumes_two_events_and_sends_on_three_ways(
    client: Client, database_url: str
) -> None:
    service = build(settings(database_url=database_url), client)
    assert (service.needs, len(service.companions)) == (("users",), 5)
    assert service.database is not None
    await service.database.close()


async def test_a_way_that_the_settings_name_no_server_for_is_kept_only(client: Client) -> None:
    assert {type(channel) for channel in channels(settings(), client).values()} == {Mailbox}
    named = channels(settings(smtp="127.0.0.1:25", sms="127.0.0.1:1", push="127.0.0.1:2"), client)
    assert [type(channel) for channel in named.values()] == [Email, MessageGateway, MessageGateway]
