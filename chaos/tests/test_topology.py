"""The topology: edges follow from what services name, and every mistake is told in one line."""

from pathlib import Path

import pytest

from brownout.errors import FileError
from brownout.topology import Edge, Topology, parse_topology, read_topology

SHOP = """
entry = "gateway"
[env]
CONSUL_URL = "http://{consul}"
[services.gateway]
command = ["{python}", "-m", "gateway"]
calls = ["orders", "users:grpc"]
[services.orders]
command = ["orders"]
calls = ["users"]
env = { DATABASE_URL = "postgresql://{postgres}/{database}" }
[services.users]
command = ["users"]
ports = ["grpc"]
env = { MAIL_URL = "http://{mail-relay}" }
[services.mail-relay]
command = ["mail"]
"""


@pytest.fixture
def shop() -> Topology:
    return parse_topology(SHOP, "topology.toml")


def test_an_edge_is_wherever_a_service_calls_or_names_another(shop: Topology) -> None:
    assert set(map(str, shop.edges())) == {
        "gateway -> orders",
        "gateway -> users:grpc",
        "gateway -> consul",
        "orders -> users",
        "orders -> consul",
        "orders -> postgres",
        "users -> consul",
        "users -> mail-relay",
        "mail-relay -> consul",
    }


def test_an_edge_to_a_named_port_knows_its_service(shop: Topology) -> None:
    edge = shop.edge("gateway -> users:grpc")
    assert (edge.service, edge.port) == ("users", "grpc")
    assert "users" in shop.reached_from({"gateway"})


def test_only_services_that_others_call_are_discovered(shop: Topology) -> None:
    assert shop.discovered() == {"orders", "users"}


def test_the_servers_are_those_that_some_service_names_and_those_that_observe_it(shop: Topology) -> None:
    assert shop.servers() == {"postgres", "consul", "prometheus"}


def test_a_system_that_says_where_its_spans_go_has_a_tracing_server() -> None:
    traced = SHOP.replace("[env]", '[env]\nOTLP_URL = "http://{otlp}"')
    assert "jaeger" in parse_topology(traced, "topology.toml").servers()


def test_a_system_of_plain_addresses_needs_no_server() -> None:
    plain = """
    entry = "front"
    services.front = { command = ["front", "-prices={prices}"], env = { STOCK_URL = "http://{stock}" } }
    services.prices = { command = ["prices"] }
    services.stock = { command = ["stock"] }
    """
    topology = parse_topology(plain, "topology.toml")
    assert topology.edges() == (Edge("front", "prices"), Edge("front", "stock"))
    assert topology.servers() == set()


def test_an_edge_is_found_by_its_text(shop: Topology) -> None:
    assert shop.edge("orders->users") == Edge("orders", "users")


def test_an_unknown_edge_is_refused_with_those_that_there_are(shop: Topology) -> None:
    with pytest.raises(ValueError, match=r"no edge 'users -> orders'; the topology has gateway -> orders, "):
        shop.edge("users -> orders")


def test_an_unknown_service_is_refused_with_those_that_there_are(shop: Topology) -> None:
    with pytest.raises(ValueError, match=r"no service 'odrers'; the topology has gateway, orders, users, mail-relay"):
        shop.service("odrers")


def test_what_a_service_reaches_is_all_that_it_calls_directly_or_not(shop: Topology) -> None:
    assert shop.reached_from({"orders"}) == ("orders", "users", "mail-relay")
    assert shop.reached_from({"gateway"}) == ("gateway", "orders", "users", "mail-relay")


@pytest.mark.parametrize(
    ("right", "wrong", "line"),
    [
        ("entry =", "entyr =", "entyr: unknown key; allowed are entry, services, env, deadline_header"),
        ('command = ["orders"]', 'comand = ["orders"]', "services.orders.comand: unknown key; allowed are command, "),
        ('command = ["orders"]', "command = []", "expected `array` of length >= 1"),
        ('command = ["users"]', 'command = ["users"]\ninstances = -1', "expected `int` >= 1"),
        (
            'entry = "gateway"',
            'entry = "door"',
            "entry: no service 'door'; there are gateway, orders, users, mail-relay",
        ),
        ('calls = ["users"]', 'calls = ["usres"]', "services.orders.calls: no service 'usres'; there are gateway, "),
        ("{postgres}", "{postgers}", "services.orders: unknown placeholder {postgers}; allowed are advertise, "),
        ('entry = "gateway"', "entry = gateway", "not TOML: "),
        ("[services.gateway]", "[services.Door]\ncommand=['x']\n[services.gateway]", "services.Door: a service's name"),
        (
            "[services.mail-relay]",
            f"[services.{'a' * 23}]\ncommand=['x']\n[services.mail-relay]",
            f"{'a' * 23}: a serv",
        ),
        ("[services.mail-relay]", "[services.brownout]\ncommand=['x']\n[services.mail-relay]", "brownout: a service's"),
    ],
)
def test_a_wrong_topology_is_refused_with_file_key_and_what_is_allowed(right: str, wrong: str, line: str) -> None:
    assert right in SHOP
    with pytest.raises(FileError) as told:
        parse_topology(SHOP.replace(right, wrong, 1), "topology.toml")
    assert str(told.value).startswith("topology.toml: ")
    assert line in str(told.value)
    assert "\n" not in str(told.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"nowhere\.toml: no such file$"):
        read_topology(tmp_path / "nowhere.toml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match=r"binary\.toml: cannot be read: "):
        read_topology(path)
