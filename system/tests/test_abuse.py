"""Whatever is sent to any route that a service documents: the answer is one that it documents, and no 5xx."""

import base64
import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
import jwt
import pytest
from yarl import URL

SERVICES = ("gateway", "users", "products", "orders", "payments", "notifications", "provider")
METHODS = ("get", "post", "put", "patch", "delete")
JSON = {"Content-Type": "application/json"}
SQL = "x'; DROP TABLE products; --"
TEXTS = (
    "",
    "\0",
    "a\0b",
    SQL,
    "' OR '1'='1",
    "%",
    "\\",
    "\ud800",
    "🦆" * 50,
    "a" * 5000,
    "../health",
    "..",
    "{}",
    "\r\nX: y",
)
NUMBERS = (-1, 0, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 1.5, 1e308, float("nan"), float("inf"), True)
ALIKE = {int: (True, "1", " 1.0 ", 1.0), bool: (1, 0, "true", "on")}
"""What a lenient reader would take for one."""
OTHERS = (None, [], {}, [[]], {"": {}}, "1")
BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "not only JSON": b"{}{}",
    "a text": b'"x"',
    "a number": b"1",
    "null": b"null",
    "an empty list": b"[]",
    "no Unicode": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a mark before it": b"\xef\xbb\xbf{}",
    "lists 10 000 deep": b"[" * 10_000 + b"]" * 10_000,
    "objects 10 000 deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "never closed": b"[" * 1_000_000,
    "a number of 5 000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "the same key twice": b'{"a": 1, "a": 2}',
    "a million zeros": b"[" + b"0," * 500_000 + b"0]",
}
PATHS = (
    "%00",
    "%FF",
    "%ED%A0%80",
    quote(SQL, safe=""),
    "..",
    "%2E%2E",
    "..%2Fhealth",
    "%2F",
    "%zz",
    "a" * 4000,
    ";",
    "*",
)
QUERIES = ("%00", "%FF", "%ED%A0%80", quote(SQL, safe=""), "", "-1", "0", "9" * 400, "1e9", "NaN", "a" * 4000)
HEADERS = ("", "\xff", "-1", "9" * 400, "NaN", SQL, "a" * 8000, '"', ";", "=", ",,,", "{}", "[" * 5000)
KINDS = ("", "text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonx", ";")
STILL_S = 0.1
"""How long an event loop may stand still; what is measured is the processor's time, of both sides and all services."""
EVERYWHERE = (
    "Authorization",
    "Host",
    "X-Timeout-Ms",
    "X-User-Id",
    "X-User-Role",
    "traceparent",
    "tracestate",
    "baggage",
    "Accept",
)


@dataclass
class Operation:
    """One operation as its service's OpenAPI describes it, with what can be made of that."""

    service: str
    method: str
    path: str
    statuses: frozenset[int]
    body: Any = None
    parameters: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.service}: {self.method.upper()} {self.path}"

    def at(self, value: str = "0" * 32) -> str:
        """The path with each of its parameters being `value`."""
        return "/".join(value if part.startswith("{") else part for part in self.path.split("/"))


def operations(service: str, document: dict[str, Any]) -> Iterator[Operation]:
    schemas = document.get("components", {}).get("schemas", {})
    for path, item in document["paths"].items():
        for method in item.keys() & set(METHODS):
            told = item[method]
            parameters: dict[str, list[str]] = {}
            for parameter in told.get("parameters", ()):
                parameters.setdefault(parameter["in"], []).append(parameter["name"])
            content = told.get("requestBody", {}).get("content", {}).get("application/json")
            body = example(content["schema"], schemas) if content else None
            statuses = frozenset(map(int, told["responses"]))
            yield Operation(service, method, path, statuses, body, parameters)


