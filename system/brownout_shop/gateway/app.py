"""The gateway's routes: who may come in, and where each request goes (clause 6.1)."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPMethod
from typing import Any, TypeAlias

from fastapi import APIRouter, Request, Response

from brownout_shop import signature
from brownout_shop.problems import Problem, documented
from brownout_shop.resilience.client import Answer, CalleeFailedError, CalleeRefusedError, Client
from brownout_shop.service import Service
from brownout_shop.settings import Settings

__all__ = ["build"]

OWN_METHODS = (HTTPMethod.GET, HTTPMethod.PATCH)
METHODS = (HTTPMethod.GET, HTTPMethod.POST)  # where an order stands is not for its buyer to say
PROXIED = ("products", "orders", "payments")
PASSED_BACK: dict[int | str, dict[str, Any]] = {
    201: {"description": "Created"},
    **documented(401, 402, 403, 404, 405, 409, 429),
}
"""What those behind answer, and who may come in at all."""
REST = {"name": "rest", "in": "path", "required": True, "schema": {"type": "string"}}
ANY_BODY = {"content": {"application/json": {"schema": {"type": "object"}}}}
"""What is passed on is for those behind to judge."""
OPEN = {
    ("POST", "/api/users"): ("users", "/users"),
    ("POST", "/api/users/login"): ("users", "/login"),
    ("POST", "/api/payments/callback"): ("payments", "/callback"),  # the provider's, who signs instead
}
PASSED_ON = ("Content-Type", "Idempotency-Key", signature.HEADER)

Handler: TypeAlias = Callable[..., Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as users knows it by the token."""

    id: str
    role: str


def build(_settings: Settings, client: Client) -> Service:
    """Return the gateway."""
    return Service(routes(client), needs=("users", *PROXIED))


def routes(client: Client) -> APIRouter:
    """Return the routes to the services behind `client`; what matches none is not found."""
    router = APIRouter()

    @_at(router, "/api/users", HTTPMethod.POST)
    @_at(router, "/api/users/login", HTTPMethod.POST)
    @_at(router, "/api/payments/callback", HTTPMethod.POST)
    async def without_token(request: Request) -> Response:
        return await _proxied(client, request, *OPEN[request.method, request.scope["path"]])

    @_at(router, "/api/users/{user_id}", *OWN_METHODS)
    @_at(router, "/api/users/{user_id}/password", HTTPMethod.PUT)
    async def own_data(request: Request, user_id: str) -> Response:
        caller = await _validated(client, request)
        if user_id not in ("me", caller.id):
            raise Problem(403, "forbidden", "only one's own data")
        rest = request.scope["path"].removeprefix(f"/api/users/{user_id}")
        return await _proxied(client, request, "users", f"/users/{caller.id}{rest}", caller)

    @_at(router, "/api/users/{rest}/role", HTTPMethod.PUT)
    @_at(router, "/api/orders/{rest}", HTTPMethod.PATCH)
    async def for_admins(request: Request) -> Response:
        caller = await _validated(client, request)
        if caller.role != "admin":
            raise Problem(403, "forbidden", "only for admins")
        callee = request.scope["path"].split("/")[2]
        return await _proxied(client, request, callee, _behind(request), caller)

    for callee in PROXIED:
        _proxy(router, client, callee)

    @_at(router, "/api/users/{user_id}/{_:path}", *METHODS, shown=False)
    async def nothing(request: Request) -> Response:
        await _validated(client, request)
        raise Problem(404, "not-found", "no such path")

    return router


def _at(router: APIRouter, path: str, *methods: str, shown: bool = True) -> Callable[[Handler], Handler]:
    """Return what adds a handler under a path: each method is an operation of its own, as OpenAPI has them."""

    def added(handler: Handler) -> Handler:
        for method in methods:
            told: dict[str, Any] = {"parameters": [REST]} if "{rest" in path else {}
            if method != HTTPMethod.GET:
                told["requestBody"] = ANY_BODY
            router.add_api_route(
                path, handler, methods=[method], responses=PASSED_BACK, openapi_extra=told, include_in_schema=shown
            )
        return handler

    return added


def _proxy(router: APIRouter, client: Client, callee: str) -> None:
    """Add the routes that a user with a valid token is passed through."""

    @_at(router, f"/api/{callee}", *METHODS)
    @_at(router, f"/api/{callee}/{{rest:path}}", *METHODS)
    async def proxied(request: Request) -> Response:
        caller = await _validated(client, request)
        return await _proxied(client, request, callee, _behind(request), caller)


async def _validated(client: Client, request: Request) -> Caller:
    """Return the user whose token the request carries.

    Raises:
        Problem: 401 for a token that is not valid; 503 where nobody can say so; 504 where nobody did in time.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _unauthorized("a bearer token is needed")
    body, json_body = json.dumps({"token": token.strip()}).encode(), {"Content-Type": "application/json"}
    try:
        answer = await client.call("users", "POST", "/tokens/validate", body=body, headers=json_body)
    except CalleeRefusedError as error:
        raise _unauthorized("the token is not valid") from error
    except CalleeFailedError as error:
        # A lost service is no wrong token, and no broken answer to this request either.
        raise Problem(503, "users-unavailable", error.detail, {"Retry-After": "10"}) from error
    user = json.loads(answer.body)
    return Caller(user["id"], user["role"])


async def _proxied(client: Client, request: Request, callee: str, path: str, caller: Caller | None = None) -> Response:
    """Pass the request on and its answer back; the callee's refusals are answers too.

    Of the request's headers only those in `PASSED_ON` go with it: who asks is said by us.
    """
    headers = {"X-User-Id": caller.id, "X-User-Role": caller.role} if caller else {}
    headers |= {name: request.headers[name] for name in PASSED_ON if name in request.headers}
    if query := request.scope["query_string"].decode("latin-1"):
        path = f"{path}?{query}"
    body = await request.body()
    try:
        answer = await client.call(callee, request.method, path, body=body or None, headers=headers)
    except CalleeRefusedError as error:
        answer = error.answer
    return _passed_back(answer)


def _passed_back(answer: Answer) -> Response:
    return Response(answer.body, answer.status, answer.headers, answer.content_type)


def _behind(request: Request) -> str:
    """Return the path without its ``/api``, as it was sent.

    Raises:
        Problem: 404 for dots, which would lead out of the callee's part.
    """
    path: str = request.scope["raw_path"].decode("ascii")
    if any(part in (".", "..") for part in request.scope["path"].split("/")):
        raise Problem(404, "not-found", "no such path")
    return path.removeprefix("/api")


def _unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail)
