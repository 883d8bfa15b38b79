"""The users service's routes: CreateUser, GetUser, UpdateUser, Login, ValidateToken, roles (clause 2.1)."""

import math
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header

from brownout_shop.body import Body, Router
from brownout_shop.database import Database
from brownout_shop.problems import Problem, documented
from brownout_shop.resilience.client import Client
from brownout_shop.resilience.limiter import Limiter
from brownout_shop.service import Service
from brownout_shop.settings import Settings, SettingsError
from brownout_shop.users.accounts import Accounts
from brownout_shop.users.admin import FirstAdmin
from brownout_shop.users.domain import InvalidUserError, Role
from brownout_shop.users.rpc import handlers
from brownout_shop.users.store import METADATA, UserStore
from brownout_shop.users.tokens import Passwords, Tokens

__all__ = ["build"]

SECRET_BYTES = 32  # as long as the digest at least (RFC 7518, 3.2)
RATE_LIMIT_KEY = "users/rate_limit_rps"


class NewUser(Body):
    """Who registers."""

    name: str
    email: str
    password: str


class Login(Body):
    """Who logs in."""

    email: str
    password: str


class Token(Body):
    """A token to validate."""

    token: str


class Changes(Body):
    """What a user changes; what is left out stays."""

    name: str | None = None
    email: str | None = None


class NewPassword(Body):
    """A password, and the one that it replaces."""

    old: str
    new: str


class NewRole(Body):
    """What a user shall be."""

    role: Role


def build(settings: Settings, _client: Client) -> Service:
    """Return the users service."""
    database = Database(settings.database_url.get_secret_value(), METADATA)
    users, passwords = UserStore(database), Passwords()
    limiter = Limiter(settings.rate_limit_rps, settings.rate_limit_rps)
    accounts = Accounts(users, passwords, limiter)
    return Service(
        routes(accounts, users, passwords, _tokens(settings)),
        database=database,
        companions=_first_admin(settings, users, passwords),
        methods=handlers(accounts),
        watches={RATE_LIMIT_KEY: partial(limit, limiter)},
    )


def _tokens(settings: Settings) -> Tokens:
    secret = settings.token_secret.get_secret_value()
    if len(secret.encode()) < SECRET_BYTES:
        raise SettingsError(f"environment: TOKEN_SECRET: {SECRET_BYTES} bytes or more")
    return Tokens(secret)


def _first_admin(settings: Settings, users: UserStore, passwords: Passwords) -> tuple[FirstAdmin, ...]:
    email, password = settings.admin_email, settings.admin_password.get_secret_value()
    if not email and not password:
        return ()
    try:
        return (FirstAdmin(users, passwords, email, password),)
    except InvalidUserError as error:
        raise SettingsError(f"environment: ADMIN_EMAIL, ADMIN_PASSWORD: {error}") from error


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
    """Return the routes; who logs in or brings a token is looked up without the limit of GetUser.

    Who may ask for what of whom is the gateway's to see to.
    """
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

    @router.put("/users/{user_id}/password", responses=documented(403, 404))
    async def change_password(user_id: str, given: NewPassword) -> dict[str, str]:
        return asdict(await accounts.change_password(user_id, given.old, given.new))

    @router.put("/users/{user_id}/role", responses=documented(403, 404))
    async def change_role(user_id: str, new: NewRole, x_user_id: Annotated[str, Header()]) -> dict[str, str]:
        return asdict(await accounts.change_role(user_id, new.role, by=x_user_id))

    @router.post("/login", responses=documented(401))
    async def login(known: Login) -> dict[str, Any]:
        user_id, password_hash = await users.credentials(known.email.strip().lower()) or ("", None)
        if not await passwords.match(password_hash, known.password):
            raise Problem(401, "unauthorized", "no user with this e-mail and password")
        token, expires_at = tokens.issue(user_id)
        return {"token": token, "expires_at": expires_at}

    @router.post("/tokens/validate", responses=documented(401))
    async def validate_token(given: Token) -> dict[str, str]:
        user_id = tokens.user_id(given.token)
        user = await users.get(user_id) if user_id else None
        if user is None:
            raise Problem(401, "unauthorized", "the token is not valid")
        return asdict(user)

    return router
