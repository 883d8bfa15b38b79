"""What users of the shop do.

A promise about an edge is exercised by a journey that makes one request at the caller's own port, which calls the
callee once: whatever else it needs is arranged before.
"""

import json
from base64 import urlsafe_b64encode
import time
from collections import deque
from collections.abc import Generator
from random import Random

from brownout.journeys import Request, Response, journey

__all__ = [
    "administer",
    "ask_for_nothing",
    "browse",
    "buy",
    "buy_and_regret",
    "buy_insistently",
    "buy_under_one_key",
    "cancel",
    "cancel_anothers_order",
    "cancel_paid",
    "change_ones_mind",
    "deliver_before_shipping",
    "get_an_order_delivered",
    "guess_a_password",
    "knock_with_a_forged_callback",
    "knock_with_a_wrong_token",
    "knock_with_an_old_callback",
    "knock_with_an_unsigned_token",
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
    "order_insistently",
    "order_ten_mugs",
    "pay",
    "pay_again",
    "pose_as_another",
    "presume_to_administer",
    "read_order",
    "read_payment",
    "read_user",
    "reuse_a_key",
    "ship_ones_own_order",
    "tell_as_preferred",
    "send_a_nul",
    "send_half_a_character",
    "send_too_much",
]

Steps = Generator[Request, Response, None]

PASSWORD = "correct horse battery staple"  # noqa: S105 - of users made up here
ADMIN = {"email": "admin@example.com", "password": "a password of this topology only"}  # the topology's first admin
FAR_S = 4_102_444_800  # the year 2100
CREATED = 201
BOOK = {"sku": "book-1", "quantity": 1}
MUGS = {"sku": "mug-2", "quantity": 10}
AS_ADMIN = {"X-User-Role": "admin"}
PAYABLE = 60
"""Orders arranged for `pay`, `cancel` and `cancel_paid`: more than are paid or cancelled in one scenario."""
CALLBACK = {"key": "none", "id": "none", "status": "charged"}
SIGNED_LONG_AGO = "t=1700000000,v1=b401d426eade09f29a7fc4ae6b0a55687098266de766d425addd8e4a4d669e83"
"""By the topology's own secret: what ``openssl dgst -sha256 -hmac`` makes of ``1700000000.`` and the body as sent."""


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


def _two_users(random: Random) -> Generator[Request, Response, tuple[str, str, str]]:
    """Register two users and log one of them in; returns this one's id and token, and the other's id."""
    user_id, token = yield from _logged_in(random)
    return user_id, token, (yield from _registered(random))


def _anothers_order(random: Random) -> Generator[Request, Response, tuple[str, str, str]]:
    """Have one of two users order; returns the other's token, the buyer's id and the order's."""
    _user_id, token, buyer_id = yield from _two_users(random)
    return token, buyer_id, (yield from _ordered(buyer_id))


def _unsigned(user_id: str) -> str:
    """A token that names a user and ends in time, but bears nobody's signature."""
    parts = {"alg": "none", "typ": "JWT"}, {"sub": user_id, "exp": FAR_S}
    return "".join(f"{urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip('=')}." for part in parts)


def _give_role(token: str, user_id: str, role: str, **headers: str) -> Request:
    return Request(
        "gateway", "PUT", f"/api/users/{user_id}/role", json={"role": role}, headers={**_bearer(token), **headers}
    )


def _ordered(user_id: str) -> Generator[Request, Response, str]:
    """Place an order at orders itself; returns its id."""
    answer = yield Request("orders", "POST", "/orders", json={"items": [BOOK]}, headers=_own(user_id))
    return _field(answer, "id")


def _paid(user_id: str) -> Generator[Request, Response, str]:
    order_id = yield from _ordered(user_id)
    yield Request("payments", "POST", "/payments", json={"order_id": order_id}, headers=_own(user_id))
    return order_id


def _new_key(random: Random) -> str:
    return f"{random.getrandbits(128):032x}"


def _user_and_key(random: Random) -> Generator[Request, Response, tuple[str, str]]:
    """Register and log in at users itself; returns token and an idempotency key."""
    _user_id, token = yield from _logged_in(random)
    return token, _new_key(random)


def _placed(random: Random) -> Generator[Request, Response, tuple[str, str]]:
    """Register, and place an order at orders itself; returns the user's id and the order's."""
    user_id = yield from _registered(random)
    return user_id, (yield from _ordered(user_id))


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


