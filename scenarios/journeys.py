"""What users of the shop do.

A promise about an edge is exercised by a journey that makes one request at the caller's own port, which calls the
callee once: whatever else it needs is arranged before.
"""

from collections import deque
from collections.abc import Generator
from random import Random

from brownout.journeys import Request, Response, journey

__all__ = [
    "ask_for_nothing",
    "browse",
    "buy",
    "buy_insistently",
    "knock_with_a_wrong_token",
    "knock_without_a_token",
    "list_orders",
    "login",
    "look",
    "look_at_charges",
    "look_at_notifications",
    "look_at_payment",
    "me",
    "notify",
    "order",
    "order_as_nobody",
    "pay",
    "pay_again",
    "read_order",
    "read_payment",
    "read_user",
    "send_a_nul",
    "send_half_a_character",
    "send_too_much",
]

Steps = Generator[Request, Response, None]

PASSWORD = "correct horse battery staple"  # noqa: S105 - of users made up here
CREATED = 201
BOOK = {"sku": "book-1", "quantity": 1}
PAYABLE = 60
"""Orders arranged for `pay`: more than are paid in one scenario."""


def _field(answer: Response, name: str) -> str:
    return str(answer.body[name]) if isinstance(answer.body, dict) and name in answer.body else ""


def _own(user_id: str) -> dict[str, str]:
    return {"X-User-Id": user_id}


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _register(random: Random) -> Generator[Request, Response, tuple[str, str]]:
    """Register a user at users itself; returns id and e-mail."""
    email = f"user-{random.getrandbits(64):016x}@example.com"
    answer = yield Request("users", "POST", "/users", json={"name": "Ada", "email": email, "password": PASSWORD})
    return _field(answer, "id"), email


def _registered(random: Random) -> Generator[Request, Response, str]:
    user_id, _ = yield from _register(random)
    return user_id


def _known(random: Random) -> Generator[Request, Response, str]:
    _, email = yield from _register(random)
    return email


def _logged_in(random: Random) -> Generator[Request, Response, tuple[str, str]]:
    """Register and log in at users itself; returns id and token."""
    user_id, email = yield from _register(random)
    answer = yield Request("users", "POST", "/login", json={"email": email, "password": PASSWORD})
    return user_id, _field(answer, "token")


def _ordered(user_id: str) -> Generator[Request, Response, str]:
    """Place an order at orders itself; returns its id."""
    answer = yield Request("orders", "POST", "/orders", json={"items": [BOOK]}, headers=_own(user_id))
    return _field(answer, "id")


def _paid(user_id: str) -> Generator[Request, Response, str]:
    order_id = yield from _ordered(user_id)
    yield Request("payments", "POST", "/payments", json={"order_id": order_id}, headers=_own(user_id))
    return order_id


def _one_order(random: Random) -> Generator[Request, Response, tuple[str, str]]:
    user_id, token = yield from _logged_in(random)
    return token, (yield from _ordered(user_id))


def _one_payment(random: Random) -> Generator[Request, Response, tuple[str, str, str]]:
    user_id, token = yield from _logged_in(random)
    return user_id, token, (yield from _paid(user_id))


def _many_orders(random: Random) -> Generator[Request, Response, tuple[str, deque[str]]]:
    user_id = yield from _registered(random)
    unpaid = deque[str]()
    for _ in range(PAYABLE):
        unpaid.append((yield from _ordered(user_id)))
    return user_id, unpaid


@journey(arrange=_registered)
def order(user_id: str, _: Random) -> Steps:
    """Place an order at orders itself, which asks users once and products once (clause 2.3)."""
    yield from _ordered(user_id)


@journey()
def order_as_nobody(_: None, __: Random) -> Steps:
    """Order at orders itself as a user whom users does not know: one's own mistake."""
    yield from _ordered("0" * 32)


@journey(arrange=_registered)
def list_orders(user_id: str, _: Random) -> Steps:
    """List one's orders at orders itself, which asks nobody."""
    yield Request("orders", "GET", "/orders", headers=_own(user_id))


@journey()
def look(_: None, __: Random) -> Steps:
    """Look at the catalogue at products itself, which asks its database only."""
    yield Request("products", "GET", "/products")


@journey(arrange=_one_payment)
def look_at_payment(paid: tuple[str, str, str], _: Random) -> Steps:
    """Read a payment at payments itself, which asks its database only."""
    user_id, _token, order_id = paid
    yield Request("payments", "GET", f"/payments/{order_id}", headers=_own(user_id))


@journey(arrange=_registered)
def look_at_notifications(user_id: str, _: Random) -> Steps:
    """Read one's notifications at notifications itself, which asks its database only."""
    yield Request("notifications", "GET", f"/notifications?user_id={user_id}")


@journey(arrange=_one_payment)
def look_at_charges(paid: tuple[str, str, str], _: Random) -> Steps:
    """Ask the provider itself what it charged for an order, which asks its database only."""
    _user_id, _token, order_id = paid
    yield Request("provider", "GET", f"/charges?reference={order_id}")


