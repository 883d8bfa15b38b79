"""Round robin and random choice over a callee's instances."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout_shop.resilience.balancer import Balancer, NoInstanceError, RandomChoice, RoundRobin


def test_round_robin_takes_each_in_its_turn() -> None:
    balancer = RoundRobin()
    assert [balancer.choose("abc") for _ in range(5)] == ["a", "b", "c", "a", "b"]


@given(instances=st.integers(1, 10), calls=st.integers(0, 50))
def test_round_robin_is_never_more_than_one_call_out_of_balance(instances: int, calls: int) -> None:
    balancer = RoundRobin()
    shares = Counter(dict.fromkeys(range(instances), 0))
    shares.update(balancer.choose(range(instances)) for _ in range(calls))
    assert max(shares.values()) - min(shares.values()) <= 1


def test_round_robin_goes_on_when_an_instance_is_gone() -> None:
    balancer = RoundRobin()
    balancer.choose("abc")
    balancer.choose("abc")
    assert [balancer.choose("ab") for _ in range(2)] == ["a", "b"]


def test_random_choice_reaches_every_instance() -> None:
    balancer = RandomChoice(random.Random(1))  # noqa: S311 - a fixed seed
    assert {balancer.choose("abc") for _ in range(50)} == set("abc")


@pytest.mark.parametrize("balancer", [RoundRobin(), RandomChoice()])
def test_without_an_instance_there_is_no_service(balancer: Balancer) -> None:
    with pytest.raises(NoInstanceError, match=r"^no service available$"):
        balancer.choose([])
