"""Any order of paying, dying, cancelling, hearing of it and being called back, on the real services and Postgres.

A payer is what the route does, step by step, so that each may die or wait between any two steps, and others go on
meanwhile. In the end everything that was under way arrives; then the money is where it belongs.
"""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import asyncpg
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from brownout_shop.events import Event
from brownout_shop.payments import calls
from brownout_shop.payments.app import _charged
from brownout_shop.payments.callbacks import Callback, note
from brownout_shop.payments.domain import Payment, Status
from brownout_shop.payments.refunds import give_back
from brownout_shop.payments.store import PaymentStore
from brownout_shop.resilience.client import CalleeRefusedError, Client
from paying import Shop, paid, shop_over

NEXT = {"none": {"none", "charged"}, "charged": {"charged", "refunded"}, "refunded": {"refunded"}}
"""What may become of an order's money at the provider by one step."""


class World:
    """The services, held open over all examples."""

    def __init__(self, runner: asyncio.Runner, shop: Shop, store: PaymentStore, client: Client, session: Any) -> None:
        self.run, self.shop, self.store, self.client, self.session = runner.run, shop, store, client, session


class Payer:
    """One request to pay, which has seen its order pending; it goes on whatever happens meanwhile."""

    def __init__(self, world: World, order_id: str, amount: int) -> None:
        self.world, self.fresh = world, Payment(uuid.uuid4().hex, order_id, "alice", amount, "EUR")
        self.payment = self.fresh
        self.steps = iter((self._open, self._charge, self._tell))

    async def _open(self) -> None:
        self.payment = await self.world.store.open(self.fresh)

    async def _charge(self) -> None:
        if self.payment.status is Status.PENDING:
            self.payment = await _charged(self.world.store, self.world.client, self.payment)

    async def _tell(self) -> None:
        if self.payment.status is Status.CHARGED:
            await calls.mark_paid(self.world.client, self.payment)


