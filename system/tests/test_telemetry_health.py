"""What /health says: clause 6.5."""

import pytest

from brownout_shop.telemetry.health import Health, combine


def test_all_up_is_up() -> None:
    document = {"status": "UP", "database": "UP", "consul": "UP", "users": "UP"}
    assert combine(database=True, consul=True, needs={"users": True}) == (200, document)


def test_a_lost_database_is_down_with_503() -> None:
    code, document = combine(database=False, consul=True, needs={})
    assert (code, document["status"], document["database"]) == (503, "DOWN", "DOWN")


def test_a_needed_service_without_an_instance_degrades_with_200() -> None:
    code, document = combine(database=True, consul=True, needs={"users": False, "orders": True})
    assert (code, document["status"], document["users"], document["orders"]) == (200, "DEGRADED", "DOWN", "UP")


def test_a_lost_consul_degrades_with_200() -> None:
    code, document = combine(database=True, consul=False, needs={"users": True})
    assert (code, document["status"], document["consul"]) == (200, "DEGRADED", "DOWN")


@pytest.mark.parametrize("consul", [True, False])
def test_down_outranks_degraded(consul: bool) -> None:  # noqa: FBT001 - pytest passes it
    code, document = combine(database=False, consul=consul, needs={"users": False})
    assert (code, document["status"]) == (503, "DOWN")


async def test_a_service_without_a_database_does_not_speak_of_one() -> None:
    health = Health(consul=lambda: True, has_instance=lambda name: name == "users", needs=("users",))
    assert await health.check() == (200, {"status": "UP", "consul": "UP", "users": "UP"})
