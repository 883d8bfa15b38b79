"""The wiring in containers: what the compose file has keeps its addresses, whatever a scenario has besides."""

from pathlib import Path

from brownout.cells.composed import composed
from brownout.topology import read_topology

TOPOLOGY = read_topology(Path(__file__).parents[2] / "system/topology.toml")


def addresses(**instances: int) -> dict[str, tuple[str, str]]:
    wiring = composed(TOPOLOGY, instances=instances)
    listens = {each.name: (each.listen, "") for each in wiring.instances}
    return listens | {proxy.name: (proxy.listen, proxy.upstream) for proxy in wiring.proxies}


def test_further_instances_move_nothing_and_are_reached_by_proxies_of_their_own() -> None:
    before, after = addresses(), addresses(users=3)
    assert before.items() <= after.items()
    assert len(set(after.values())) == len(after)
    assert after["users-2"] == ("users-2:8000", "")
    assert after["compose.orders.users.http.2"][1] == "users-2:8000"
    assert after["compose.notifications.users.grpc.1"][1] == "users-1:9000"


def test_another_cell_differs_in_its_name_and_its_databases_only() -> None:
    ours, theirs = composed(TOPOLOGY), composed(TOPOLOGY, "c1")
    changed = {
        key
        for our, their in zip(ours.instances, theirs.instances, strict=True)
        for key, value in their.env.items()
        if our.env[key] != value
    }
    assert changed == {"CELL", "DATABASE_URL"}
    assert [proxy.listen for proxy in ours.proxies] == [proxy.listen for proxy in theirs.proxies]


def test_a_scenarios_settings_are_those_of_every_instance_of_the_service() -> None:
    wiring = composed(TOPOLOGY, instances={"users": 2}, environment={"users": {"RATE_LIMIT_RPS": "5"}})
    assert {each.env["RATE_LIMIT_RPS"] for each in wiring.instances if each.service == "users"} == {"5"}
