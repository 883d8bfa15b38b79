"""Notifications over a real listener, with a real Postgres and users by gRPC: clauses 2.5, 3.2 and 3.3."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from brownout_shop.application import application
from brownout_shop.database import Database, DatabaseUnavailableError
from brownout_shop.discovery.registry import Instance
from brownout_shop.events import Event, MalformedEventError
from brownout_shop.middleware import Drain
from brownout_shop.notifications.app import build, routes
from brownout_shop.notifications.channel import Mailbox
from brownout_shop.notifications.notifier import Notifier
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
def notifier(client: Client, store: NotificationStore) -> Notifier:
    return Notifier(client.rpc, Mailbox(store))


@pytest.fixture
async def session(notifier: Notifier, store: NotificationStore) -> AsyncIterator[aiohttp.ClientSession]:
    health = Health(consul=lambda: True, has_instance=lambda _: True, needs=("users",))
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


async def test_an_event_delivered_twice_is_told_once(notifier: Notifier, store: NotificationStore) -> None:
    for _ in range(2):
        await notifier.handle(ORDER)
    (told,) = await store.of_user("ann")
    assert (told.event_id, told.text) == ("e1", "We have received your order o1.")


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


async def test_the_service_needs_users_and_consumes_events(client: Client, database_url: str) -> None:
    settings = Settings(
        cell="c1",
        instance="notifications-0",
        listen="127.0.0.1:0",
        consul_url="",
        otlp_url="",
        kafka="127.0.0.1:1",
        database_url=database_url,  # type: ignore[arg-type]  # pydantic makes it secret
    )
    service = build(settings, client)
    assert (service.needs, len(service.companions)) == (("users",), 1)
    assert service.database is not None
    await service.database.close()