def example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """A value of about the form that a schema asks for."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    schema = schema.get("anyOf", [schema])[0]
    match schema.get("type"):
        case "object":
            return {name: example(each, schemas) for name, each in schema.get("properties", {}).items()}
        case "array":
            assert "maxItems" in schema, "a list without an end costs as much as one sends"
            return [example(schema["items"], schemas)]
        case "integer":
            return 1
        case "boolean":
            return True
    return schema.get("enum", ["0" * 32])[0]


def spoilt(value: Any) -> Iterator[Any]:
    """The value with one of its parts replaced by each kind of junk."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield {key: kept for key, kept in value.items() if key != name}
            yield from ({**value, name: junk} for junk in spoilt(part))
    elif isinstance(value, list):
        yield from ([junk] for junk in spoilt(value[0]))
        yield value * 101
    else:
        yield from (*TEXTS, *NUMBERS, *OTHERS)


def mistyped(value: Any) -> Iterator[Any]:
    """The value with one of its parts replaced by what looks like it, and is of another type."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from ({**value, name: alike} for alike in mistyped(part))
    elif isinstance(value, list):
        yield from ([alike] for alike in mistyped(value[0]))
    else:
        yield from ALIKE.get(type(value), ())


@dataclass
class Caller:
    """Somebody who sends what no client should, and looks at the answers."""

    session: aiohttp.ClientSession
    shop: dict[str, str]
    token: str = ""
    user_id: str = ""

    async def operations(self) -> list[Operation]:
        found: list[Operation] = []
        for service in SERVICES:
            async with self.session.get(f"{self.shop[service]}/openapi.json") as answer:
                found += operations(service, await answer.json())
        return found

    async def asked(self, service: str, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """A request as a user who is logged in; what is no success is checked to be a problem."""
        known = {"Authorization": f"Bearer {self.token}"} if service == "gateway" else {"X-User-Id": self.user_id}
        headers = {**known, **more.pop("headers", {})}
        url = URL(f"{self.shop[service]}{path}", encoded=True)
        async with self.session.request(method, url, headers=headers, **more) as answer:
            body = await answer.read()
            if answer.status >= 400:
                assert answer.content_type == "application/problem+json", (method, path, answer.status, body)
                problem = json.loads(body)
                assert problem["type"].startswith("urn:brownout-shop:problem:")
                assert problem["status"] == answer.status
            return answer.status, json.loads(body or b"null")

    async def told(self, operation: Operation, path: str, what: object, **more: Any) -> int:
        """The status of an operation's answer, which has to be a documented one that is not our fault."""
        status, answer = await self.asked(operation.service, operation.method, path, **more)
        assert status < 500, (str(operation), what, answer)
        assert status in operation.statuses, (str(operation), what, status, answer)
        return status

    async def took_s(self, operation: Operation, what: str, body: bytes) -> float:
        """The processor's time that refusing a body took."""
        began_s = time.thread_time()
        status = await self.told(operation, operation.at(), what, data=body, headers=JSON)
        assert status >= 400, (str(operation), what, status)
        return time.thread_time() - began_s


@pytest.fixture
async def caller(shop: dict[str, str]) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        caller = Caller(session, shop)
        account = {"name": "Alice", "email": "alice@example.com", "password": "correct horse"}
        async with session.post(f"{shop['gateway']}/api/users", json=account) as answer:
            caller.user_id = (await answer.json())["id"]
        del account["name"]
        async with session.post(f"{shop['gateway']}/api/users/login", json=account) as answer:
            caller.token = (await answer.json())["token"]
        yield caller


async def test_there_is_something_to_abuse(caller: Caller) -> None:
    assert {operation.service for operation in await caller.operations()} == set(SERVICES)


async def test_no_body_is_too_strange(caller: Caller) -> None:
    for operation in await caller.operations():
        if operation.body is None:
            continue
        for what, body in BODIES.items():
            took_s = await caller.took_s(operation, what, body)
            if took_s > STILL_S:  # the collector's turn, perhaps: not three times in a row
                took_s = min([await caller.took_s(operation, what, body) for _ in range(2)])
            assert took_s < STILL_S, (str(operation), what, took_s)


