"""Round robin and random choice over a callee's instances."""

import random
from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout_shop.resilience.balancer import BALANCERS, Balance, Balancer, NoInstanceError, RandomChoice, RoundRobin
from brownout_shop.settings import Settings


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
    balancer = RandomChoice(random.Random(1))
    assert {balancer.choose("abc") for _ in range(50)} == set("abc")


@given(seed=st.integers(), instances=st.integers(2, 10))
def test_random_choice_takes_each_about_as_often(seed: int, instances: int) -> None:
    balancer, calls = RandomChoice(random.Random(seed)), 200 * instances
    shares = Counter(balancer.choose(range(instances)) for _ in range(calls))
    # Seven standard deviations of a share of 200 from what is expected.
    assert all(abs(shares[instance] - 200) < 7 * 200**0.5 for instance in range(instances))


def test_a_setting_names_each_of_them() -> None:
    assert set(BALANCERS) == set(get_args(Balance))
    kinds = {}
    for name in get_args(Balance):
        settings = Settings(cell="c1", instance="x", listen="x:1", consul_url="", otlp_url="", balancer=name)
        kinds[name] = type(BALANCERS[settings.balancer]())
    assert kinds == {"round-robin": RoundRobin, "random": RandomChoice}


@pytest.mark.parametrize("balancer", [RoundRobin(), RandomChoice()])
def test_without_an_instance_there_is_no_service(balancer: Balancer) -> None:
    with pytest.raises(NoInstanceError, match=r"^no service available$"):
        balancer.choose([])
