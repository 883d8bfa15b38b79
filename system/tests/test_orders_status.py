"""Where an order stands: buyers, admins and payments move it, rightly and wrongly, over the routes (clause 2.3)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import aiohttp
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ordering import Shop, ordered, shop_over, word

UNKNOWN = "0" * 32
NEXT = {"paid": "pending", "shipped": "paid", "delivered": "shipped"}
WHO = {"buyer": {"X-User-Id": "alice"}, "other": {"X-User-Id": "bob"}, "nobody": {}}
ROLES = {"admin": {"X-User-Role": "admin"}, "customer": {"X-User-Role": "customer"}, "none": {}}


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with shop_over(database_url) as shop:
        yield shop


@pytest.fixture
async def orders(shop: Shop, database_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with shop.orders(database_url) as orders:
        yield orders


async def asked(orders: aiohttp.ClientSession, method: str, path: str, **more: Any) -> tuple[int, dict[str, Any]]:
    async with orders.request(method, path, **more) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_a_cancelled_order_is_told_of_once_however_often_it_is_cancelled(
    shop: Shop, orders: aiohttp.ClientSession
) -> None:
    _, order = await ordered(orders)
    await shop.tell()
    path, alice = f"/orders/{order['id']}/cancel", WHO["buyer"]
    assert await asked(orders, "POST", path, headers=alice) == (200, {**order, "status": "cancelled"})
    assert await asked(orders, "POST", path, headers=alice) == (200, {**order, "status": "cancelled"})
    (event,) = await shop.tell()
    assert event.topic == "c1.order.cancelled"
    assert event.payload.pop("timestamp").endswith("+00:00")
    assert event.payload == {"order_id": order["id"], "user_id": "alice"}
    assert shop.woken == 2
    await shop.check()


async def test_of_20_moves_at_once_one_takes_place(shop: Shop, orders: aiohttp.ClientSession) -> None:
    _, order = await ordered(orders)
    cancel, paid = f"/orders/{order['id']}/cancel", f"/internal/orders/{order['id']}/paid"
    await asked(orders, "POST", paid)
    shipped = {"json": {"status": "shipped"}, "headers": ROLES["admin"]}
    moves = [asked(orders, "PATCH", f"/orders/{order['id']}", **shipped) for _ in range(10)]
    moves += [asked(orders, "POST", cancel, headers=WHO["buyer"]) for _ in range(10)]
    statuses = [status for status, _ in await asyncio.gather(*moves)]
    status = (await shop.placed())[order["id"]]
    shipped_once, not_at_all = [200] + [409] * 9, [409] * 10
    told = (shipped_once, not_at_all) if status == "shipped" else (not_at_all, [200] * 10)
    assert (sorted(statuses[:10]), statuses[10:]) == told
    assert len(await shop.tell()) == (1 if status == "shipped" else 2)
    await shop.check()


@pytest.mark.parametrize("status", ["pending", "paid", "cancelled", "lost", None, 7])
async def test_even_an_admin_only_ships_and_delivers(
    shop: Shop, orders: aiohttp.ClientSession, status: str | int | None
) -> None:
    _, order = await ordered(orders)
    path = f"/orders/{order['id']}"
    answered, problem = await asked(orders, "PATCH", path, json={"status": status}, headers=ROLES["admin"])
    assert (answered, word(problem)) == (422, "invalid")
    assert problem["detail"] == "body.status: Input should be 'shipped' or 'delivered'"
    assert (await shop.placed())[order["id"]] == "pending"


class Moves(RuleBasedStateMachine):
    """Orders, and where they should stand: the model is a dict."""

    orders = Bundle("orders")

    def __init__(self, run: asyncio.Runner, shop: Shop, service: aiohttp.ClientSession) -> None:
        super().__init__()
        self._run, self._shop, self._service = run, shop, service
        self._standing: dict[str, str] = {}
        self._told: list[tuple[str, str]] = []

    @rule(target=orders)
    def place(self) -> str:
        status, order = self._run.run(ordered(self._service))
        assert status == 201
        self._standing[order["id"]] = "pending"
        self._told.append(("c1.order.created", order["id"]))
        return str(order["id"])

    @rule(order_id=orders)
    def pay(self, order_id: str) -> None:
        answer = self._asked("POST", f"/internal/orders/{order_id}/paid")
        self._expect(answer, order_id, "paid")

    @rule(order_id=orders, status=st.sampled_from(["shipped", "delivered"]), role=st.sampled_from(sorted(ROLES)))
    def move(self, order_id: str, status: str, role: str) -> None:
        answer = self._asked("PATCH", f"/orders/{order_id}", json={"status": status}, headers=ROLES[role])
        if role == "admin":
            self._expect(answer, order_id, status)
        else:
            assert (answer[0], word(answer[1])) == (403, "forbidden")

    @rule(order_id=orders, who=st.sampled_from(sorted(WHO)))
    def cancel(self, order_id: str, who: str) -> None:
        status, body = self._asked("POST", f"/orders/{order_id}/cancel", headers=WHO[who])
        if who == "nobody":
            assert (status, word(body)) == (401, "unauthorized")
        elif who == "other":
            assert (status, word(body)) == (404, "not-found")
        elif self._standing[order_id] in ("pending", "paid", "cancelled"):
            assert (status, body["status"]) == (200, "cancelled")
            if self._standing[order_id] != "cancelled":
                self._told.append(("c1.order.cancelled", order_id))
            self._standing[order_id] = "cancelled"
        else:
            assert (status, word(body)) == (409, "wrong-status")

    @rule(path=st.sampled_from(["PATCH /orders/{}", "POST /orders/{}/cancel", "POST /internal/orders/{}/paid"]))
    def move_what_is_not_there(self, path: str) -> None:
        method, _, path = path.format(UNKNOWN).partition(" ")
        headers = WHO["buyer"] | ROLES["admin"]
        status, problem = self._asked(method, path, json={"status": "shipped"}, headers=headers)
        assert (status, word(problem)) == (404, "not-found")

    @rule(order_id=orders, who=st.sampled_from(["buyer", "other"]), role=st.sampled_from(sorted(ROLES)))
    def read(self, order_id: str, who: str, role: str) -> None:
        status, body = self._asked("GET", f"/orders/{order_id}", headers=WHO[who] | ROLES[role])
        expected = (200, self._standing[order_id]) if who == "buyer" or role == "admin" else (404, 404)
        assert (status, body["status"]) == expected

    @invariant()
    def everything_stands_where_it_should(self) -> None:
        assert self._run.run(self._shop.placed()) == self._standing

    def teardown(self) -> None:
        events = self._run.run(self._shop.tell())
        assert [(event.topic, event.payload["order_id"]) for event in events] == self._told
        self._run.run(self._shop.check())
        self._run.run(self._shop.forget())

    def _expect(self, answer: tuple[int, dict[str, Any]], order_id: str, status: str) -> None:
        """Make sure that an order moved one step on, or was left where it was."""
        if self._standing[order_id] == NEXT[status]:
            assert (answer[0], answer[1]["status"]) == (200, status)
            self._standing[order_id] = status
        else:
            assert (answer[0], word(answer[1])) == (409, "wrong-status")

    def _asked(self, method: str, path: str, **more: Any) -> tuple[int, dict[str, Any]]:
        return self._run.run(asked(self._service, method, path, **more))


@contextmanager
def running(database_url: str) -> Iterator[tuple[asyncio.Runner, Shop, aiohttp.ClientSession]]:
    """A shop and an orders service, in an event loop of their own that stands still between the steps."""
    with asyncio.Runner() as run:
        stack = AsyncExitStack()
        shop = run.run(stack.enter_async_context(shop_over(database_url)))
        yield run, shop, run.run(stack.enter_async_context(shop.orders(database_url)))
        run.run(stack.aclose())


def test_whoever_moves_an_order_and_however_it_goes_its_one_way(database_url: str) -> None:
    with running(database_url) as parts:
        moves = settings(max_examples=20, stateful_step_count=30, deadline=None, database=None)
        run_state_machine_as_test(lambda: Moves(*parts), settings=moves)
