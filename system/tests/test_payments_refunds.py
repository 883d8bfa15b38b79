"""An order is cancelled while it is being paid: each interleaving ends with the money where it belongs."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from brownout_shop.events import Event, MalformedEventError
from brownout_shop.payments import calls
from brownout_shop.payments.domain import Payment
from brownout_shop.payments.refunds import give_back
from brownout_shop.problems import Problem
from brownout_shop.resilience.client import CallError, Client
from paying import Shop, paid, shop_over
from wires import until


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with shop_over(database_url) as shop:
        yield shop


async def cancelled(shop: Shop, order_id: str) -> None:
    """The order is cancelled, and payments, another instance of it, has heard so."""
    shop.orders.orders[order_id]["status"] = "cancelled"
    await heard(shop, order_id)


async def heard(shop: Shop, order_id: str) -> None:
    async with shop.parts(directly=True) as (store, client):
        await give_back(store, client, event(order_id))


def event(order_id: str) -> Event:
    payload = {"order_id": order_id, "user_id": "alice", "timestamp": "2026-01-01T00:00:00+00:00"}
    return Event("e1", "c1.order.cancelled", payload)


async def payment(shop: Shop, order_id: str) -> tuple[str, str]:
    """Where the payment stands, and its charge at the provider."""
    async with shop.parts(directly=True) as (store, _):
        there = await store.of_order(order_id, "alice")
    charges = await shop.ledger.of_reference(order_id)
    assert len(charges) <= 1
    return (there.status if there else "none", charges[0].status if charges else "none")


async def when(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await true():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.01)


async def test_before_anybody_paid(shop: Shop) -> None:
    order_id = shop.orders.new()
    await cancelled(shop, order_id)
    async with shop.payments() as payments:
        status, problem = await paid(payments, order_id)
    assert (status, problem["type"]) == (409, "urn:brownout-shop:problem:wrong-status")
    assert await payment(shop, order_id) == ("voided", "none")


async def test_between_the_look_at_the_order_and_its_payment(shop: Shop) -> None:
    order_id = shop.orders.new()
    async with shop.payments() as payments:
        shop.to["orders"].answers.clear()
        paying = asyncio.create_task(paid(payments, order_id))
        await until(lambda: shop.orders.asked)
        await cancelled(shop, order_id)
        shop.to["orders"].answers.set()
        status, problem = await paying
    assert (status, problem["type"]) == (409, "urn:brownout-shop:problem:wrong-status")
    assert await payment(shop, order_id) == ("voided", "none")


async def test_between_the_saved_payment_and_its_charge(shop: Shop) -> None:
    order_id = shop.orders.new()
    async with shop.payments() as payments:
        shop.to["provider"].requests.clear()
        paying = asyncio.create_task(paid(payments, order_id))
        await when(lambda: _stands(shop, order_id, "pending", "none"))
        await cancelled(shop, order_id)
        assert await payment(shop, order_id) == ("voided", "none")
        shop.to["provider"].requests.set()
        status, problem = await paying
    assert (status, problem["type"]) == (409, "urn:brownout-shop:problem:wrong-status")
    assert await payment(shop, order_id) == ("voided", "none")


async def test_after_the_charge_while_its_answer_is_under_way(shop: Shop) -> None:
    order_id = shop.orders.new()
    async with shop.payments() as payments:
        shop.to["provider"].answers.clear()
        paying = asyncio.create_task(paid(payments, order_id))
        await when(lambda: _stands(shop, order_id, "pending", "charged"))
        await cancelled(shop, order_id)
        shop.to["provider"].answers.set()
        status, problem = await paying
    assert (status, problem["type"]) == (409, "urn:brownout-shop:problem:wrong-status")
    assert await payment(shop, order_id) == ("refunded", "refunded")


async def test_after_a_charge_whose_answer_was_lost(shop: Shop) -> None:
    order_id = shop.orders.new()
    async with shop.payments() as payments:
        shop.to["provider"].answers.clear()
        assert (await paid(payments, order_id, **{"X-Timeout-Ms": "1000"}))[0] == 504
        assert await payment(shop, order_id) == ("pending", "charged")
        await cancelled(shop, order_id)
        shop.to["provider"].answers.set()
        assert (await paid(payments, order_id))[0] == 409
    assert await payment(shop, order_id) == ("refunded", "refunded")


async def test_between_the_charge_and_the_paid_order(shop: Shop) -> None:
    order_id = shop.orders.new()
    async with shop.payments() as payments:
        shop.to["provider"].answers.clear()
        paying = asyncio.create_task(paid(payments, order_id))
        await when(lambda: _stands(shop, order_id, "pending", "charged"))
        shop.to["orders"].requests.clear()
        shop.to["provider"].answers.set()
        await when(lambda: _stands(shop, order_id, "charged", "charged"))
        await cancelled(shop, order_id)
        shop.to["orders"].requests.set()
        status, problem = await paying
    assert (status, problem["type"]) == (409, "urn:brownout-shop:problem:wrong-status")
    assert await payment(shop, order_id) == ("refunded", "refunded")
    assert shop.orders.status(order_id) == "cancelled"


async def test_after_all(shop: Shop) -> None:
    order_id = shop.orders.new()
    async with shop.payments() as payments:
        assert (await paid(payments, order_id))[0] == 201
        await cancelled(shop, order_id)
        assert (await paid(payments, order_id))[0] == 409
        async with payments.get(f"/payments/{order_id}") as answer:
            assert (await answer.json())["status"] == "refunded"
    assert await payment(shop, order_id) == ("refunded", "refunded")


async def test_after_the_provider_refused(shop: Shop) -> None:
    order_id = shop.orders.new(amount=2013)
    async with shop.payments() as payments:
        assert (await paid(payments, order_id))[0] == 402
    await cancelled(shop, order_id)
    assert await payment(shop, order_id) == ("voided", "none")


async def test_again_nobody_is_asked(shop: Shop) -> None:
    order_id = shop.orders.new()
    async with shop.payments() as payments:
        await paid(payments, order_id)
    await cancelled(shop, order_id)
    async with shop.parts() as (store, _), Client("payments", lambda _: []) as nobody:
        await give_back(store, nobody, event(order_id))
    assert await payment(shop, order_id) == ("refunded", "refunded")


async def test_told_twenty_times_at_once_it_is_one_refund(shop: Shop) -> None:
    order_id = shop.orders.new()
    async with shop.payments() as payments:
        await paid(payments, order_id)
    async with shop.parts(directly=True) as (store, client):
        await asyncio.gather(*(give_back(store, client, event(order_id)) for _ in range(20)))
    assert await payment(shop, order_id) == ("refunded", "refunded")
    assert [told.charge.status for told in await shop.ledger.untold()] == ["charged", "refunded"]


async def test_paid_twenty_times_and_cancelled_at_once_no_money_is_kept(shop: Shop) -> None:
    for _ in range(5):
        order_id = shop.orders.new()
        async with shop.payments() as payments:
            answers = await asyncio.gather(*(paid(payments, order_id) for _ in range(20)), cancelled(shop, order_id))
        statuses = {answer[0] for answer in answers if answer}
        assert statuses <= {201, 402, 409}
        assert await payment(shop, order_id) in {("refunded", "refunded"), ("voided", "none")}


async def test_while_the_provider_is_away_the_news_comes_again(shop: Shop) -> None:
    order_id = shop.orders.new()
    async with shop.payments() as payments:
        await paid(payments, order_id)
    async with shop.parts() as (store, client):
        shop.to["provider"].port = 1
        with pytest.raises(CallError):
            await give_back(store, client, event(order_id))
    assert await payment(shop, order_id) == ("charged", "charged")
    await heard(shop, order_id)
    assert await payment(shop, order_id) == ("refunded", "refunded")


@pytest.mark.parametrize("answered", [False, True], ids=["the charge's answer was lost", "it was charged"])
async def test_wherever_it_breaks_the_same_news_again_ends_in_one_refund(shop: Shop, answered: bool) -> None:  # noqa: FBT001 - a table's column
    """Cut before each piece that passes between payments and the provider or the database, either way."""
    for pieces in range(500):
        order_id = shop.orders.new()
        async with shop.parts() as (store, client):
            await _charged(shop, order_id, answered=answered)
            shop.fuse.arm(pieces, kills=False)
            with contextlib.suppress(Problem):
                await give_back(store, client, event(order_id))
            shop.fuse.mend()
        if not shop.fuse.blown:
            break
        await heard(shop, order_id)
        assert await payment(shop, order_id) == ("refunded", "refunded"), pieces
    assert not shop.fuse.blown
    assert pieces > 5


@pytest.mark.parametrize("payload", [{}, {"order_id": 7, "user_id": "alice"}, {"order_id": "o1", "user_id": None}])
async def test_an_event_that_names_no_order_or_user_is_malformed(shop: Shop, payload: dict[str, object]) -> None:
    async with shop.parts() as (store, client):
        with pytest.raises(MalformedEventError):
            await give_back(store, client, Event("e1", "c1.order.cancelled", payload))


async def _charged(shop: Shop, order_id: str, *, answered: bool) -> None:
    """The provider has charged, and payments knows it or not."""
    async with shop.parts(directly=True) as (store, client):
        payment = await store.open(Payment(uuid.uuid4().hex, order_id, "alice", 1990, "EUR"))
        charge = await calls.charge(client, payment)
        if answered:
            await store.move(payment, charge.status, charge.id)


async def _stands(shop: Shop, order_id: str, *expected: str) -> bool:
    return await payment(shop, order_id) == expected
