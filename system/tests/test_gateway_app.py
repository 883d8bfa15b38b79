"""The gateway over a real listener, with users and orders on loopback: clause 6.1."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import REGISTRY

from brownout_shop.application import application
from brownout_shop.discovery.registry import Instance
from brownout_shop.gateway.app import routes
from brownout_shop.middleware import Drain
from brownout_shop.resilience.client import Client
from brownout_shop.serve import _listening
from brownout_shop.service import Service
from brownout_shop.settings import Settings
from brownout_shop.telemetry.health import Health
from wires import until

ALICE = {"Authorization": "Bearer alice"}
ROOT = {"Authorization": "Bearer root"}
KNOWN = {"alice": {"id": "a1", "role": "customer"}, "root": {"id": "r1", "role": "admin"}}
FOR_ADMINS = [("PUT", "/api/users/b2/role"), ("PATCH", "/api/orders/o1")]


class Backend:
    """Users and orders in one: knows two tokens, and answers anything else with what it was asked."""

    def __init__(self) -> None:
        self.validation = 200

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/tokens/validate":
            if self.validation != 200:
                return web.json_response({}, status=self.validation)
            user = KNOWN.get((await request.json())["token"])
            return web.json_response(user or {}, status=200 if user else 401)
        asked = {
            "asked": f"{request.method} {request.path_qs}",
            "user": request.headers.get("X-User-Id"),
            "role": request.headers.get("X-User-Role"),
            "key": request.headers.get("Idempotency-Key"),
            "signature": request.headers.get("X-Signature"),
            "body": await request.text(),
        }
        return web.json_response(asked, status=409 if "taken" in request.path else 200)


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def drain() -> Drain:
    return Drain()


@pytest.fixture
async def gateway(backend: Backend, drain: Drain) -> AsyncIterator[aiohttp.ClientSession]:
    upstream = web.Application()
    upstream.router.add_route("*", "/{path:.*}", backend.handle)
    settings = Settings(cell="c1", instance="gateway-0", listen="127.0.0.1:0", consul_url="", otlp_url="")
    async with TestServer(upstream) as server:
        instance = Instance("c1-x-0", f"127.0.0.1:{server.port}")
        async with Client("gateway", lambda _: [instance]) as client:
            health = Health(consul=lambda: True, has_instance=lambda _: True, needs=("users", "orders"))
            app = application("gateway", Service(routes(client)), health, drain)
            with _listening(app, settings) as listening:
                port = listening.listener.getsockname()[1]
                async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                    yield session
                await listening.finish(1)


async def asked(gateway: aiohttp.ClientSession, method: str, path: str, **more: Any) -> tuple[int, dict[str, Any]]:
    async with gateway.request(method, path, **more) as answer:
        return answer.status, await answer.json(content_type=None)


@pytest.mark.parametrize(("path", "behind"), [("/api/users", "/users"), ("/api/users/login", "/login")])
async def test_who_registers_or_logs_in_needs_no_token(gateway: aiohttp.ClientSession, path: str, behind: str) -> None:
    status, body = await asked(gateway, "POST", path, json={})
    assert (status, body["asked"], body["body"]) == (200, f"POST {behind}", "{}")


async def test_the_providers_callback_needs_no_token_and_comes_through_as_it_was_signed(
    gateway: aiohttp.ClientSession,
) -> None:
    callback = {"data": b'{ "key":1}', "headers": {"X-Signature": "t=1,v1=x", "Content-Type": "application/json"}}
    status, body = await asked(gateway, "POST", "/api/payments/callback", **callback)
    assert (status, body["asked"], body["user"]) == (200, "POST /callback", None)
    assert (body["body"], body["signature"]) == ('{ "key":1}', "t=1,v1=x")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/payments/callback"), ("POST", "/api/payments"), ("POST", "/api/payments/callback/x")],
)
async def test_nothing_else_of_payments_is_open(gateway: aiohttp.ClientSession, method: str, path: str) -> None:
    assert (await asked(gateway, method, path, headers={"X-Signature": "t=1,v1=x"}))[0] == 401


@pytest.mark.parametrize("path", ["/api/users/me", "/api/orders", "/api/orders/1", "/api/users/x/y"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer mallory"}, {"Authorization": "Basic alice"}])
async def test_everything_else_without_a_valid_token_is_401(
    gateway: aiohttp.ClientSession, path: str, headers: dict[str, str]
) -> None:
    status, body = await asked(gateway, "GET", path, headers=headers)
    assert (status, body["type"]) == (401, "urn:brownout-shop:problem:unauthorized")


@pytest.mark.parametrize(("token", "user", "role"), [(ALICE, "a1", "customer"), (ROOT, "r1", "admin")])
async def test_orders_get_the_validated_user_and_role_whatever_the_caller_claims(
    gateway: aiohttp.ClientSession, token: dict[str, str], user: str, role: str
) -> None:
    claimed = {"X-User-Id": "b2", "x-user-role": "admin", "X_User_Role": "admin"}
    status, body = await asked(gateway, "POST", "/api/orders?x=1", headers={**token, **claimed})
    assert (status, body["asked"], body["user"], body["role"]) == (200, "POST /orders?x=1", user, role)


async def test_who_needs_no_token_is_nobody_whatever_the_caller_claims(gateway: aiohttp.ClientSession) -> None:
    claimed = {"X-User-Id": "r1", "X-User-Role": "admin"}
    body = (await asked(gateway, "POST", "/api/users/login", json={}, headers=claimed))[1]
    assert (body["user"], body["role"]) == (None, None)


async def test_the_idempotency_key_goes_with_an_order(gateway: aiohttp.ClientSession) -> None:
    body = (await asked(gateway, "POST", "/api/orders", headers={**ALICE, "Idempotency-Key": "k1"}))[1]
    assert body["key"] == "k1"


@pytest.mark.parametrize(("method", "path"), FOR_ADMINS)
@pytest.mark.parametrize(("headers", "status"), [(ALICE, 403), ({**ALICE, "X-User-Role": "admin"}, 403), ({}, 401)])
async def test_what_is_for_admins_is_for_nobody_else(
    gateway: aiohttp.ClientSession, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    assert (await asked(gateway, method, path, headers=headers, json={}))[0] == status


@pytest.mark.parametrize(("method", "path"), FOR_ADMINS)
async def test_an_admin_is_passed_through(gateway: aiohttp.ClientSession, method: str, path: str) -> None:
    status, body = await asked(gateway, method, path, headers=ROOT, json={})
    assert (status, body["asked"], body["role"]) == (200, f"{method} {path.removeprefix('/api')}", "admin")


@pytest.mark.parametrize("whose", ["me", "a1"])
async def test_ones_own_password_is_ones_own_to_change(gateway: aiohttp.ClientSession, whose: str) -> None:
    status, body = await asked(gateway, "PUT", f"/api/users/{whose}/password", headers=ALICE, json={})
    assert (status, body["asked"], body["body"]) == (200, "PUT /users/a1/password", "{}")


async def test_me_is_the_tokens_user(gateway: aiohttp.ClientSession) -> None:
    assert (await asked(gateway, "GET", "/api/users/me", headers=ALICE))[1]["asked"] == "GET /users/a1"


async def test_me_is_asked_for_and_changed_and_nothing_else(gateway: aiohttp.ClientSession) -> None:
    async with gateway.post("/api/users/me", headers=ALICE) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, PATCH")


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("PATCH", ""), ("PUT", "/password")])
@pytest.mark.parametrize("headers", [ALICE, ROOT])
async def test_another_users_data_are_403(
    gateway: aiohttp.ClientSession, method: str, rest: str, headers: dict[str, str]
) -> None:
    assert (await asked(gateway, method, f"/api/users/b2{rest}", headers=headers))[0] == 403


async def test_a_refusal_of_the_callee_is_passed_back(gateway: aiohttp.ClientSession) -> None:
    status, body = await asked(gateway, "GET", "/api/orders/taken", headers=ALICE)
    assert (status, body["asked"]) == (409, "GET /orders/taken")


async def test_who_leaves_in_the_middle_of_a_body_is_nobodys_error(
    gateway: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    def cut() -> float:
        labels = {"http_request_method": "POST", "http_route": "/api/users/login"}
        count = "http_server_request_duration_seconds_count"
        return REGISTRY.get_sample_value(count, {**labels, "http_response_status_code": "", "error_type": "cut"}) or 0

    before = cut()
    assert gateway._base_url is not None
    _, writer = await asyncio.open_connection("127.0.0.1", gateway._base_url.port)
    head = b"POST /api/users/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    writer.write(head + b"{")
    await writer.drain()
    writer.close()
    await until(lambda: cut() > before)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("path", ["/api/payments-to-come", "/users/a1", "/"])
async def test_any_other_path_is_404(gateway: aiohttp.ClientSession, path: str) -> None:
    status, body = await asked(gateway, "GET", path, headers=ALICE)
    assert (status, body["type"]) == (404, "urn:brownout-shop:problem:not-found")


async def test_dots_do_not_lead_out_of_the_orders(gateway: aiohttp.ClientSession) -> None:
    assert (await asked(gateway, "GET", "/api/orders/..%2Fhealth", headers=ALICE))[0] == 404


@pytest.mark.parametrize("path", ["/api/internal", "/internal", "/api/orders/..%2Finternal"])
async def test_what_the_services_ask_of_each_other_is_not_there_for_anybody_else(
    gateway: aiohttp.ClientSession, path: str
) -> None:
    assert (await asked(gateway, "POST", f"{path}/orders/1/paid", headers=ALICE))[0] == 404


@pytest.mark.parametrize(("validation", "status"), [(500, 503), (503, 503), (504, 504)])
async def test_a_lost_users_service_is_no_wrong_token(
    gateway: aiohttp.ClientSession, backend: Backend, validation: int, status: int
) -> None:
    backend.validation = validation
    assert (await asked(gateway, "GET", "/api/orders", headers=ALICE))[0] == status


async def test_a_draining_server_closes_its_connections(gateway: aiohttp.ClientSession, drain: Drain) -> None:
    drain.begin()
    async with gateway.get("/api/orders", headers=ALICE) as answer:
        assert answer.headers["Connection"] == "close"


async def test_health_and_metrics_are_served(gateway: aiohttp.ClientSession) -> None:
    await asked(gateway, "GET", "/api/orders", headers=ALICE)
    assert (await asked(gateway, "GET", "/health"))[1]["status"] == "UP"
    async with gateway.get("/metrics") as answer:
        assert 'http_response_status_code="200",http_route="/api/orders"' in await answer.text()


async def test_metrics_are_in_the_openmetrics_format_where_that_is_asked_for(gateway: aiohttp.ClientSession) -> None:
    async with gateway.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}) as answer:
        assert answer.content_type == "application/openmetrics-text"
        assert (await answer.text()).endswith("# EOF\n")
