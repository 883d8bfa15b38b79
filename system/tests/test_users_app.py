"""Users over a real listener and a real Postgres, with the gateway in front: clauses 2.1 and 6.1."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
import jwt
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from brownout_shop.application import application
from brownout_shop.database import Database
from brownout_shop.discovery.registry import Instance
from brownout_shop.gateway import app as gateway_app
from brownout_shop.middleware import Drain
from brownout_shop.resilience.client import Client
from brownout_shop.serve import _listening
from brownout_shop.service import Service
from brownout_shop.settings import Settings, SettingsError
from brownout_shop.telemetry.health import Health
from brownout_shop.users.admin import FirstAdmin
from brownout_shop.users.app import build
from brownout_shop.users.store import UserStore
from brownout_shop.users.tokens import Passwords

SECRET = "a secret of these tests only, 32 bytes or more"
PASSWORD = "correct horse"
ADMIN = "root@example.org"
SETTINGS = Settings(
    cell="c1",
    instance="users-0",
    listen="127.0.0.1:0",
    consul_url="",
    otlp_url="",
    token_secret=SecretStr(SECRET),
    admin_email=ADMIN,
    admin_password=SecretStr(PASSWORD),
)

Answer = tuple[int, dict[str, Any]]


@dataclass
class Shop:
    """What a test of users has in its hands."""

    users: aiohttp.ClientSession
    gateway: aiohttp.ClientSession
    database: Database

    async def register(self, email: str = "ann@example.org", **more: str) -> Answer:
        return await asked(
            self.gateway, "POST", "/api/users", json={"name": "Ann", "email": email, "password": PASSWORD, **more}
        )

    async def login(self, email: str = "ann@example.org", password: str = PASSWORD) -> Answer:
        return await asked(self.gateway, "POST", "/api/users/login", json={"email": email, "password": password})

    async def bearer(self, email: str = "ann@example.org") -> dict[str, str]:
        return bearer((await self.login(email))[1]["token"])

    async def roles(self) -> dict[str, str]:
        return dict(await self.database.execute(text("SELECT email, role FROM users")))  # type: ignore[arg-type]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def asked(session: aiohttp.ClientSession, method: str, path: str, **more: Any) -> Answer:
    async with session.request(method, path, **more) as answer:
        return answer.status, await answer.json(content_type=None)


@asynccontextmanager
async def served(name: str, service: Service) -> AsyncIterator[aiohttp.ClientSession]:
    health = Health(consul=lambda: True, has_instance=lambda _: True)
    with _listening(application(name, service, health, Drain()), SETTINGS) as listening:
        port = listening.listener.getsockname()[1]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield session
        await listening.finish(1)


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    settings = SETTINGS.model_copy(update={"database_url": SecretStr(database_url)})
    async with AsyncExitStack() as stack:
        instances: list[Instance] = []
        client = await stack.enter_async_context(Client("gateway", lambda _: instances))
        service = build(settings, client)
        assert service.database is not None
        await service.database.prepare()
        stack.push_async_callback(service.database.close)
        users = await stack.enter_async_context(served("users", service))
        instances.append(Instance("c1-users-0", str(users._base_url).removeprefix("http://").rstrip("/")))
        gateway = await stack.enter_async_context(served("gateway", Service(gateway_app.routes(client))))
        yield Shop(users, gateway, service.database)


@pytest.fixture
async def admin(shop: Shop) -> dict[str, str]:
    """The first admin's headers."""
    await made(shop.database)
    return await shop.bearer(ADMIN)


async def made(database: Database, email: str = ADMIN) -> None:
    """Have an instance's companion do its work to the end."""
    first = FirstAdmin(UserStore(database), Passwords(), email, PASSWORD)
    first._worker.stopping.set()
    await first._make()


async def test_who_registers_is_a_customer_and_cannot_claim_to_be_more(shop: Shop) -> None:
    assert (await shop.register(role="admin"))[0] == 422
    status, user = await shop.register()
    assert (status, user) == (201, {"id": user["id"], "name": "Ann", "email": "ann@example.org", "role": "customer"})


async def test_an_address_belongs_to_one_user(shop: Shop) -> None:
    answers = await asyncio.gather(*(shop.register(" ANN@example.org"[number % 2 :]) for number in range(6)))
    assert sorted(status for status, _ in answers) == [201, 409, 409, 409, 409, 409]


