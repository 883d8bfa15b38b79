"""What users of the shop do.

A promise about an edge is exercised by a journey that makes one request at the caller's own port, which calls the
callee once: whatever else it needs is arranged before.
"""

from collections import deque
from random import Random

import arranged
from arranged import AS_ADMIN, BOOK, CREATED, MUGS, PASSWORD, Steps, bearer, field, own
from brownout.journeys import Request, journey
from mischief import (
    ask_for_nothing,
    cancel_anothers_order,
    deliver_before_shipping,
    guess_a_password,
    knock_with_a_forged_callback,
    knock_with_a_wrong_token,
    knock_with_an_old_callback,
    knock_with_an_unsigned_token,
    knock_without_a_token,
    order_as_nobody,
    pose_as_another,
    presume_to_administer,
    reuse_a_key,
    send_a_nul,
    send_half_a_character,
    send_too_much,
    ship_ones_own_order,
)

__all__ = [
    "administer",
    "ask_for_nothing",
    "browse",
    "buy",
    "buy_and_regret",
    "buy_insistently",
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
    "order_under_one_key",
    "pay",
    "pay_again",
    "pose_as_another",
    "presume_to_administer",
    "read_order",
    "read_payment",
    "read_user",
    "reuse_a_key",
    "send_a_nul",
    "send_half_a_character",
    "send_too_much",
    "ship_ones_own_order",
    "tell_as_preferred",
]

ADMIN = {"email": "admin@example.com", "password": "a password of this topology only"}  # the topology's first admin


@journey(arrange=arranged.registered)
def order(user_id: str, _: Random) -> Steps:
    """Place an order at orders itself, which asks users once and products once (clause 2.3)."""
    yield from arranged.ordered(user_id)


@journey(arrange=arranged.registered)
def list_orders(user_id: str, _: Random) -> Steps:
    """List one's orders at orders itself, which asks nobody."""
    yield Request("orders", "GET", "/orders", headers=own(user_id))


@journey()
def look(_: None, __: Random) -> Steps:
    """Look at the catalogue at products itself, which asks its database only."""
    yield Request("products", "GET", "/products")


@journey(arrange=arranged.one_payment)
def look_at_payment(paid: tuple[str, str, str], _: Random) -> Steps:
    """Read a payment at payments itself, which asks its database only."""
    user_id, _token, order_id = paid
    yield Request("payments", "GET", f"/payments/{order_id}", headers=own(user_id))


@journey(arrange=arranged.registered)
def look_at_notifications(user_id: str, _: Random) -> Steps:
    """Read one's notifications at notifications itself, which asks its database only."""
    yield Request("notifications", "GET", f"/notifications?user_id={user_id}")


@journey(arrange=arranged.one_payment)
def look_at_charges(paid: tuple[str, str, str], _: Random) -> Steps:
    """Ask the provider itself what it charged for an order, which asks its database only."""
    _user_id, _token, order_id = paid
    yield Request("provider", "GET", f"/charges?reference={order_id}")


@journey(arrange=arranged.registered)
def read_user(user_id: str, _: Random) -> Steps:
    """Read one's data at users itself: the limited call (clause 6.3)."""
    yield Request("users", "GET", f"/users/{user_id}")


@journey(arrange=arranged.registered)
def notify(user_id: str, _: Random) -> Steps:
    """Send a notification at notifications itself, which asks users once by gRPC (clause 3.2)."""
    yield Request("notifications", "POST", "/notifications", json={"user_id": user_id, "text": "hello"})


@journey(arrange=arranged.registered)
def tell_as_preferred(user_id: str, _: Random) -> Steps:
    """Ask for SMS and push messages instead of e-mails at notifications itself, and be told something (clause 2.5)."""
    wanted = {"email": False, "phone": "+4915112345678", "device": "a-device"}
    yield Request("notifications", "PUT", f"/preferences/{user_id}", json=wanted)
    yield Request("notifications", "POST", "/notifications", json={"user_id": user_id, "text": "as you like it"})


@journey(arrange=arranged.many_orders)
def pay(owing: tuple[str, deque[str]], _: Random) -> Steps:
    """Pay an order at payments itself, which charges at the provider once; it stays to be paid where that fails."""
    user_id, unpaid = owing
    order_id = unpaid.popleft()
    answer = yield Request("payments", "POST", "/payments", json={"order_id": order_id}, headers=own(user_id))
    if answer.status != CREATED:
        unpaid.append(order_id)


@journey(arrange=arranged.many_payments)
def cancel_paid(owning: tuple[str, deque[str]], _: Random) -> Steps:
    """Cancel a paid order at orders itself, which asks nobody."""
    user_id, paid = owning
    yield Request("orders", "POST", f"/orders/{paid.popleft()}/cancel", headers=own(user_id))


@journey(arrange=arranged.one_payment)
def pay_again(paid: tuple[str, str, str], _: Random) -> Steps:
    """Pay at payments itself what is paid already: it asks orders once, and nobody else."""
    user_id, _token, order_id = paid
    yield Request("payments", "POST", "/payments", json={"order_id": order_id}, headers=own(user_id))


@journey(arrange=arranged.known)
def login(email: str, _: Random) -> Steps:
    """Log in through the gateway, which calls users once."""
    yield Request("gateway", "POST", "/api/users/login", json={"email": email, "password": PASSWORD})


@journey(arrange=arranged.logged_in)
def me(user: tuple[str, str], _: Random) -> Steps:
    """Read one's data through the gateway, which calls users twice (clause 6.1)."""
    yield Request("gateway", "GET", "/api/users/me", headers=bearer(user[1]))


