"""The users service's gRPC methods with a real Postgres: clauses 3.2 and 6.3."""

from collections.abc import AsyncIterator

import grpc
import pytest

from brownout_shop.database import Database
from brownout_shop.resilience.limiter import Limiter
from brownout_shop.rpc.method import CREATE_USER, GET_USER
from brownout_shop.rpc.server import Server
from brownout_shop.rpc.user_pb2 import CreateUserRequest, GetUserRequest, User
from brownout_shop.users.accounts import Accounts
from brownout_shop.users.rpc import handlers
from brownout_shop.users.store import METADATA, UserStore
from brownout_shop.users.tokens import Passwords

ANN = CreateUserRequest(name="Ann", email="Ann@example.org", password="correct horse")
NOBODY = GetUserRequest(id="nobody")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, METADATA)
    await database.prepare()
    yield database
    await database.close()


@pytest.fixture
def accounts(database: Database) -> Accounts:
    return Accounts(UserStore(database), Passwords(), Limiter(5, 5))


@pytest.fixture
async def channel(accounts: Accounts) -> AsyncIterator[grpc.aio.Channel]:
    server = Server("127.0.0.1:0", handlers(accounts))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel
    await server.stop(0)


async def created(channel: grpc.aio.Channel, request: CreateUserRequest = ANN) -> User:
    method = channel.unary_unary(CREATE_USER.path, CreateUserRequest.SerializeToString, User.FromString)
    answer: User = await method(request, timeout=10)
    return answer


async def got(channel: grpc.aio.Channel, request: GetUserRequest, within_s: float = 10) -> User:
    method = channel.unary_unary(GET_USER.path, GetUserRequest.SerializeToString, User.FromString)
    answer: User = await method(request, timeout=within_s)
    return answer


async def test_a_created_user_can_be_got(channel: grpc.aio.Channel) -> None:
    user = await created(channel)
    assert (user.name, user.email) == ("Ann", "ann@example.org")
    assert await got(channel, GetUserRequest(id=user.id)) == user


async def test_an_unknown_id_is_not_found(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await got(channel, NOBODY)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_user_without_a_password_is_an_invalid_argument(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="password: 8 to 1000 characters") as caught:
        await created(channel, CreateUserRequest(name="Ann", email="ann@example.org"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_taken_address_already_exists(channel: grpc.aio.Channel) -> None:
    await created(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await created(channel)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_the_limit_is_shared_with_the_other_protocol_and_minds_the_callers_deadline(
    channel: grpc.aio.Channel, accounts: Accounts
) -> None:
    user_id = (await created(channel)).id
    for _ in range(5):
        await accounts.get(user_id)  # as HTTP does
    with pytest.raises(grpc.aio.AioRpcError, match="rate limit exceeded: ") as caught:
        await got(channel, GetUserRequest(id=user_id), within_s=0.1)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(caught.value.trailing_metadata() or {})["retry-after"] == "1"
    assert (await got(channel, GetUserRequest(id=user_id))).id == user_id


async def test_what_no_database_takes_is_an_invalid_argument(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await got(channel, GetUserRequest(id="\0"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_lost_database_is_unavailable() -> None:
    lost = Database("postgresql://postgres@127.0.0.1:1/none", METADATA)
    server = Server("127.0.0.1:0", handlers(Accounts(UserStore(lost), Passwords(), Limiter(5, 5))))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="the database does not answer") as caught:
            await got(channel, NOBODY)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await server.stop(0)
    await lost.close()