@pytest.mark.parametrize(("email", "password"), [("ann@example.org", "another horse"), ("bob@example.org", PASSWORD)])
async def test_who_is_not_known_by_address_and_password_gets_no_token(shop: Shop, email: str, password: str) -> None:
    await shop.register()
    status, problem = await shop.login(email, password)
    assert (status, problem["detail"]) == (401, "no user with this e-mail and password")


async def test_how_long_a_login_takes_does_not_tell_who_is_known(shop: Shop) -> None:
    await shop.register()
    known_s = min([await took_s(shop.users, "ann@example.org") for _ in range(9)])
    unknown_s = min([await took_s(shop.users, "bob@example.org") for _ in range(9)])
    assert unknown_s > 0.8 * known_s


async def took_s(users: aiohttp.ClientSession, email: str) -> float:
    """The processor's time that it took to refuse a log-in, of all threads."""
    began_s = time.process_time()
    assert (await asked(users, "POST", "/login", json={"email": email, "password": "another horse"}))[0] == 401
    return time.process_time() - began_s


async def test_who_is_refused_is_told_how_to_prove_who_one_is(shop: Shop) -> None:
    for session, path in ((shop.users, "/login"), (shop.gateway, "/api/users/login")):
        async with session.post(path, json={"email": "bob@example.org", "password": PASSWORD}) as answer:
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_a_token_lets_one_read_and_change_ones_own_data_and_nobody_elses(shop: Shop) -> None:
    ann, bob = (await shop.register())[1], (await shop.register("bob@example.org"))[1]
    headers = await shop.bearer()
    changes = {"name": "Anna", "email": "Anna@example.org"}
    assert await asked(shop.gateway, "GET", "/api/users/me", headers=headers) == (200, ann)
    changed = {**ann, "name": "Anna", "email": "anna@example.org"}
    assert await asked(shop.gateway, "PATCH", "/api/users/me", headers=headers, json=changes) == (200, changed)
    assert (await asked(shop.gateway, "PATCH", "/api/users/me", headers=headers, json={"role": "admin"}))[0] == 422
    assert await asked(shop.gateway, "GET", f"/api/users/{ann['id']}", headers=headers) == (200, changed)
    for method in ("GET", "PATCH"):
        assert (await asked(shop.gateway, method, f"/api/users/{bob['id']}", headers=headers, json=changes))[0] == 403
    taken = {"email": "bob@example.org"}
    assert (await asked(shop.gateway, "PATCH", "/api/users/me", headers=headers, json=taken))[0] == 409


async def test_a_password_is_changed_by_who_knows_the_old_one(shop: Shop) -> None:
    await shop.register()
    headers = await shop.bearer()

    async def changed(old: str, new: str) -> Answer:
        given = {"old": old, "new": new}
        return await asked(shop.gateway, "PUT", "/api/users/me/password", headers=headers, json=given)

    status, problem = await changed("another horse", "a new horse")
    assert (status, problem["type"]) == (403, "urn:brownout-shop:problem:wrong-password")
    assert (await changed(PASSWORD, "short"))[0] == 422
    assert (await shop.login())[0] == 200
    status, user = await changed(PASSWORD, "a new horse")
    assert (status, user["email"]) == (200, "ann@example.org")
    assert (await shop.login())[0] == 401
    assert (await shop.login(password="a new horse"))[0] == 200


async def test_of_two_changes_of_a_password_at_once_one_is_made(shop: Shop) -> None:
    ann = (await shop.register())[1]
    given = [{"old": PASSWORD, "new": f"new horse {number}"} for number in range(4)]
    path = f"/users/{ann['id']}/password"
    answers = await asyncio.gather(*(asked(shop.users, "PUT", path, json=each) for each in given))
    assert sorted(status for status, _ in answers) == [200, 403, 403, 403]
    (winner,) = [each["new"] for each, (status, _) in zip(given, answers, strict=True) if status == 200]
    assert (await shop.login(password=winner))[0] == 200


async def test_the_password_of_nobody_is_404(shop: Shop) -> None:
    given = {"old": PASSWORD, "new": PASSWORD}
    assert (await asked(shop.users, "PUT", "/users/nobody/password", json=given))[0] == 404


# --- roles ---