async def test_no_part_of_a_body_is_too_strange(caller: Caller) -> None:
    for operation in await caller.operations():
        for value in spoilt(operation.body) if operation.body is not None else ():
            body = json.dumps(value).encode()
            await caller.told(operation, operation.at(), value, data=body, headers=JSON)


async def test_what_only_looks_like_a_number_or_a_yes_is_422(caller: Caller) -> None:
    seen = set()
    for operation in await caller.operations():
        for value in mistyped(operation.body):
            seen.add(operation.service)
            status, problem = await caller.asked(operation.service, operation.method, operation.at(), json=value)
            assert status == 422, (str(operation), value)
            assert ": Input should be a valid " in problem["detail"], (str(operation), value, problem)
    assert seen == {"products", "orders", "notifications", "provider"}


async def test_no_path_query_or_header_is_too_strange(caller: Caller) -> None:
    seen: set[str] = set()
    for operation in await caller.operations():
        more = {"json": operation.body} if operation.body is not None else {}
        if "{" in operation.path:
            for value in PATHS:
                status, answer = await caller.asked(operation.service, operation.method, operation.at(value), **more)
                assert status < 500, (str(operation), value, answer)
        for name in operation.parameters.get("query", ()):
            for value in QUERIES:
                await caller.told(operation, f"{operation.at()}?{name}={value}&{name}={value}", value, **more)
        everywhere = () if operation.service in seen else EVERYWHERE
        seen.add(operation.service)
        for name in (*operation.parameters.get("header", ()), *everywhere):
            for value in HEADERS:
                await caller.told(operation, operation.at(), (name, value), headers={name: value}, **more)
    status, found = await caller.asked("products", "GET", "/products")
    assert (status, len(found["products"])) == (200, 12)


async def test_a_body_of_ten_megabytes_is_refused_before_it_is_read(caller: Caller) -> None:
    async def streamed() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b" " * 65536

    for operation in await caller.operations():
        if operation.body is None:
            continue
        announced = io.BytesIO(b" " * 10 * 2**20)
        assert await caller.told(operation, operation.at(), "10 MB", data=announced, headers=JSON) == 413
        status = await caller.told(operation, operation.at(), "10 MB in pieces", data=streamed(), headers=JSON)
        assert status in (413, 403), str(operation)  # or who may not do it is told so before


async def test_another_kind_of_body_is_415(caller: Caller) -> None:
    for operation in await caller.operations():
        for kind in KINDS if operation.body is not None else ():
            headers = {"Content-Type": kind}
            assert await caller.told(operation, operation.at(), kind, data=b"{}", headers=headers) == 415


async def test_another_method_is_405_and_names_those_that_there_are(caller: Caller) -> None:
    for operation in await caller.operations():
        assert (await caller.asked(operation.service, "TRACE", operation.at()))[0] == 405
        async with caller.session.request("TRACE", caller.shop[operation.service] + operation.at()) as answer:
            assert operation.method.upper() in answer.headers["Allow"].split(", ")


async def test_another_path_is_404(caller: Caller) -> None:
    for service in SERVICES:
        for path in ("/", "/nothing", "//", "/%00", "/users/", "/orders/", "/products/", "/charges/"):
            assert (await caller.asked(service, "GET", path))[0] == 404


async def test_a_target_or_headers_without_an_end_are_414_and_431(caller: Caller) -> None:
    for service in SERVICES:
        assert (await caller.asked(service, "GET", "/" + "a" * 8192))[0] == 414
        many = {f"X-{number}": "a" * 4000 for number in range(9)}
        assert (await caller.asked(service, "GET", "/", headers=many))[0] == 431


def _header(header: bytes) -> str:
    return ".".join(part.decode() for part in (b64(header), b64(b'{"sub":"x"}'), b64(b"signature")))


