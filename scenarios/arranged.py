"""What is arranged before journeys, and what they are made of."""

from collections import deque
from collections.abc import Generator
from random import Random

from brownout.journeys import Request, Response

__all__ = [
    "AS_ADMIN",
    "BOOK",
    "CREATED",
    "MUGS",
    "PASSWORD",
    "PAYABLE",
    "Steps",
    "anothers_order",
    "bearer",
    "field",
    "give_role",
    "known",
    "logged_in",
    "many_orders",
    "many_payments",
    "new_key",
    "one_order",
    "one_payment",
    "ordered",
    "own",
    "paid",
    "placed",
    "register",
    "registered",
    "two_users",
    "user_and_key",
]

Steps = Generator[Request, Response, None]

PASSWORD = "correct horse battery staple"  # noqa: S105 - of users made up here
CREATED = 201
AS_ADMIN = {"X-User-Role": "admin"}
BOOK = {"sku": "book-1", "quantity": 1}
MUGS = {"sku": "mug-2", "quantity": 10}
PAYABLE = 60
"""Orders arranged for `pay`, `cancel` and `cancel_paid`: more than are paid or cancelled in one scenario."""


def field(answer: Response, name: str) -> str:
    """Return a field of an answer, or nothing where it is not there."""
    return str(answer.body[name]) if isinstance(answer.body, dict) and name in answer.body else ""


def own(user_id: str) -> dict[str, str]:
    """Return the header by which a service is told whose it is."""
    return {"X-User-Id": user_id}


def bearer(token: str) -> dict[str, str]:
    """Return the header by which the gateway is told who asks."""
    return {"Authorization": f"Bearer {token}"}


def register(random: Random) -> Generator[Request, Response, tuple[str, str]]:
    """Register a user at users itself; returns id and e-mail."""
    email = f"user-{random.getrandbits(64):016x}@example.com"
    answer = yield Request("users", "POST", "/users", json={"name": "Ada", "email": email, "password": PASSWORD})
    return field(answer, "id"), email


def registered(random: Random) -> Generator[Request, Response, str]:
    """Register a user at users itself; returns the id."""
    user_id, _ = yield from register(random)
    return user_id


def known(random: Random) -> Generator[Request, Response, str]:
    """Register a user at users itself; returns the e-mail."""
    _, email = yield from register(random)
    return email


def logged_in(random: Random) -> Generator[Request, Response, tuple[str, str]]:
    """Register and log in at users itself; returns id and token."""
    user_id, email = yield from register(random)
    answer = yield Request("users", "POST", "/login", json={"email": email, "password": PASSWORD})
    return user_id, field(answer, "token")


def two_users(random: Random) -> Generator[Request, Response, tuple[str, str, str]]:
    """Register two users and log one of them in; returns this one's id and token, and the other's id."""
    user_id, token = yield from logged_in(random)
    return user_id, token, (yield from registered(random))


def anothers_order(random: Random) -> Generator[Request, Response, tuple[str, str, str]]:
    """Have one of two users order; returns the other's token, the buyer's id and the order's."""
    _user_id, token, buyer_id = yield from two_users(random)
    return token, buyer_id, (yield from ordered(buyer_id))


def give_role(token: str, user_id: str, role: str, **headers: str) -> Request:
    """Ask the gateway to give a user a role."""
    return Request(
        "gateway", "PUT", f"/api/users/{user_id}/role", json={"role": role}, headers={**bearer(token), **headers}
    )


def ordered(user_id: str) -> Generator[Request, Response, str]:
    """Place an order at orders itself; returns its id."""
    answer = yield Request("orders", "POST", "/orders", json={"items": [BOOK]}, headers=own(user_id))
    return field(answer, "id")


def paid(user_id: str) -> Generator[Request, Response, str]:
    """Place an order and pay it, each at its service itself; returns its id."""
    order_id = yield from ordered(user_id)
    yield Request("payments", "POST", "/payments", json={"order_id": order_id}, headers=own(user_id))
    return order_id


def new_key(random: Random) -> str:
    """Return an idempotency key."""
    return f"{random.getrandbits(128):032x}"


def user_and_key(random: Random) -> Generator[Request, Response, tuple[str, str]]:
    """Register and log in at users itself; returns token and an idempotency key."""
    _user_id, token = yield from logged_in(random)
    return token, new_key(random)


def placed(random: Random) -> Generator[Request, Response, tuple[str, str]]:
    """Register, and place an order at orders itself; returns the user's id and the order's."""
    user_id = yield from registered(random)
    return user_id, (yield from ordered(user_id))


def one_order(random: Random) -> Generator[Request, Response, tuple[str, str]]:
    """Log in and place an order, each at its service itself; returns the token and the order's id."""
    user_id, token = yield from logged_in(random)
    return token, (yield from ordered(user_id))


def one_payment(random: Random) -> Generator[Request, Response, tuple[str, str, str]]:
    """Log in, order and pay, each at its service itself; returns the user's id, the token and the order's id."""
    user_id, token = yield from logged_in(random)
    return user_id, token, (yield from paid(user_id))


def many_orders(random: Random) -> Generator[Request, Response, tuple[str, deque[str]]]:
    """Register, and place many orders at orders itself; returns the user's id and the orders'."""
    user_id = yield from registered(random)
    unpaid = deque[str]()
    for _ in range(PAYABLE):
        unpaid.append((yield from ordered(user_id)))
    return user_id, unpaid


def many_payments(random: Random) -> Generator[Request, Response, tuple[str, deque[str]]]:
    """Register, and have many orders paid at payments itself; returns the user's id and the orders'."""
    user_id = yield from registered(random)
    settled = deque[str]()
    for _ in range(PAYABLE):
        settled.append((yield from paid(user_id)))
    return user_id, settled