async def test_instances_that_start_at_once_make_one_admin(shop: Shop) -> None:
    await shop.register()
    await asyncio.gather(*(made(shop.database) for _ in range(5)))
    assert await shop.roles() == {"ann@example.org": "customer", ADMIN: "admin"}
    assert (await shop.login(ADMIN))[0] == 200


async def test_the_admin_of_the_environment_is_made_at_the_start(shop: Shop) -> None:
    first = FirstAdmin(UserStore(shop.database), Passwords(), ADMIN, PASSWORD)
    await first.start()
    async with asyncio.timeout(20):
        while not await shop.roles():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.02)
    await first.stop(5)
    assert await shop.roles() == {ADMIN: "admin"}


async def test_a_later_start_makes_no_second_admin_and_changes_nothing_of_the_first(
    shop: Shop, admin: dict[str, str]
) -> None:
    given = {"old": PASSWORD, "new": "a new horse"}
    assert (await asked(shop.gateway, "PUT", "/api/users/me/password", headers=admin, json=given))[0] == 200
    renamed = {"email": "chief@example.org"}
    assert (await asked(shop.gateway, "PATCH", "/api/users/me", headers=admin, json=renamed))[0] == 200
    await made(shop.database)
    await made(shop.database, "chief@example.org")
    assert await shop.roles() == {"chief@example.org": "admin"}
    assert (await shop.login("chief@example.org", "a new horse"))[0] == 200


async def test_a_customer_who_has_the_admins_address_stays_a_customer(shop: Shop) -> None:
    await shop.register(ADMIN)
    await made(shop.database)
    assert await shop.roles() == {ADMIN: "customer"}


async def test_an_admin_changes_anothers_role_which_holds_for_the_tokens_there_are(
    shop: Shop, admin: dict[str, str]
) -> None:
    ann, bob = (await shop.register())[1], (await shop.register("bob@example.org"))[1]
    headers = await shop.bearer()
    path = f"/api/users/{bob['id']}/role"
    for role, status in (("customer", 403), ("admin", 200), ("customer", 403)):
        made = await asked(shop.gateway, "PUT", f"/api/users/{ann['id']}/role", headers=admin, json={"role": role})
        assert made == (200, {**ann, "role": role})
        assert (await asked(shop.gateway, "PUT", path, headers=headers, json={"role": "customer"}))[0] == status


async def test_of_two_admins_who_demote_each_other_at_once_one_stays(
    shop: Shop, admin: dict[str, str], database_url: str
) -> None:
    ann, root = (await shop.register())[1], (await asked(shop.gateway, "GET", "/api/users/me", headers=admin))[1]
    other = await asyncpg.connect(database_url, ssl=False, timeout=10)
    for _ in range(20):
        await shop.database.execute(text("UPDATE users SET role = 'admin'"))
        async with other.transaction():
            await other.execute("SELECT FROM users FOR UPDATE")
            changes = asyncio.gather(
                *(
                    asked(shop.users, "PUT", f"/users/{whom['id']}/role", json={"role": "customer"}, headers=by)
                    for whom, by in ((ann, {"X-User-Id": root["id"]}), (root, {"X-User-Id": ann["id"]}))
                )
            )
            await two_wait(shop.database)
        assert sorted(status for status, _ in await changes) == [200, 403]
        assert sorted((await shop.roles()).values()) == ["admin", "customer"]
    await other.close()


async def two_wait(database: Database) -> None:
    async with asyncio.timeout(4):
        while len(await database.execute(text("SELECT 1 FROM pg_locks WHERE NOT granted"))) < 2:  # noqa: ASYNC110 - a lock tells nobody
            await asyncio.sleep(0.01)


async def test_nobody_gives_up_being_an_admin(shop: Shop, admin: dict[str, str]) -> None:
    own = (await asked(shop.gateway, "GET", "/api/users/me", headers=admin))[1]
    customer = {"role": "customer"}
    assert (await asked(shop.gateway, "PUT", f"/api/users/{own['id']}/role", headers=admin, json=customer))[0] == 403
    assert await shop.roles() == {ADMIN: "admin"}