@journey(arrange=arranged.logged_in)
def browse(user: tuple[str, str], _: Random) -> Steps:
    """Look at the catalogue through the gateway, which calls users and products once each."""
    yield Request("gateway", "GET", "/api/products", headers=bearer(user[1]))


@journey(arrange=arranged.two_users)
def administer(users: tuple[str, str, str], _: Random) -> Steps:
    """Make a user an admin, who with the token of before makes another a customer, and then is a customer again."""
    user_id, token, other_id = users
    answer = yield Request("gateway", "POST", "/api/users/login", json=ADMIN)
    admin = field(answer, "token")
    yield arranged.give_role(admin, user_id, "admin")
    yield arranged.give_role(token, other_id, "customer")
    yield arranged.give_role(admin, user_id, "customer")


@journey(arrange=arranged.one_order)
def read_order(ordered: tuple[str, str], _: Random) -> Steps:
    """Read an order through the gateway, which calls users and orders once each."""
    token, order_id = ordered
    yield Request("gateway", "GET", f"/api/orders/{order_id}", headers=bearer(token))


@journey(arrange=arranged.one_payment)
def read_payment(paid: tuple[str, str, str], _: Random) -> Steps:
    """Read a payment through the gateway, which calls users and payments once each."""
    _user_id, token, order_id = paid
    yield Request("gateway", "GET", f"/api/payments/{order_id}", headers=bearer(token))


@journey(arrange=arranged.logged_in)
def buy_insistently(user: tuple[str, str], _: Random) -> Steps:
    """Order and pay through the gateway, and pay again where that did not work, three times at most."""
    headers = bearer(user[1])
    answer = yield Request("gateway", "POST", "/api/orders", json={"items": [BOOK]}, headers=headers)
    for _attempt in range(3):
        paid = yield Request(
            "gateway", "POST", "/api/payments", json={"order_id": field(answer, "id")}, headers=headers
        )
        if paid.status == CREATED:
            return


@journey(arrange=arranged.logged_in)
def buy_and_regret(user: tuple[str, str], _: Random) -> Steps:
    """Order, pay and cancel through the gateway, whatever became of the payment."""
    headers = bearer(user[1])
    answer = yield Request("gateway", "POST", "/api/orders", json={"items": [BOOK]}, headers=headers)
    if order_id := field(answer, "id"):
        yield Request("gateway", "POST", "/api/payments", json={"order_id": order_id}, headers=headers)
        yield Request("gateway", "POST", f"/api/orders/{order_id}/cancel", headers=headers)


@journey(arrange=arranged.logged_in)
def buy(user: tuple[str, str], _: Random) -> Steps:
    """Browse, order and pay through the gateway: the whole of the shop."""
    headers = bearer(user[1])
    yield Request("gateway", "GET", "/api/products", headers=headers)
    answer = yield Request("gateway", "POST", "/api/orders", json={"items": [BOOK]}, headers=headers)
    if order_id := field(answer, "id"):
        yield Request("gateway", "POST", "/api/payments", json={"order_id": order_id}, headers=headers)


@journey(arrange=arranged.registered)
def order_ten_mugs(user_id: str, _: Random) -> Steps:
    """Order ten chipped mugs at orders itself, of which there are a hundred."""
    yield Request("orders", "POST", "/orders", json={"items": [MUGS]}, headers=own(user_id))


@journey(arrange=arranged.registered)
def order_insistently(user_id: str, random: Random) -> Steps:
    """Order at orders itself, and again under the same key where that did not work, three times at most."""
    headers = {**own(user_id), "Idempotency-Key": arranged.new_key(random)}
    for _attempt in range(3):
        answer = yield Request("orders", "POST", "/orders", json={"items": [BOOK]}, headers=headers)
        if answer.status == CREATED:
            return


@journey(arrange=arranged.user_and_key)
def order_under_one_key(user: tuple[str, str], _: Random) -> Steps:
    """Order through the gateway, always under the same key: it is one order."""
    token, key = user
    headers = {**bearer(token), "Idempotency-Key": key}
    yield Request("gateway", "POST", "/api/orders", json={"items": [BOOK]}, headers=headers)


@journey(arrange=arranged.logged_in)
def change_ones_mind(user: tuple[str, str], random: Random) -> Steps:
    """Order through the gateway, pay perhaps, and cancel."""
    headers = bearer(user[1])
    answer = yield Request("gateway", "POST", "/api/orders", json={"items": [BOOK]}, headers=headers)
    order_id = field(answer, "id")
    if random.random() < 0.5:  # noqa: PLR2004 - one in two
        yield Request("gateway", "POST", "/api/payments", json={"order_id": order_id}, headers=headers)
    yield Request("gateway", "POST", f"/api/orders/{order_id}/cancel", headers=headers)


@journey(arrange=arranged.many_orders)
def cancel(owing: tuple[str, deque[str]], _: Random) -> Steps:
    """Cancel an order at orders itself, which asks its database only."""
    user_id, unpaid = owing
    yield Request("orders", "POST", f"/orders/{unpaid.popleft()}/cancel", headers=own(user_id))


@journey(arrange=arranged.registered)
def get_an_order_delivered(user_id: str, _: Random) -> Steps:
    """Order at orders itself, and have it paid, shipped and delivered: the whole way of an order."""
    order_id = yield from arranged.ordered(user_id)
    yield Request("orders", "POST", f"/internal/orders/{order_id}/paid")
    for status in ("shipped", "delivered"):
        yield Request("orders", "PATCH", f"/orders/{order_id}", json={"status": status}, headers=AS_ADMIN)
