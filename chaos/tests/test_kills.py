"""Whatever ends a run with a fault in force, nothing of it is left soon after; `make kills` does it a hundred times."""

import pytest

from kills import FAULTS, WAYS, Kill, killed, planned

CLEAN_WITHIN_S = 2.0


@pytest.mark.servers
@pytest.mark.parametrize(
    "kill",
    [Kill(way, fault, in_force=True, after_s=0.1) for way, fault in zip(WAYS, (*FAULTS, "pause"), strict=True)],
    ids=lambda kill: f"{kill.way} with {kill.fault}",
)
def test_a_killed_run_leaves_no_fault_and_no_process(kill: Kill) -> None:
    outcome = killed(kill)
    assert outcome.processes >= 9  # the runner, its watchdog, five servers and two services
    assert outcome.left == ""
    assert outcome.clean_s <= CLEAN_WITHIN_S


def test_a_plan_is_the_same_for_the_same_seed_and_has_every_way_with_every_fault() -> None:
    plan = planned(100, 1)
    assert plan == planned(100, 1)
    assert plan[:40] == planned(40, 1)
    assert plan != planned(100, 2)
    assert {(kill.way, kill.fault) for kill in plan if kill.in_force} == {
        (way, fault) for way in WAYS for fault in FAULTS
    }