@pytest.mark.parametrize(("user", "role", "status"), [("nobody", "admin", 404), ("nobody", "chief", 422)])
async def test_a_role_that_is_none_and_a_user_who_is_none(
    shop: Shop, admin: dict[str, str], user: str, role: str, status: int
) -> None:
    path = f"/api/users/{user}/role"
    assert (await asked(shop.gateway, "PUT", path, headers=admin, json={"role": role}))[0] == status


@pytest.mark.parametrize(
    ("email", "password", "told"),
    [(ADMIN, "", "password: 8 to 1000"), ("", PASSWORD, "email: something"), ("root", PASSWORD, "email: something")],
)
def test_half_an_admin_in_the_environment_is_told_without_its_password(email: str, password: str, told: str) -> None:
    settings = SETTINGS.model_copy(
        update={
            "admin_email": email,
            "admin_password": SecretStr(password),
            "database_url": SecretStr("postgresql://postgres@127.0.0.1:1/none"),
        }
    )
    with pytest.raises(SettingsError, match=f"^environment: ADMIN_EMAIL, ADMIN_PASSWORD: {told}") as caught:
        build(settings, Client("users", lambda _: ()))
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("secret", ["", "a secret", "x" * 31])
def test_a_secret_that_could_be_guessed_is_none(secret: str) -> None:
    settings = SETTINGS.model_copy(
        update={
            "token_secret": SecretStr(secret),
            "database_url": SecretStr("postgresql://postgres@127.0.0.1:1/none"),
        }
    )
    with pytest.raises(SettingsError, match=r"^environment: TOKEN_SECRET: 32 bytes or more$"):
        build(settings, Client("users", lambda _: ()))


# --- tokens ---


def claims(user_id: str, **more: object) -> dict[str, Any]:
    return {"sub": user_id, "exp": int(time.time()) + 600, **more}


def part(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def altered(user_id: str) -> str:
    """Another's token in which one's own id was put."""
    head, _, signature = jwt.encode(claims("0" * 32), SECRET, "HS256").split(".")
    return f"{head}.{part(claims(user_id))}.{signature}"


FORGED: dict[str, Callable[[str], str]] = {
    "expired": lambda user: jwt.encode(claims(user, exp=int(time.time()) - 1), SECRET, "HS256"),
    "under another secret": lambda user: jwt.encode(claims(user), SECRET[::-1], "HS256"),
    "without a signature": lambda user: jwt.encode(claims(user), None, "none"),
    "alg none and the signature left": lambda user: (
        part({"alg": "none", "typ": "JWT"}) + "." + jwt.encode(claims(user), SECRET, "HS256").partition(".")[2]
    ),
    "by another algorithm": lambda user: jwt.encode(claims(user), SECRET * 2, "HS512"),
    "altered": altered,
    "for ever": lambda user: jwt.encode({"sub": user}, SECRET, "HS256"),
    "not yet": lambda user: jwt.encode(claims(user, nbf=int(time.time()) + 600), SECRET, "HS256"),
    "of nobody": lambda _: jwt.encode(claims("0" * 32), SECRET, "HS256"),
    "without a user": lambda _: jwt.encode({"exp": int(time.time()) + 600}, SECRET, "HS256"),
    "no token": lambda user: user,
    "empty": lambda _: "",
}


@pytest.mark.parametrize("kind", FORGED)
async def test_a_token_that_was_not_issued_or_is_no_longer_good_is_401(shop: Shop, kind: str) -> None:
    ann = (await shop.register())[1]
    token = FORGED[kind](ann["id"])
    assert (await asked(shop.users, "POST", "/tokens/validate", json={"token": token}))[0] == 401
    for path in ("/api/users/me", "/api/orders", "/api/payments/x"):
        status, problem = await asked(shop.gateway, "GET", path, headers=bearer(token))
        assert (status, problem["type"]) == (401, "urn:brownout-shop:problem:unauthorized")


async def test_a_token_made_as_ours_are_is_good(shop: Shop) -> None:
    """Or the forged ones would be refused for nothing."""
    ann = (await shop.register())[1]
    token = jwt.encode(claims(ann["id"]), SECRET, "HS256")
    assert await asked(shop.users, "POST", "/tokens/validate", json={"token": token}) == (200, ann)


async def test_the_token_says_nothing_of_the_role(admin: dict[str, str]) -> None:
    token = admin["Authorization"].removeprefix("Bearer ")
    assert set(jwt.decode(token, SECRET, ["HS256"])) == {"sub", "exp"}
