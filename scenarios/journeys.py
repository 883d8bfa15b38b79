"""What users of the shop do: each journey is judged by requests to the one service that its promise is about."""

from collections.abc import Generator
from random import Random

from brownout.journeys import Request, Response, journey

__all__ = ["me", "order", "read_user"]

PASSWORD = "correct horse battery staple"  # noqa: S105 - of users made up here


def _register(random: Random) -> Generator[Request, Response, tuple[str, str]]:
    """Register a user at users itself; returns id and e-mail."""
    email = f"user-{random.getrandbits(64):016x}@example.com"
    answer = yield Request("users", "POST", "/users", json={"name": "Ada", "email": email, "password": PASSWORD})
    return _field(answer, "id"), email


def _registered(random: Random) -> Generator[Request, Response, str]:
    user_id, _ = yield from _register(random)
    return user_id


def _logged_in(random: Random) -> Generator[Request, Response, str]:
    """Register and log in at users itself; returns the token."""
    _, email = yield from _register(random)
    answer = yield Request("users", "POST", "/login", json={"email": email, "password": PASSWORD})
    return _field(answer, "token")


def _field(answer: Response, name: str) -> str:
    return str(answer.body[name]) if isinstance(answer.body, dict) and name in answer.body else ""


@journey(arrange=_registered)
def order(user_id: str, _: Random) -> Generator[Request, Response, None]:
    """Place an order at orders itself, which asks users once (clause 2.3)."""
    items = [{"sku": "book-1", "quantity": 1, "price": 1990}]
    yield Request("orders", "POST", "/orders", json={"items": items, "currency": "EUR"}, headers={"X-User-Id": user_id})


@journey(arrange=_registered)
def read_user(user_id: str, _: Random) -> Generator[Request, Response, None]:
    """Read one's data at users itself: the limited call (clause 6.3)."""
    yield Request("users", "GET", f"/users/{user_id}")


@journey(arrange=_logged_in)
def me(token: str, _: Random) -> Generator[Request, Response, None]:
    """Read one's data through the gateway, which calls users twice (clause 6.1)."""
    yield Request("gateway", "GET", "/api/users/me", headers={"Authorization": f"Bearer {token}"})
