"""The users service's gRPC methods: GetUser and CreateUser (clause 3.2)."""

from collections.abc import Mapping
from typing import Any

from brownout_shop.rpc.method import CREATE_USER, GET_USER, Method
from brownout_shop.rpc.server import Handler
from brownout_shop.rpc.user_pb2 import CreateUserRequest, GetUserRequest, User
from brownout_shop.users import domain
from brownout_shop.users.accounts import Accounts

__all__ = ["handlers"]


def handlers(accounts: Accounts) -> Mapping[Method[Any, Any], Handler]:
    """Return who answers each method."""

    async def get_user(request: GetUserRequest) -> User:
        return _told(await accounts.get(request.id))

    async def create_user(request: CreateUserRequest) -> User:
        return _told(await accounts.create(request.name, request.email, request.password))

    return {GET_USER: get_user, CREATE_USER: create_user}


def _told(user: domain.User) -> User:
    return User(id=user.id, name=user.name, email=user.email)
