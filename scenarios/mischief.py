"""What users of the shop had better not do, and others who are none: each is refused."""

import json
import time
from base64 import urlsafe_b64encode
from random import Random

import arranged
from arranged import AS_ADMIN, BOOK, MUGS, PASSWORD, Steps, bearer, own
from brownout.journeys import Request, journey

__all__ = [
    "ask_for_nothing",
    "cancel_anothers_order",
    "deliver_before_shipping",
    "guess_a_password",
    "knock_with_a_forged_callback",
    "knock_with_a_wrong_token",
    "knock_with_an_old_callback",
    "knock_with_an_unsigned_token",
    "knock_without_a_token",
    "order_as_nobody",
    "pose_as_another",
    "presume_to_administer",
    "reuse_a_key",
    "send_a_nul",
    "send_half_a_character",
    "send_too_much",
    "ship_ones_own_order",
]

FAR_S = 4_102_444_800  # the year 2100
CALLBACK = {"key": "none", "id": "none", "status": "charged"}
SIGNED_LONG_AGO = "t=1700000000,v1=b401d426eade09f29a7fc4ae6b0a55687098266de766d425addd8e4a4d669e83"
"""By the topology's own secret: what ``openssl dgst -sha256 -hmac`` makes of ``1700000000.`` and the body as sent."""


def _unsigned(user_id: str) -> str:
    """A token that names a user and ends in time, but bears nobody's signature."""
    parts = {"alg": "none", "typ": "JWT"}, {"sub": user_id, "exp": FAR_S}
    return "".join(f"{urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip('=')}." for part in parts)


def _callback(signature: str) -> Request:
    """The request that only the provider may make."""
    return Request("gateway", "POST", "/api/payments/callback", json=CALLBACK, headers={"X-Signature": signature})


def _strange(random: Random, name: str = "Ada", password: str = PASSWORD) -> Request:
    account = {"name": name, "email": f"user-{random.getrandbits(64):016x}@example.com", "password": password}
    return Request("users", "POST", "/users", json=account)


@journey()
def order_as_nobody(_: None, __: Random) -> Steps:
    """Order at orders itself as a user whom users does not know: one's own mistake."""
    yield from arranged.ordered("0" * 32)


@journey()
def knock_without_a_token(_: None, __: Random) -> Steps:
    """Ask for one's orders through the gateway without saying who one is."""
    yield Request("gateway", "GET", "/api/orders")


@journey()
def knock_with_a_wrong_token(_: None, random: Random) -> Steps:
    """Ask for one's orders through the gateway with a token that nobody issued."""
    yield Request("gateway", "GET", "/api/orders", headers=bearer(f"{random.getrandbits(128):032x}"))


@journey(arrange=arranged.registered)
def knock_with_an_unsigned_token(user_id: str, _: Random) -> Steps:
    """Ask for a user's orders through the gateway with a token that one wrote oneself."""
    yield Request("gateway", "GET", "/api/orders", headers=bearer(_unsigned(user_id)))


@journey(arrange=arranged.anothers_order)
def pose_as_another(users: tuple[str, str, str], _: Random) -> Steps:
    """Ask for another user's order through the gateway, and claim to be that user and an admin."""
    token, buyer_id, order_id = users
    claimed = {"X-User-Id": buyer_id, **AS_ADMIN}
    yield Request("gateway", "GET", f"/api/orders/{order_id}", headers={**bearer(token), **claimed})


@journey(arrange=arranged.two_users)
def presume_to_administer(users: tuple[str, str, str], _: Random) -> Steps:
    """Make another user an admin through the gateway without being one, whatever one claims."""
    _user_id, token, other_id = users
    yield arranged.give_role(token, other_id, "admin", **AS_ADMIN)


@journey(arrange=arranged.logged_in)
def guess_a_password(user: tuple[str, str], random: Random) -> Steps:
    """Change one's password through the gateway without knowing the old one."""
    guess = {"old": f"{random.getrandbits(64):016x}", "new": PASSWORD}
    yield Request("gateway", "PUT", "/api/users/me/password", json=guess, headers=bearer(user[1]))


@journey()
def knock_with_a_forged_callback(_: None, random: Random) -> Steps:
    """Tell the gateway of a charge without knowing the provider's secret."""
    yield _callback(f"t={int(time.time())},v1={random.getrandbits(256):064x}")


@journey()
def knock_with_an_old_callback(_: None, __: Random) -> Steps:
    """Tell the gateway what the provider told it long ago."""
    yield _callback(SIGNED_LONG_AGO)


@journey(arrange=arranged.logged_in)
def ask_for_nothing(user: tuple[str, str], _: Random) -> Steps:
    """Ask the gateway for what is not there."""
    yield Request("gateway", "GET", "/api/nothing", headers=bearer(user[1]))


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


@journey(arrange=arranged.logged_in)
def reuse_a_key(user: tuple[str, str], random: Random) -> Steps:
    """Order through the gateway, and then something else under the same key: a mistake."""
    headers = {**bearer(user[1]), "Idempotency-Key": arranged.new_key(random)}
    for item in (BOOK, MUGS):
        yield Request("gateway", "POST", "/api/orders", json={"items": [item]}, headers=headers)


@journey(arrange=arranged.placed)
def ship_ones_own_order(placed: tuple[str, str], _: Random) -> Steps:
    """Ask orders itself, as its buyer, to say that an order is shipped."""
    user_id, order_id = placed
    headers = {**own(user_id), "X-User-Role": "customer"}
    yield Request("orders", "PATCH", f"/orders/{order_id}", json={"status": "shipped"}, headers=headers)


@journey(arrange=arranged.placed)
def cancel_anothers_order(placed: tuple[str, str], _: Random) -> Steps:
    """Ask orders itself to cancel somebody else's order."""
    _user_id, order_id = placed
    yield Request("orders", "POST", f"/orders/{order_id}/cancel", headers=own("0" * 32))


@journey(arrange=arranged.placed)
def deliver_before_shipping(placed: tuple[str, str], _: Random) -> Steps:
    """Ask orders itself, as an admin, to say that an order is delivered which nobody has paid."""
    _user_id, order_id = placed
    yield Request("orders", "PATCH", f"/orders/{order_id}", json={"status": "delivered"}, headers=AS_ADMIN)
