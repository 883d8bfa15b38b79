"""Faults in a user's words: each means the fault that scenarios inject, and what means none is told in one line."""

import pytest

from brownout.cell import Toxic
from brownout.errors import FaultError
from brownout.faults import AnyToxic, BlackHole, Killed, Latency, Lost, Outage, Paused, Terminated
from brownout.faults.spoken import Spoken, duration_s, spoken_fault, target
from brownout.topology import Edge, parse_topology

TOPOLOGY = parse_topology(
    """
    entry = "orders"
    [services.orders]
    command = ["orders"]
    calls = ["users", "users:grpc"]
    env = { DATABASE_URL = "{postgres}" }
    [services.users]
    command = ["users"]
    instances = 2
    ports = ["grpc"]
    """,
    "topology.toml",
)
USERS = Edge("orders", "users")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("latency", "orders -> users", "2s"), Latency(USERS, 2000)),
        (("latency", "orders->users", "1.5s"), Latency(USERS, 1500)),
        (("latency", "orders -> users:grpc", "500ms"), Latency(Edge("orders", "users:grpc"), 500)),
        (("outage", "orders -> postgres"), Outage(Edge("orders", "postgres"))),
        (("black-hole", "orders -> users"), BlackHole(USERS)),
        (("toxic", "orders -> users", "bandwidth", "rate=10"), AnyToxic(USERS, Toxic("bandwidth", {"rate": 10}))),
        (("toxic", "orders -> users", "reset_peer"), AnyToxic(USERS, Toxic("reset_peer", {}))),
        (("kill", "users"), Killed("users")),
        (("kill", "users:1"), Lost("users", 1)),
        (("pause", "users"), Paused("users")),
        (("pause", "users:1"), Paused("users", 1)),
        (("terminate", "orders"), Terminated("orders", 0)),
        (("terminate", "users:1"), Terminated("users", 1)),
    ],
)
def test_words_mean_the_fault_of_a_scenario(words: tuple[str, ...], fault: Spoken) -> None:
    assert spoken_fault(words, TOPOLOGY) == fault


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "inject: no such fault; there are: latency EDGE DURATION; outage EDGE"),
        (("latecny", "orders -> users", "2s"), "latecny: no such fault; there are: latency EDGE"),
        (("latency", "orders -> usres", "2s"), "latency: no edge 'orders -> usres'; the topology has orders -> users,"),
        (("latency", "orders", "users", "2s"), "latency: say it so: latency EDGE DURATION"),
        (("latency", "orders -> users"), "latency: say it so: latency EDGE DURATION"),
        (("latency", "orders -> users", "2"), "2: is no duration; say 500ms, 2s or 1m"),
        (("latency", "orders -> users", "0s"), "0s: is no duration"),
        (("latency", "orders -> users", "0.1ms"), "0.1ms: is less than a millisecond"),
        (("outage", "orders -> users", "2s"), "outage: say it so: outage EDGE"),
        (("toxic", "orders -> users"), "toxic: say it so: toxic EDGE TYPE"),
        (("toxic", "orders -> users", "bandwidth", "rate=-1"), "toxic: say it so: toxic EDGE TYPE"),
        (("kill", "usres"), "kill: no service 'usres'; the topology has orders, users"),
        (("kill", "users:2"), "users:2: users has no such instance; the last is users:1"),
        (("terminate", "users:one"), "users:one: users has no such instance"),
    ],
)
def test_words_that_mean_nothing_are_told_in_one_line(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(FaultError) as refused:
        spoken_fault(words, TOPOLOGY)
    assert str(refused.value).startswith(told)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("2s", 2), ("1m", 60), ("0.5m", 30)])
def test_a_duration_is_read_in_its_unit(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "2", "-2s", "0s", "2h", "2 s", "1e3s", "nan", "9" * 400 + "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(FaultError, match="is no duration"):
        duration_s(text)


def test_faults_of_one_edge_or_service_have_one_target() -> None:
    assert target(Latency(USERS, 1)) == target(Outage(USERS)) == "orders -> users"
    assert (
        target(Killed("users"))
        == target(Lost("users", 1))
        == target(Paused("users"))
        == target(Terminated("users"))
        == "users"
    )
