"""The wiring of a cell: every edge through a proxy of its own to each instance, found through tagged addresses."""

import json
import sys
from itertools import count

import pytest

from brownout.cells.wiring import Wiring, database_of, wire
from brownout.servers import Listener
from brownout.topology import Edge, parse_topology

TOPOLOGY = parse_topology(
    """
entry = "orders"
[env]
CONSUL_URL = "http://{consul}"
LISTEN = "{listen}"
[services.orders]
command = ["{python}", "-m", "orders", "{instance}"]
calls = ["users"]
env = { DATABASE_URL = "postgresql://{postgres}/{database}", MAIL = "http://{mail-relay}", ODD = "{not a word}" }
[services.users]
command = ["users"]
health = "/healthz"
env = { ADVERTISE = "{advertise}", RATE = "200", OTLP = "{otlp}", CELL = "{cell}" }
[services.mail-relay]
command = ["mail"]
""",
    "topology.toml",
)
SERVERS = {"postgres": "127.0.0.1:1", "consul": "127.0.0.1:2", "otlp": "127.0.0.1:3"}


@pytest.fixture
def wiring() -> Wiring:
    ports = count(1000)
    return wire(
        TOPOLOGY,
        "c-1",
        ("orders", "users", "mail-relay"),
        lambda _: f"127.0.0.1:{next(ports)}",
        SERVERS,
        lambda _: Listener("127.0.0.1:4", "127.0.0.1:5"),
        instances={"users": 2},
        environment={"users": {"RATE": "5"}},
    )


def test_an_edge_has_a_proxy_for_each_instance_of_its_callee(wiring: Wiring) -> None:
    users = [each.listen for each in wiring.instances if each.service == "users"]
    proxies = [proxy for proxy in wiring.proxies if proxy.edge == Edge("orders", "users")]
    assert [proxy.name for proxy in proxies] == ["c-1.orders.users.http.0", "c-1.orders.users.http.1"]
    assert [proxy.upstream for proxy in proxies] == users
    assert {proxy.path for proxy in proxies} == {"/healthz"}


def test_no_two_things_listen_on_one_address(wiring: Wiring) -> None:
    listens = [each.listen for each in (*wiring.instances, *wiring.proxies)]
    assert len(set(listens)) == len(listens)


def test_servers_are_reached_through_the_callers_own_proxy(wiring: Wiring) -> None:
    (orders,) = [each for each in wiring.instances if each.service == "orders"]
    proxies = {proxy.edge: proxy.listen for proxy in wiring.proxies}
    assert orders.env["DATABASE_URL"] == f"postgresql://{proxies[Edge('orders', 'postgres')]}/c-1_orders"
    assert orders.env["CONSUL_URL"] == f"http://{proxies[Edge('orders', 'consul')]}"
    assert orders.env["MAIL"] == f"http://{proxies[Edge('orders', 'mail-relay')]}"


def test_an_instance_advertises_one_address_a_caller(wiring: Wiring) -> None:
    users = [each for each in wiring.instances if each.service == "users"]
    proxies = {proxy.name: proxy.listen for proxy in wiring.proxies}
    for number, instance in enumerate(users):
        tagged = json.loads(instance.env["ADVERTISE"])
        assert set(tagged) == {"via-orders", "via-brownout"}
        address = f"{tagged['via-orders']['Address']}:{tagged['via-orders']['Port']}"
        assert address == proxies[f"c-1.orders.users.http.{number}"]


def test_settings_of_a_run_go_over_those_of_the_topology(wiring: Wiring) -> None:
    assert {each.env["RATE"] for each in wiring.instances if each.service == "users"} == {"5"}


def test_placeholders_are_filled_and_other_braces_left_alone(wiring: Wiring) -> None:
    (orders,) = [each for each in wiring.instances if each.service == "orders"]
    assert orders.command == (sys.executable, "-m", "orders", "orders-0")
    assert orders.env["ODD"] == "{not a word}"
    assert orders.env["LISTEN"] == orders.listen


def test_a_database_is_made_for_each_service_that_names_one(wiring: Wiring) -> None:
    assert wiring.databases == ("c-1_orders",)


def test_no_two_cells_share_a_database() -> None:
    assert database_of("a", "b-c") != database_of("a-b", "c")


def test_the_longest_names_make_a_database_that_postgres_does_not_cut() -> None:
    assert len(database_of("c" * 40, "s" * 22)) == 63
