"""Traffic: journeys become recorded requests, at their due times."""

from collections.abc import Generator
from random import Random
from typing import Any

import pytest

from brownout.clock import steady_clock
from brownout.errors import BrownoutError
from brownout.history import Outcome, Recorder
from brownout.journeys import Journey, Request, Response, journey
from brownout.scenario import Calls
from brownout.workload.driver import Answer
from brownout.workload.traffic import Traffic


class Shop:
    """Answers every request with the number of those before it, or with a status that it was told."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked: list[tuple[str, Request]] = []

    async def send(self, url: str, request: Request, timeout_s: float) -> Answer:
        assert timeout_s == 15
        self.asked.append((url, request))
        body = {"id": len(self.asked)}
        outcome = Outcome.OK if self.status < 300 else Outcome.FAILED
        return Answer(outcome, {"status": self.status, "body": body}, Response(self.status, body))


def customer(random: Random) -> Generator[Request, Response, Any]:
    created = yield Request("users", "POST", "/users", json={"name": str(random.random())})
    return created.body["id"]


@journey(arrange=customer)
def buy(user_id: Any, _: Random) -> Generator[Request, Response, None]:
    order = yield Request("orders", "POST", "/orders", headers={"X-User-Id": str(user_id)})
    yield Request("orders", "GET", f"/orders/{order.body['id']}")


def a_traffic(shop: Shop, recorder: Recorder, seed: int = 1, **journeys: Journey) -> Traffic:
    return Traffic(
        journeys or {"buy": buy}, lambda name: f"http://{name}", shop, recorder, deadline_header="", seed=seed
    )


async def test_a_journey_is_sent_each_answer_before_it_goes_on() -> None:
    shop, recorder = Shop(), Recorder(steady_clock())
    traffic = a_traffic(shop, recorder)
    await traffic.arrange("buy")
    operations = await traffic.calls(Calls("shopping", "buy"))
    assert [(url, request.method, request.path) for url, request in shop.asked] == [
        ("http://users", "POST", "/users"),
        ("http://orders", "POST", "/orders"),
        ("http://orders", "GET", "/orders/2"),
    ]
    assert shop.asked[1][1].headers["X-User-Id"] == "1"
    assert [operation.ok for operation in operations] == [True, True]
    assert len(recorder.history.requests("arrange")) == 1


async def test_what_a_journey_needs_is_arranged_once() -> None:
    shop = Shop()
    traffic = a_traffic(shop, Recorder(steady_clock()))
    await traffic.arrange("buy")
    await traffic.arrange("buy")
    assert len(shop.asked) == 1


async def test_an_arrangement_that_fails_says_why() -> None:
    traffic = a_traffic(Shop(status=500), Recorder(steady_clock()))
    with pytest.raises(BrownoutError, match=r"journey buy: POST /users failed: 500 \{'id': 1\}"):
        await traffic.arrange("buy")


async def test_the_same_seed_draws_the_same_but_never_the_same_trace() -> None:
    drawn = []
    for _ in range(2):
        shop = Shop()
        await a_traffic(shop, Recorder(steady_clock()), seed=7).arrange("buy")
        drawn.append(shop.asked[0][1])
    assert drawn[0].json == drawn[1].json
    assert drawn[0].headers["traceparent"] != drawn[1].headers["traceparent"]
