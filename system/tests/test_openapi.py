"""Every service answers as its own OpenAPI document says, whatever Schemathesis makes of that document."""

import asyncio
from typing import Any

import aiohttp
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

EXAMPLES = 25
"""For each operation; the same ones in every run."""
SERVICES = ("gateway", "users", "products", "orders", "payments", "notifications", "provider")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_answers_as_it_documents(shop: dict[str, str], service: str) -> None:
    headers = await logged_in(shop)
    assert await asyncio.to_thread(conforming, f"{shop[service]}/openapi.json", headers)


async def logged_in(shop: dict[str, str]) -> dict[str, str]:
    """The headers of a user, for the gateway and for those behind it."""
    account = {"name": "Alice", "email": "alice@example.com", "password": "correct horse"}
    async with aiohttp.ClientSession(shop["gateway"]) as session:
        async with session.post("/api/users", json=account) as answer:
            user_id = (await answer.json())["id"]
        del account["name"]
        async with session.post("/api/users/login", json=account) as answer:
            token = (await answer.json())["token"]
    return {"Authorization": f"Bearer {token}", "X-User-Id": user_id}


def conforming(url: str, headers: dict[str, str]) -> int:
    """How many operations answered all that they were asked as the document says."""
    operations = [found.ok() for found in schemathesis.openapi.from_url(url).get_all_operations()]
    for operation in operations:
        _ask(operation, headers)
    return len(operations)


def _ask(operation: Any, headers: dict[str, str]) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS, timeout=30)

    ask()