def b64(text: bytes) -> bytes:
    return base64.urlsafe_b64encode(text).rstrip(b"=")


CLAIMS: tuple[dict[str, Any], ...] = (
    {"exp": 0},
    {"exp": "never"},
    {"exp": None},
    {"sub": "nobody"},
    {"sub": 5},
    {"sub": "\0"},
    {"sub": "\ud800"},
    {"nbf": 2**40},
)


async def test_a_token_with_other_claims_or_another_scheme_lets_nobody_in(caller: Caller, token_secret: str) -> None:
    right = {"sub": caller.user_id, "exp": time.time() + 60}
    tokens = [jwt.encode({**right, **claims}, token_secret, "HS256") for claims in CLAIMS]
    sent = [f"Bearer {token}" for token in tokens] + [f"{scheme} {caller.token}" for scheme in ("Basic", "", "a b")]
    for authorization in sent:
        headers = {"Authorization": authorization}
        assert (await caller.asked("gateway", "GET", "/api/users/me", headers=headers))[0] == 401, authorization


async def test_a_forged_token_lets_nobody_in(caller: Caller, token_secret: str) -> None:
    claims = {"sub": caller.user_id, "exp": time.time() + 60}
    head, body, signature = caller.token.split(".")
    forged = (
        jwt.encode(claims, token_secret[::-1], "HS256"),
        jwt.encode(claims, token_secret * 2, "HS512"),
        jwt.encode(claims, None, "none"),
        f"{head}.{body}.",
        f"{head}.{body}.{signature[::-1]}",
        f"{head}.{body}",
        f"{head}.{b64(json.dumps({**claims, 'sub': 'other'}).encode()).decode()}.{signature}",
        _header(b"[" * 100),
        _header(b"[" * 5000),
        _header(b'{"alg": ["HS256"]}'),
        _header(b'{"alg": "HS256", "crit": ["b64"], "b64": false}'),
        _header(b'{"alg": "HS256", "kid": {}}'),
        "\xff.\xff.\xff",
        "...",
    )
    for token in forged:
        status, _ = await caller.asked("gateway", "GET", "/api/orders", headers={"Authorization": f"Bearer {token}"})
        assert status == 401, token


async def test_what_is_another_users_is_not_there(caller: Caller) -> None:
    """Whatever is below the gateway and has an id: the other's own id opens nothing."""
    new = {"items": [{"sku": "book-1", "quantity": 1}]}
    status, order = await caller.asked("gateway", "POST", "/api/orders", json=new)
    assert status == 201
    assert (await caller.asked("gateway", "POST", "/api/payments", json={"order_id": order["id"]}))[0] == 201
    account = {"name": "Mallory", "email": "mallory@example.com", "password": "correct horse"}
    _, mallory = await caller.asked("gateway", "POST", "/api/users", json=account)
    del account["name"]
    _, token = await caller.asked("gateway", "POST", "/api/users/login", json=account)
    owner, caller.token = caller.user_id, token["token"]
    for headers in ({}, {"X-User-Id": owner}, {"X-User-Role": "admin"}):
        for method, path, sent in (
            ("GET", f"/api/orders/{order['id']}", None),
            ("POST", f"/api/orders/{order['id']}/cancel", {}),
            ("GET", f"/api/payments/{order['id']}", None),
            ("POST", "/api/payments", {"order_id": order["id"]}),
            ("GET", f"/api/users/{owner}", None),
            ("PATCH", f"/api/users/{owner}", {"name": "x"}),
        ):
            more = {} if sent is None else {"json": sent}
            status, _ = await caller.asked("gateway", method, path, headers=headers, **more)
            assert status in (403, 404), (method, path, headers, status)
    assert (await caller.asked("gateway", "GET", "/api/orders"))[1]["orders"] == []
    assert (await caller.asked("gateway", "GET", "/api/users/me"))[1]["id"] == mallory["id"]