@journey(arrange=_registered)
def read_user(user_id: str, _: Random) -> Steps:
    """Read one's data at users itself: the limited call (clause 6.3)."""
    yield Request("users", "GET", f"/users/{user_id}")


@journey(arrange=_registered)
def notify(user_id: str, _: Random) -> Steps:
    """Send a notification at notifications itself, which asks users once by gRPC (clause 3.2)."""
    yield Request("notifications", "POST", "/notifications", json={"user_id": user_id, "text": "hello"})


@journey(arrange=_many_orders)
def pay(owing: tuple[str, deque[str]], _: Random) -> Steps:
    """Pay an order at payments itself, which charges at the provider once; it stays to be paid where that fails."""
    user_id, unpaid = owing
    order_id = unpaid.popleft()
    answer = yield Request("payments", "POST", "/payments", json={"order_id": order_id}, headers=_own(user_id))
    if answer.status != CREATED:
        unpaid.append(order_id)


@journey(arrange=_one_payment)
def pay_again(paid: tuple[str, str, str], _: Random) -> Steps:
    """Pay at payments itself what is paid already: it asks orders once, and nobody else."""
    user_id, _token, order_id = paid
    yield Request("payments", "POST", "/payments", json={"order_id": order_id}, headers=_own(user_id))


@journey(arrange=_known)
def login(email: str, _: Random) -> Steps:
    """Log in through the gateway, which calls users once."""
    yield Request("gateway", "POST", "/api/users/login", json={"email": email, "password": PASSWORD})


@journey(arrange=_logged_in)
def me(user: tuple[str, str], _: Random) -> Steps:
    """Read one's data through the gateway, which calls users twice (clause 6.1)."""
    yield Request("gateway", "GET", "/api/users/me", headers=_bearer(user[1]))


@journey(arrange=_logged_in)
def browse(user: tuple[str, str], _: Random) -> Steps:
    """Look at the catalogue through the gateway, which calls users and products once each."""
    yield Request("gateway", "GET", "/api/products", headers=_bearer(user[1]))


@journey()
def knock_without_a_token(_: None, __: Random) -> Steps:
    """Ask for one's orders through the gateway without saying who one is."""
    yield Request("gateway", "GET", "/api/orders")


@journey()
def knock_with_a_wrong_token(_: None, random: Random) -> Steps:
    """Ask for one's orders through the gateway with a token that nobody issued."""
    yield Request("gateway", "GET", "/api/orders", headers=_bearer(f"{random.getrandbits(128):032x}"))


@journey(arrange=_logged_in)
def ask_for_nothing(user: tuple[str, str], _: Random) -> Steps:
    """Ask the gateway for what is not there."""
    yield Request("gateway", "GET", "/api/nothing", headers=_bearer(user[1]))


@journey()
def send_too_much(_: None, random: Random) -> Steps:
    """Register at users with a name of two megabytes."""
    yield _strange(random, name="x" * 2**21)


@journey()
def send_a_nul(_: None, random: Random) -> Steps:
    """Register at users with a name that no database takes."""
    yield _strange(random, name="Ada\0")


@journey()
def send_half_a_character(_: None, random: Random) -> Steps:
    """Register at users with a password that cannot be written down: half of a surrogate pair."""
    yield _strange(random, password="correct horse \ud800")  # noqa: S106 - of a user made up here


def _strange(random: Random, name: str = "Ada", password: str = PASSWORD) -> Request:
    account = {"name": name, "email": f"user-{random.getrandbits(64):016x}@example.com", "password": password}
    return Request("users", "POST", "/users", json=account)


@journey(arrange=_one_order)
def read_order(ordered: tuple[str, str], _: Random) -> Steps:
    """Read an order through the gateway, which calls users and orders once each."""
    token, order_id = ordered
    yield Request("gateway", "GET", f"/api/orders/{order_id}", headers=_bearer(token))


@journey(arrange=_one_payment)
def read_payment(paid: tuple[str, str, str], _: Random) -> Steps:
    """Read a payment through the gateway, which calls users and payments once each."""
    _user_id, token, order_id = paid
    yield Request("gateway", "GET", f"/api/payments/{order_id}", headers=_bearer(token))


@journey(arrange=_logged_in)
def buy_insistently(user: tuple[str, str], _: Random) -> Steps:
    """Order and pay through the gateway, and pay again where that did not work, three times at most."""
    headers = _bearer(user[1])
    answer = yield Request("gateway", "POST", "/api/orders", json={"items": [BOOK]}, headers=headers)
    for _attempt in range(3):
        paid = yield Request(
            "gateway", "POST", "/api/payments", json={"order_id": _field(answer, "id")}, headers=headers
        )
        if paid.status == CREATED:
            return


@journey(arrange=_logged_in)
def buy(user: tuple[str, str], _: Random) -> Steps:
    """Browse, order and pay through the gateway: the whole of the shop."""
    headers = _bearer(user[1])
    yield Request("gateway", "GET", "/api/products", headers=headers)
    answer = yield Request("gateway", "POST", "/api/orders", json={"items": [BOOK]}, headers=headers)
    if order_id := _field(answer, "id"):
        yield Request("gateway", "POST", "/api/payments", json={"order_id": order_id}, headers=headers)