def _many_payments(random: Random) -> Generator[Request, Response, tuple[str, deque[str]]]:
    user_id = yield from _registered(random)
    paid = deque[str]()
    for _ in range(PAYABLE):
        paid.append((yield from _paid(user_id)))
    return user_id, paid


def _callback(signature: str) -> Request:
    """The request that only the provider may make."""
    return Request("gateway", "POST", "/api/payments/callback", json=CALLBACK, headers={"X-Signature": signature})


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


@journey(arrange=_registered)
def tell_as_preferred(user_id: str, _: Random) -> Steps:
    """Ask for SMS and push messages instead of e-mails at notifications itself, and be told something (clause 2.5)."""
    wanted = {"email": False, "phone": "+4915112345678", "device": "a-device"}
    yield Request("notifications", "PUT", f"/preferences/{user_id}", json=wanted)
    yield Request("notifications", "POST", "/notifications", json={"user_id": user_id, "text": "as you like it"})


@journey(arrange=_many_orders)
def pay(owing: tuple[str, deque[str]], _: Random) -> Steps:
    """Pay an order at payments itself, which charges at the provider once; it stays to be paid where that fails."""
    user_id, unpaid = owing
    order_id = unpaid.popleft()
    answer = yield Request("payments", "POST", "/payments", json={"order_id": order_id}, headers=_own(user_id))
    if answer.status != CREATED:
        unpaid.append(order_id)


@journey(arrange=_many_payments)
def cancel_paid(owning: tuple[str, deque[str]], _: Random) -> Steps:
    """Cancel a paid order at orders itself, which asks nobody."""
    user_id, paid = owning
    yield Request("orders", "POST", f"/orders/{paid.popleft()}/cancel", headers=_own(user_id))


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


@journey(arrange=_registered)
def knock_with_an_unsigned_token(user_id: str, _: Random) -> Steps:
    """Ask for a user's orders through the gateway with a token that one wrote oneself."""
    yield Request("gateway", "GET", "/api/orders", headers=_bearer(_unsigned(user_id)))


@journey(arrange=_anothers_order)
def pose_as_another(arranged: tuple[str, str, str], _: Random) -> Steps:
    """Ask for another user's order through the gateway, and claim to be that user and an admin."""
    token, buyer_id, order_id = arranged
    claimed = {"X-User-Id": buyer_id, "X-User-Role": "admin"}
    yield Request("gateway", "GET", f"/api/orders/{order_id}", headers={**_bearer(token), **claimed})


@journey(arrange=_two_users)
def presume_to_administer(users: tuple[str, str, str], _: Random) -> Steps:
    """Make another user an admin through the gateway without being one, whatever one claims."""
    _user_id, token, other_id = users
    yield _give_role(token, other_id, "admin", **{"X-User-Role": "admin"})


@journey(arrange=_two_users)
def administer(users: tuple[str, str, str], _: Random) -> Steps:
    """Make a user an admin, who with the token of before makes another a customer, and then is a customer again."""
    user_id, token, other_id = users
    answer = yield Request("gateway", "POST", "/api/users/login", json=ADMIN)
    admin = _field(answer, "token")
    yield _give_role(admin, user_id, "admin")
    yield _give_role(token, other_id, "customer")
    yield _give_role(admin, user_id, "customer")


@journey(arrange=_logged_in)
def guess_a_password(user: tuple[str, str], random: Random) -> Steps:
    """Change one's password through the gateway without knowing the old one."""
    guess = {"old": f"{random.getrandbits(64):016x}", "new": PASSWORD}
    yield Request("gateway", "PUT", "/api/users/me/password", json=guess, headers=_bearer(user[1]))
@journey()
def knock_with_a_forged_callback(_: None, random: Random) -> Steps:
    """Tell the gateway of a charge without knowing the provider's secret."""
    yield _callback(f"t={int(time.time())},v1={random.getrandbits(256):064x}")


@journey()
def knock_with_an_old_callback(_: None, __: Random) -> Steps:
    """Tell the gateway what the provider told it long ago."""
    yield _callback(SIGNED_LONG_AGO)


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
def buy_and_regret(user: tuple[str, str], _: Random) -> Steps:
    """Order, pay and cancel through the gateway, whatever became of the payment."""
    headers = _bearer(user[1])
    answer = yield Request("gateway", "POST", "/api/orders", json={"items": [BOOK]}, headers=headers)
    if order_id := _field(answer, "id"):
        yield Request("gateway", "POST", "/api/payments", json={"order_id": order_id}, headers=headers)
        yield Request("gateway", "POST", f"/api/orders/{order_id}/cancel", headers=headers)