class Paying(RuleBasedStateMachine):
    """One order, and everybody who has to do with its money."""

    payers = Bundle("payers")

    def __init__(self, world: World, amount: int) -> None:
        super().__init__()
        self.world = world
        self.order_id = world.shop.orders.new(amount=amount)
        self.amount = amount
        self.money = "none"
        self.status: Status | None = None
        self.cancelled: list[Event] = []
        self.patience = 0

    @initialize(patience=st.integers(0, 15))
    def wait(self, patience: int) -> None:
        """How much happens before the order may be cancelled."""
        self.patience = patience

    @property
    def order(self) -> str:
        return self.world.shop.orders.status(self.order_id)

    @rule()
    def pay(self) -> None:
        """A whole request."""
        before = self.order
        status, _ = self.world.run(paid(self.world.session, self.order_id))
        refused = {402} if self.amount % 100 == 13 else set()
        assert status in ({409} if before == "cancelled" else {201} | refused)
        assert status != 201 or self.order == "paid"

    @precondition(lambda self: self.order == "pending")
    @rule(target=payers)
    def begin_to_pay(self) -> Payer:
        return Payer(self.world, self.order_id, self.amount)

    @rule(payer=payers)
    def go_on(self, payer: Payer) -> None:
        """The next step of a payer."""
        if step := next(payer.steps, None):
            self.world.run(step())

    @rule(payer=consumes(payers))
    def die(self, payer: Payer) -> None:
        """It goes no further."""

    @rule(payer=consumes(payers))
    def charge_and_die(self, payer: Payer) -> None:
        """It is charged at the provider, and does not live to note it."""
        payment = self.world.run(self.world.store.open(payer.fresh))
        if payment.status is Status.PENDING:
            try:
                self.world.run(calls.charge(self.world.client, payment))
            except CalleeRefusedError as error:
                assert error.status == 402  # noqa: PT017 - the only one

    @precondition(lambda self: self.order != "cancelled" and self.patience < 0)
    @rule()
    def cancel(self) -> None:
        self.world.shop.orders.orders[self.order_id]["status"] = "cancelled"
        self.cancelled = [Event("e1", "c1.order.cancelled", {"order_id": self.order_id, "user_id": "alice"})]

    @precondition(lambda self: self.cancelled)
    @rule()
    def hear_of_it(self) -> None:
        """At last, and again."""
        self.world.run(give_back(self.world.store, self.world.client, self.cancelled[0]))

    @rule(data=st.data())
    def call_back(self, data: st.DataObject) -> None:
        """Any of all callbacks that there are, late or again."""
        if there := self.callbacks():
            self.world.run(note(self.world.store, self.world.client, data.draw(st.sampled_from(there))))

    def callbacks(self) -> list[Callback]:
        """Nobody marks them as told, so they all stay."""
        untold = self.world.run(self.world.shop.ledger.untold())
        return [
            Callback(key=each.key, id=each.charge.id, status=each.charge.status.value)
            for each in untold
            if each.charge.reference == self.order_id
        ]

    @invariant()
    def the_money_moves_once_in_each_direction(self) -> None:
        before, self.money = self.money, self.at_the_provider()
        assert self.money in NEXT[before]
        self.patience -= 1

    @invariant()
    def nobody_claims_what_the_provider_does_not_know(self) -> None:
        payment, before = self.payment(), self.status
        self.status = payment.status if payment else None
        assert self.status is before or before not in {Status.REFUNDED, Status.VOIDED}
        if payment is not None and payment.status is Status.CHARGED:
            assert self.at_the_provider() in {"charged", "refunded"}
        if payment is not None and payment.status is Status.REFUNDED:
            assert self.at_the_provider() == "refunded"
            assert self.order == "cancelled"
        if self.order == "paid":
            assert payment is not None
            assert payment.status is Status.CHARGED

    def at_the_provider(self) -> str:
        """What became of the order's money; there is one charge at most."""
        charges = self.world.run(self.world.shop.ledger.of_reference(self.order_id))
        assert len(charges) <= 1
        return charges[0].status.value if charges else "none"

    def payment(self) -> Payment | None:
        return self.world.run(self.world.store.of_order(self.order_id, "alice"))

    def teardown(self) -> None:
        """All that is under way arrives, and again; then there is money where it belongs, and nowhere else."""
        for _ in range(2):
            if self.cancelled:
                self.hear_of_it()
            for callback in self.callbacks():
                self.world.run(note(self.world.store, self.world.client, callback))
        for untold in self.world.run(self.world.shop.ledger.untold()):
            self.world.run(self.world.shop.ledger.told(untold))
        money, payment = self.at_the_provider(), self.payment()
        assert money != "charged" if self.order == "cancelled" else money != "refunded"
        assert (money == "charged") == (self.order == "paid")
        if self.order == "cancelled":
            assert payment is not None
            assert payment.status is (Status.REFUNDED if money == "refunded" else Status.VOIDED)


@pytest.fixture
def world(postgres: str) -> Iterator[World]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def begin() -> World:
            name = f"test_{uuid.uuid4().hex}"
            connection = await asyncpg.connect(f"{postgres}/postgres", ssl=False, timeout=10)
            await connection.execute(f"CREATE DATABASE {name}")
            await connection.close()
            shop = await stack.enter_async_context(shop_over(f"{postgres}/{name}"))
            session = await stack.enter_async_context(shop.payments())
            store, client = await stack.enter_async_context(shop.parts())
            return World(runner, shop, store, client, session)

        yield runner.run(begin())
        runner.run(stack.aclose())


@pytest.mark.parametrize("amount", [1990, 2013], ids=["taken", "declined"])
def test_whatever_happens_the_money_is_where_it_belongs(world: World, amount: int) -> None:
    run_machine(
        partial(Paying, world, amount),
        settings=settings(
            max_examples=40,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
