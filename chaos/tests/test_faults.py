"""What a fault takes for a sign that it acts, on a cell of the fakes."""

from typing import Any

import pytest

from brownout.cell import Canary, Toxic
from brownout.cells.fake import FakeCell, FakeNetwork, FakeProcesses, FakeServers, FakeTelemetry
from brownout.errors import FaultError
from brownout.faults import BlackHole, Latency, Outage, Paused, Restarted, Terminated
from brownout.topology import Edge

EDGE = Edge("orders", "users")


class Ended(FakeProcesses):
    """Processes that had ended two seconds before anybody sent them a signal."""

    async def exited(self, service: str, instance: int, within_s: float) -> dict[str, Any]:
        return {**await super().exited(service, instance, within_s), "after_s": -2.0}


class Deaf(FakeProcesses):
    """Processes that do not end when they are asked to."""

    async def exited(self, service: str, instance: int, within_s: float) -> dict[str, Any]:
        await super().exited(service, instance, within_s)
        return {}


class Answering(FakeNetwork):
    """An edge whose callee answers after some seconds, whatever is done to it."""

    def __init__(self, answered_s: float) -> None:
        super().__init__(EDGE)
        self._answered_s = answered_s

    async def canary(self, edge: Edge, within_s: float) -> Canary:
        await super().canary(edge, within_s)
        return Canary(answered_s=self._answered_s if self._answered_s <= within_s else None)


def a_cell(network: FakeNetwork | None = None, processes: FakeProcesses | None = None) -> FakeCell:
    return FakeCell(network or FakeNetwork(EDGE), processes or FakeProcesses(users=1), FakeTelemetry())


async def test_a_callee_that_hangs_is_not_taken_for_a_slow_one() -> None:
    cell = a_cell()
    await cell.network.add_toxic(EDGE, Toxic("timeout", {"timeout": 0}))
    async with Latency(EDGE, 300).injected(cell):
        bite = await Latency(EDGE, 300).bites(cell)
    assert (bite.bit, bite.seen) == (False, "no answer")


@pytest.mark.parametrize(("answered_s", "bit"), [(1.7, False), (1.8, True), (2.0, True), (8.9, True), (9.1, False)])
async def test_latency_bites_when_an_answer_comes_and_comes_late(answered_s: float, *, bit: bool) -> None:
    assert (await Latency(EDGE, 2000).bites(a_cell(Answering(answered_s)))).bit is bit


async def test_an_outage_is_no_latency() -> None:
    cell = a_cell()
    async with Outage(EDGE).injected(cell):
        assert not (await Latency(EDGE, 300).bites(cell)).bit


async def test_a_slow_answer_is_no_black_hole() -> None:
    assert not (await BlackHole(EDGE).bites(a_cell(Answering(0.5)))).bit


async def test_a_process_that_had_ended_before_the_signal_was_not_terminated() -> None:
    cell = a_cell(processes=Ended(users=1))
    async with Terminated("users").injected(cell):
        bite = await Terminated("users").bites(cell)
    assert (bite.bit, bite.seen) == (False, "exit code 0 after -2.00 s: it had ended before the signal")


async def test_a_process_that_ends_by_the_signal_was_terminated() -> None:
    cell = a_cell()
    async with Terminated("users").injected(cell):
        assert (await Terminated("users").bites(cell)).bit


async def test_a_process_that_outlives_the_signal_has_had_it() -> None:
    bite = await Terminated("users").bites(a_cell(processes=Deaf(users=1)))
    assert (bite.bit, bite.seen) == (True, "still running")


async def test_a_paused_service_stands_still_until_it_is_left() -> None:
    cell = a_cell(processes=FakeProcesses(users=2))
    async with Paused("users").injected(cell):
        assert cell.processes.standing_still == {("users", 0), ("users", 1)}
        bite = await Paused("users").bites(cell)
    assert (bite.bit, bite.seen) == (True, "2 of 2 paused, and silent")
    assert cell.processes.standing_still == set()


async def test_one_instance_is_paused_while_the_others_run() -> None:
    cell = a_cell(processes=FakeProcesses(users=2))
    async with Paused("users", 1).injected(cell):
        assert cell.processes.standing_still == {("users", 1)}
        bites = [(await Paused("users", instance).bites(cell)).bit for instance in (1, 0, None)]
    assert bites == [True, False, False]


async def test_instances_that_were_paused_go_on_when_another_cannot_be() -> None:
    class Unequal(FakeProcesses):
        async def pause(self, service: str, instance: int) -> dict[str, Any]:
            if instance == 1:
                raise FaultError("users-1", "it has ended, and cannot be paused")
            return await super().pause(service, instance)

    cell = a_cell(processes=Unequal(users=2))
    with pytest.raises(FaultError):
        async with Paused("users").injected(cell):
            pass
    assert cell.processes.standing_still == set()


def a_cell_of_its_own(*servers: str) -> FakeCell:
    return FakeCell(FakeNetwork(), FakeProcesses(), FakeTelemetry(), servers=FakeServers(*servers))


async def test_a_server_that_is_restarted_is_gone_until_it_is_left() -> None:
    cell = a_cell_of_its_own("consul", "postgres")
    before = await Restarted("consul").bites(cell)
    async with Restarted("consul").injected(cell) as said:
        assert cell.servers.stopped == {"consul"}
        bite = await Restarted("consul").bites(cell)
    assert (before.bit, before.seen) == (False, "answered")
    assert (bite.bit, bite.seen, said) == (True, "refused", {"exit_code": -9})
    assert cell.servers.stopped == set()


async def test_a_server_is_started_again_whatever_happens_while_it_is_gone() -> None:
    cell = a_cell_of_its_own("consul")
    with pytest.raises(KeyError):
        async with Restarted("consul").injected(cell):
            raise KeyError
    assert cell.servers.stopped == set()


async def test_a_server_that_cells_share_is_not_stopped() -> None:
    with pytest.raises(FaultError, match="consul: is shared by all cells"):
        async with Restarted("consul").injected(a_cell_of_its_own("postgres")):
            pass