@journey(arrange=_logged_in)
def buy(user: tuple[str, str], _: Random) -> Steps:
    """Browse, order and pay through the gateway: the whole of the shop."""
    headers = _bearer(user[1])
    yield Request("gateway", "GET", "/api/products", headers=headers)
    answer = yield Request("gateway", "POST", "/api/orders", json={"items": [BOOK]}, headers=headers)
    if order_id := _field(answer, "id"):
        yield Request("gateway", "POST", "/api/payments", json={"order_id": order_id}, headers=headers)


@journey(arrange=_registered)
def order_ten_mugs(user_id: str, _: Random) -> Steps:
    """Order ten chipped mugs at orders itself, of which there are a hundred."""
    yield Request("orders", "POST", "/orders", json={"items": [MUGS]}, headers=_own(user_id))


@journey(arrange=_registered)
def order_insistently(user_id: str, random: Random) -> Steps:
    """Order at orders itself, and again under the same key where that did not work, three times at most."""
    headers = {**_own(user_id), "Idempotency-Key": _new_key(random)}
    for _attempt in range(3):
        answer = yield Request("orders", "POST", "/orders", json={"items": [BOOK]}, headers=headers)
        if answer.status == CREATED:
            return


@journey(arrange=_user_and_key)
def buy_under_one_key(user: tuple[str, str], _: Random) -> Steps:
    """Order through the gateway, always under the same key: it is one order."""
    token, key = user
    headers = {**_bearer(token), "Idempotency-Key": key}
    yield Request("gateway", "POST", "/api/orders", json={"items": [BOOK]}, headers=headers)


@journey(arrange=_logged_in)
def reuse_a_key(user: tuple[str, str], random: Random) -> Steps:
    """Order through the gateway, and then something else under the same key: a mistake."""
    headers = {**_bearer(user[1]), "Idempotency-Key": _new_key(random)}
    for item in (BOOK, MUGS):
        yield Request("gateway", "POST", "/api/orders", json={"items": [item]}, headers=headers)


@journey(arrange=_logged_in)
def change_ones_mind(user: tuple[str, str], random: Random) -> Steps:
    """Order through the gateway, pay perhaps, and cancel."""
    headers = _bearer(user[1])
    answer = yield Request("gateway", "POST", "/api/orders", json={"items": [BOOK]}, headers=headers)
    order_id = _field(answer, "id")
    if random.random() < 0.5:  # noqa: PLR2004 - one in two
        yield Request("gateway", "POST", "/api/payments", json={"order_id": order_id}, headers=headers)
    yield Request("gateway", "POST", f"/api/orders/{order_id}/cancel", headers=headers)


@journey(arrange=_many_orders)
def cancel(owing: tuple[str, deque[str]], _: Random) -> Steps:
    """Cancel an order at orders itself, which asks its database only."""
    user_id, unpaid = owing
    yield Request("orders", "POST", f"/orders/{unpaid.popleft()}/cancel", headers=_own(user_id))


@journey(arrange=_placed)
def ship_ones_own_order(placed: tuple[str, str], _: Random) -> Steps:
    """Ask orders itself, as its buyer, to say that an order is shipped."""
    user_id, order_id = placed
    headers = {**_own(user_id), "X-User-Role": "customer"}
    yield Request("orders", "PATCH", f"/orders/{order_id}", json={"status": "shipped"}, headers=headers)


@journey(arrange=_placed)
def cancel_anothers_order(placed: tuple[str, str], _: Random) -> Steps:
    """Ask orders itself to cancel somebody else's order."""
    _user_id, order_id = placed
    yield Request("orders", "POST", f"/orders/{order_id}/cancel", headers=_own("0" * 32))


@journey(arrange=_placed)
def deliver_before_shipping(placed: tuple[str, str], _: Random) -> Steps:
    """Ask orders itself, as an admin, to say that an order is delivered which nobody has paid."""
    _user_id, order_id = placed
    yield Request("orders", "PATCH", f"/orders/{order_id}", json={"status": "delivered"}, headers=AS_ADMIN)


@journey(arrange=_registered)
def get_an_order_delivered(user_id: str, _: Random) -> Steps:
    """Order at orders itself, and have it paid, shipped and delivered: the whole way of an order."""
    order_id = yield from _ordered(user_id)
    yield Request("orders", "POST", f"/internal/orders/{order_id}/paid")
    for status in ("shipped", "delivered"):
        yield Request("orders", "PATCH", f"/orders/{order_id}", json={"status": status}, headers=AS_ADMIN)
