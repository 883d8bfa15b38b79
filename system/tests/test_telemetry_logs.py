"""Logs: each line is JSON, belongs to its trace, and tells no secret, whatever fails and whoever writes it."""

import io
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import asyncpg
import jwt
import pytest
from opentelemetry.sdk.trace import TracerProvider

from brownout_shop.settings import Settings
from brownout_shop.telemetry.logs import JsonFormatter, log_as_json

PASSWORD = "canary-password-of-alice"
WRONG = "canary-wrong-password"
FIELDS = {"at", "level", "service", "logger", "message"}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged from DEBUG upwards, by the shop and by every library, without the help of knowing the secrets."""
    written, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(written), root.level
    handler.setFormatter(JsonFormatter({"service": "all"}))
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def formatted(message: str, *secrets: str, **more: Any) -> dict[str, Any]:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, message, None, **{"exc_info": None, **more})
    found: dict[str, Any] = json.loads(JsonFormatter({"service": "users"}, secrets).format(record))
    return found


def test_a_line_in_a_span_names_it_and_its_trace() -> None:
    with TracerProvider(shutdown_on_exit=False).get_tracer("x").start_as_current_span("x") as span:
        line = formatted("hello")
    context = span.get_span_context()
    assert line.keys() >= FIELDS
    assert (line["trace_id"], line["span_id"]) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert "trace_id" not in formatted("hello")


def test_a_secret_is_in_no_line_wherever_it_stands() -> None:
    secret = 'a "secret" of mine'
    line = formatted(f"it was {secret}", secret, "", exc_info=(ValueError, ValueError(secret), None))
    assert line["message"] == "it was ***"
    assert "mine" not in json.dumps(line)


def test_every_secret_of_the_settings_is_one_of_the_logs(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(
        cell="c1",
        instance="users-0",
        listen="127.0.0.1:0",
        consul_url="",
        otlp_url="",
        database_url="postgresql://shop:canary-database@127.0.0.1/x",
        token_secret="canary-token-secret",
    )
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    log_as_json(service="users", secrets=settings.secrets)
    logging.getLogger("brownout_shop").warning(
        "%r", [value.get_secret_value() for value in (settings.database_url, settings.token_secret)]
    )
    logging.basicConfig(handlers=handlers, level=level, force=True)
    told = capsys.readouterr().err
    assert "***" in told
    assert "canary" not in told


async def test_no_route_and_no_failure_logs_what_is_secret(
    shop: dict[str, str], log: io.StringIO, database_url: str, token_secret: str
) -> None:
    account = {"email": "alice@example.com", "password": PASSWORD}
    async with aiohttp.ClientSession(shop["gateway"]) as session:
        token = await _use(session, account, token_secret)
        await _lose(database_url)
        for method, path, more in USES:
            headers = {"Authorization": f"Bearer {token}"}
            async with session.request(method, path, json=account | more, headers=headers) as answer:
                assert answer.status >= 500
    logging.getLogger("library").debug("heard")
    told = log.getvalue()
    assert lines(log)[-1]["message"] == "heard"
    for secret in (PASSWORD, WRONG, token, token.rpartition(".")[2], token_secret, "$argon2", "Bearer "):
        assert secret not in told, secret


USES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("POST", "/api/users", {"name": "Alice"}),
    ("POST", "/api/users/login", {}),
    ("GET", "/api/users/me", {}),
)
"""Where an account is told; who registers has a name besides."""


async def _use(session: aiohttp.ClientSession, account: dict[str, str], token_secret: str) -> str:
    """Be right and wrong in each way that has to do with a secret; returns a token."""
    spoilt: tuple[Any, ...] = (
        {},
        {"password": WRONG},
        {"password": ""},
        {"name": [WRONG]},
        {"password": [WRONG]},
        [WRONG],
    )
    tokens = [WRONG, f"a.{WRONG}.b", jwt.encode({"sub": WRONG, "exp": time.time() + 9}, token_secret, "HS256")]
    for _, path, more in USES[:2]:
        for changes in spoilt:
            async with session.post(
                path, json={**account, **more, **changes} if isinstance(changes, dict) else changes
            ) as answer:
                assert answer.status < 500
    async with session.post("/api/users/login", json=account) as answer:
        token = str((await answer.json())["token"])
    for each in (*tokens, token):
        for path in ("/api/users/me", "/api/orders", f"/api/orders/{each}", f"/api/products?query={each}"):
            async with session.get(path, headers={"Authorization": f"Bearer {each}"}) as answer:
                assert answer.status < 500
    return token


async def _lose(database_url: str) -> None:
    server, _, name = database_url.rpartition("/")
    admin = await asyncpg.connect(f"{server}/postgres", ssl=False, timeout=10)
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    await admin.close()
