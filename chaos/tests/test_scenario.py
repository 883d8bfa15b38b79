"""A scenario knows how long it takes at the least."""

import pytest

from brownout.faults import Outage
from brownout.history import Outcome
from brownout.scenario import Calls, Hold, Load, Scenario, Seen, Step, Wait
from brownout.topology import Edge

UP = Seen("watch", "health", Outcome.OK)


def scenario(*steps: Step) -> Scenario:
    return Scenario("story", "order", steps, ("orders",))


@pytest.mark.parametrize(
    ("steps", "least_s"),
    [
        ((), 0),
        ((Wait(2), Wait(3)), 5),
        ((Wait(60, until=UP),), 0),
        ((Calls("burst", "order", 5, every_s=2),), 8),
        ((Calls("burst", "order", 5, every_s=2, together=True),), 0),
        ((Hold(Outage(Edge("orders", "users")), (Wait(2), Hold(Load("load", "order", 1), (Wait(3),)))), Wait(1)), 6),
        ((Calls("trip", "order", 2, every_s=1), Wait(4), Wait(10, since="trip")), 11),
        ((Calls("trip", "order"), Wait(4), Wait(3, since="trip")), 4),
        ((Hold(Load("load", "order", 1), (Wait(2),)), Wait(1), Wait(5, since="load")), 7),
    ],
)
def test_its_least_length_is_that_of_its_waits_and_distances(steps: tuple[Step, ...], least_s: float) -> None:
    assert scenario(*steps).least_s() == least_s
