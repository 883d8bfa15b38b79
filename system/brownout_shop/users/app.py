"""The users service's routes: CreateUser, GetUser, UpdateUser, Login, ValidateToken (clause 2.1)."""

import math
from dataclasses import asdict
from functools import partial
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from brownout_shop.body import Router
from brownout_shop.database import Database
from brownout_shop.problems import Problem, documented
from brownout_shop.resilience.client import Client
from brownout_shop.resilience.limiter import Limiter
from brownout_shop.rpc.server import Server
from brownout_shop.service import Service
from brownout_shop.settings import Settings
from brownout_shop.users.accounts import Accounts
from brownout_shop.users.rpc import handlers
from brownout_shop.users.store import METADATA, UserStore
from brownout_shop.users.tokens import Passwords, Tokens

__all__ = ["build"]

RATE_LIMIT_KEY = "users/rate_limit_rps"


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
    users, passwords = UserStore(database), Passwords()
    limiter = Limiter(settings.rate_limit_rps, settings.rate_limit_rps)
    accounts = Accounts(users, passwords, limiter)
    server = (Server(settings.grpc_listen, handlers(accounts)),) if settings.grpc_listen else ()
    tokens = Tokens(settings.token_secret.get_secret_value())
    return Service(
        routes(accounts, users, passwords, tokens),
        database=database,
        companions=server,
        watches={RATE_LIMIT_KEY: partial(limit, limiter)},
    )


def limit(limiter: Limiter, rps: str) -> None:
    """Let so many calls pass from now on, per second and at once (clauses 5, 6.3).

    Raises:
        ValueError: it is not a positive number.
    """
    rate = float(rps)
    if not 0 < rate < math.inf:
        raise ValueError("not a positive number")
    limiter.set_limit(rate)
    limiter.set_burst(math.ceil(rate))


def routes(accounts: Accounts, users: UserStore, passwords: Passwords, tokens: Tokens) -> APIRouter:
    """Return the routes; who logs in or brings a token is looked up without the limit of GetUser."""
    router = Router()

    @router.post("/users", status_code=201, responses=documented(409))
    async def create_user(new: NewUser) -> dict[str, str]:
        return asdict(await accounts.create(new.name, new.email, new.password))

    @router.get("/users/{user_id}", responses=documented(404, 429))
    async def get_user(user_id: str) -> dict[str, str]:
        return asdict(await accounts.get(user_id))

    @router.patch("/users/{user_id}", responses=documented(404, 409))
    async def update_user(user_id: str, changes: Changes) -> dict[str, str]:
        return asdict(await accounts.change(user_id, name=changes.name, email=changes.email))

    @router.post("/login", responses=documented(401))
    async def login(known: Login) -> dict[str, Any]:
        found = await users.credentials(known.email.strip().lower())
        if found is None or not await passwords.match(found[1], known.password):
            raise Problem(401, "unauthorized", "no user with this e-mail and password")
        token, expires_at = tokens.issue(found[0])
        return {"token": token, "expires_at": expires_at}

    @router.post("/tokens/validate", responses=documented(401))
    async def validate_token(given: Token) -> dict[str, str]:
        user_id = tokens.user_id(given.token)
        user = await users.get(user_id) if user_id else None
        if user is None:
            raise Problem(401, "unauthorized", "the token is not valid")
        return asdict(user)

    return router
