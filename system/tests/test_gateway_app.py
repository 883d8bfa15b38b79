"""The gateway over a real listener, with users and orders on loopback: clause 6.1."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from brownout_shop.application import application
from brownout_shop.discovery.registry import Instance
from brownout_shop.gateway.app import routes
from brownout_shop.middleware import Drain
from brownout_shop.resilience.client import Client
from brownout_shop.serve import _listening
from brownout_shop.service import Service
from brownout_shop.settings import Settings
from brownout_shop.telemetry.health import Health

ALICE = {"Authorization": "Bearer alice"}


class Backend:
    """Users and orders in one: knows one token, and answers anything else with what it was asked."""

    def __init__(self) -> None:
        self.validation = 200

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/tokens/validate":
            if self.validation != 200:
                return web.json_response({}, status=self.validation)
            known = (await request.json())["token"] == "alice"
            return web.json_response({"id": "a1"} if known else {}, status=200 if known else 401)
        asked = {
            "asked": f"{request.method} {request.path_qs}",
            "user": request.headers.get("X-User-Id"),
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


@pytest.mark.parametrize("path", ["/api/users/me", "/api/orders", "/api/orders/1", "/api/users/x/y"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer mallory"}, {"Authorization": "Basic alice"}])
async def test_everything_else_without_a_valid_token_is_401(
    gateway: aiohttp.ClientSession, path: str, headers: dict[str, str]
) -> None:
    status, body = await asked(gateway, "GET", path, headers=headers)
    assert (status, body["type"]) == (401, "urn:brownout-shop:problem:unauthorized")


async def test_orders_get_the_validated_user_whatever_the_caller_claims(gateway: aiohttp.ClientSession) -> None:
    status, body = await asked(gateway, "POST", "/api/orders?x=1", headers={**ALICE, "X-User-Id": "root"})
    assert (status, body["asked"], body["user"]) == (200, "POST /orders?x=1", "a1")


async def test_me_is_the_tokens_user(gateway: aiohttp.ClientSession) -> None:
    assert (await asked(gateway, "GET", "/api/users/me", headers=ALICE))[1]["asked"] == "GET /users/a1"


async def test_another_user_is_403(gateway: aiohttp.ClientSession) -> None:
    assert (await asked(gateway, "GET", "/api/users/b2", headers=ALICE))[0] == 403


async def test_a_refusal_of_the_callee_is_passed_back(gateway: aiohttp.ClientSession) -> None:
    status, body = await asked(gateway, "GET", "/api/orders/taken", headers=ALICE)
    assert (status, body["asked"]) == (409, "GET /orders/taken")


@pytest.mark.parametrize("path", ["/api/payments-to-come", "/users/a1", "/"])
async def test_any_other_path_is_404(gateway: aiohttp.ClientSession, path: str) -> None:
    status, body = await asked(gateway, "GET", path, headers=ALICE)
    assert (status, body["type"]) == (404, "urn:brownout-shop:problem:not-found")


async def test_dots_do_not_lead_out_of_the_orders(gateway: aiohttp.ClientSession) -> None:
    assert (await asked(gateway, "GET", "/api/orders/..%2Fhealth", headers=ALICE))[0] == 404


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
