"""The users service's routes: CreateUser, GetUser, UpdateUser, Login, ValidateToken (clause 2.1)."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from brownout_shop.database import Database
from brownout_shop.problems import Problem
from brownout_shop.resilience.client import Client
from brownout_shop.resilience.deadline import deadline_ns
from brownout_shop.resilience.limiter import Limiter, RateLimitError
from brownout_shop.service import Service
from brownout_shop.settings import Settings
from brownout_shop.telemetry import metrics
from brownout_shop.users.domain import (
    InvalidUserError,
    User,
    checked_email,
    checked_name,
    checked_password,
)
from brownout_shop.users.store import METADATA, EmailTakenError, UserStore
from brownout_shop.users.tokens import Passwords, Tokens

__all__ = ["build"]


class NewUser(BaseModel):
    """Who registers."""

    name: str
    email: str
    password: str


class Login(BaseModel):
    """Who logs in."""

    email: str
    password: str


class Token(BaseModel):
    """A token to validate."""

    token: str


class Changes(BaseModel):
    """What a user changes; what is left out stays."""

    name: str | None = None
    email: str | None = None


def build(settings: Settings, _client: Client) -> Service:
    """Return the users service."""
    database = Database(settings.database_url.get_secret_value(), METADATA)
    tokens = Tokens(settings.token_secret.get_secret_value())
    limiter = Limiter(settings.rate_limit_rps, settings.rate_limit_rps)
    return Service(routes(UserStore(database), tokens, limiter), database=database)


def routes(users: UserStore, tokens: Tokens, limiter: Limiter) -> APIRouter:
    """Return the routes over a store of users."""
    router = APIRouter()
    passwords = Passwords()

    @router.post("/users", status_code=201)
    async def create_user(new: NewUser) -> dict[str, str]:
        with _refusals():
            name, email = checked_name(new.name), checked_email(new.email)
            password_hash = await passwords.hashed(checked_password(new.password))
            return asdict(await users.add(name, email, password_hash))

    @router.get("/users/{user_id}")
    async def get_user(user_id: str) -> dict[str, str]:
        await _passed(limiter)
        return asdict(_found(await users.get(user_id)))

    @router.patch("/users/{user_id}")
    async def update_user(user_id: str, changes: Changes) -> dict[str, str]:
        with _refusals():
            name = None if changes.name is None else checked_name(changes.name)
            email = None if changes.email is None else checked_email(changes.email)
            return asdict(_found(await users.change(user_id, name=name, email=email)))

    @router.post("/login")
    async def login(known: Login) -> dict[str, Any]:
        found = await users.credentials(known.email.strip().lower())
        if found is None or not await passwords.match(found[1], known.password):
            raise Problem(401, "unauthorized", "no user with this e-mail and password")
        token, expires_at = tokens.issue(found[0])
        return {"token": token, "expires_at": expires_at}

    @router.post("/tokens/validate")
    async def validate_token(given: Token) -> dict[str, str]:
        user_id = tokens.user_id(given.token)
        user = await users.get(user_id) if user_id else None
        if user is None:
            raise Problem(401, "unauthorized", "the token is not valid")
        return asdict(user)

    return router


async def _passed(limiter: Limiter) -> None:
    """Wait for a token, or fail at once where it would come after the caller's deadline (clause 6.3)."""
    began = time.perf_counter()
    try:
        await limiter.wait(deadline_ns=deadline_ns())
    except RateLimitError as error:
        metrics.LIMITER_REFUSALS.inc()
        raise Problem(429, "rate-limited", str(error)) from error
    metrics.LIMITER_WAITS.observe(time.perf_counter() - began)


def _found(user: User | None) -> User:
    if user is None:
        raise Problem(404, "not-found", "no such user")
    return user


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Answer what breaks the rules as a problem."""
    try:
        yield
    except InvalidUserError as error:
        raise Problem(422, "invalid", str(error)) from error
    except EmailTakenError as error:
        raise Problem(409, "email-taken", "another user has this e-mail address") from error
