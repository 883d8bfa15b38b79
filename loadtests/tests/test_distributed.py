"""The open model over several processes: what the master says is the sum of its workers, who come and go."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from brownout.servers.ports import free_port
from shop_stand_in import BOUND_S, OPEN, Run, ShopStandIn, begun, command, ended, percentile, stalled_s, written_down

COUNTS = ("taken", "ended", "dropped", "returned", "cut")


class Swarm:
    """A master and its workers, each a process of its own.

    Attributes:
        workers: those that were begun, the first first.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.workers: list[subprocess.Popen[str]] = []
        self._folder = folder
        self._stack = stack
        self._port = str(free_port())

    def master(self, *arguments: str) -> None:
        bound = ("--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", self._port)
        self._master = self._begin("master", *bound, "--summary", "summary.json", *arguments)

    def end(self) -> None:
        """Ask the master to end."""
        self._master.terminate()

    def worker(self) -> subprocess.Popen[str]:
        joined = ("--worker", "--master-host", "127.0.0.1", "--master-port", self._port)
        self.workers.append(self._begin(f"worker-{len(self.workers)}", *joined))
        return self.workers[-1]

    def ended(self) -> Run:
        """Wait for the master's end."""
        code = self._master.wait(timeout=BOUND_S)
        return ended(self._folder, code, (self._folder / "master.log").read_text())

    def _begin(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        log = self._stack.enter_context((self._folder / f"{name}.log").open("w"))
        process = subprocess.Popen(
            command(OPEN, *arguments), cwd=self._folder, text=True, stdout=log, stderr=subprocess.STDOUT
        )
        self._stack.callback(process.wait, timeout=BOUND_S)
        self._stack.callback(process.kill)
        return process


@contextmanager
def swarm(folder: Path, workers: int, *arguments: str, **how: Any) -> Iterator[tuple[Swarm, ShopStandIn]]:
    with begun(**how) as stand_in, ExitStack() as stack:
        written_down(folder, stand_in.addresses)
        swarm = Swarm(folder, stack)
        swarm.master("-u", "8", "-r", "8", "--expect-workers", f"{workers or 1}", *arguments)
        for _ in range(workers):
            swarm.worker()
        yield swarm, stand_in


def until(stand_in: ShopStandIn, journeys: int) -> None:
    """Wait until so many requests of journeys have come."""
    deadline_s = time.monotonic() + BOUND_S
    while stand_in.journeys < journeys:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def totals(summary: dict[str, Any]) -> dict[str, int]:
    return {count: sum(one[count] for one in summary["generators"].values()) for count in COUNTS}


@pytest.fixture(scope="module")
def stalled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, int]:
    arguments = ("--rate", "50", "-t", "10s", "OpenBrowse")
    folder = tmp_path_factory.mktemp("stalled")
    with swarm(folder, 4, *arguments, stall_at_s=4.0, stall_s=2.0) as (several, stand_in):
        return several.ended(), stand_in.journeys


def test_what_the_master_says_is_the_sum_of_its_workers_and_none_is_lost(stalled: tuple[Run, int]) -> None:
    run, asked = stalled
    assert run.code == 0, run.log
    assert run.summary["arrivals"] == run.summary["requests"] == asked == 500
    assert totals(run.summary) == {"taken": 500, "ended": 500, "dropped": 0, "returned": 0, "cut": 0}
    assert run.summary["lost"] == 0


def test_each_worker_has_its_share(stalled: tuple[Run, int]) -> None:
    shares = [one["ended"] for one in stalled[0].summary["generators"].values()]
    assert shares == pytest.approx([125] * 4, abs=1)


def test_the_quantiles_of_four_workers_are_those_of_the_whole(stalled: tuple[Run, int]) -> None:
    truth_s = stalled_s(50, 10, 4, 6)
    for share in (0.99, 0.999):
        took_s = stalled[0].summary["took_ms"][f"p{100 * share:g}"] / 1000
        assert took_s == pytest.approx(percentile(truth_s, share), rel=0.05)


def test_a_worker_that_leaves_takes_nothing_with_it_and_one_that_comes_has_its_share(tmp_path: Path) -> None:
    with swarm(tmp_path, 2, "--rate", "60", "-t", "15s", slow_s=0.2) as (two, stand_in):
        until(stand_in, 200)
        two.worker()
        until(stand_in, 600)
        two.workers[0].send_signal(signal.SIGTERM)
        run = two.ended()
    assert run.code == 0, run.log
    assert run.summary["arrivals"] == 900
    assert run.summary["lost"] == 0
    assert totals(run.summary)["ended"] == 900
    assert run.summary["requests"] == stand_in.journeys
    assert len(run.summary["generators"]) == 3
    assert all(one["ended"] > 0 for one in run.summary["generators"].values())


def test_what_a_killed_worker_had_is_counted_as_lost(tmp_path: Path) -> None:
    with swarm(tmp_path, 2, "--rate", "60", "-t", "15s") as (two, stand_in):
        until(stand_in, 200)
        two.workers[0].kill()
        run = two.ended()
    assert run.code == 2
    assert run.summary["arrivals"] == 900
    assert run.summary["lost"] > 9
    assert totals(run.summary)["ended"] + run.summary["lost"] == 900
    assert f"{run.summary['lost']} lost" in run.log


def test_without_any_worker_left_what_came_due_is_lost_and_the_run_ends(tmp_path: Path) -> None:
    with swarm(tmp_path, 1, "--rate", "60", "-t", "60s") as (one, stand_in):
        until(stand_in, 100)
        one.workers[0].kill()
        run = one.ended()
    assert run.code == 2
    assert totals(run.summary)["ended"] + run.summary["lost"] == run.summary["arrivals"]
    assert run.summary["lost"] > 60  # a worker is missed after three seconds
    assert "the run was ended before its time" in run.log


def test_a_master_that_waits_for_workers_can_be_asked_to_end(tmp_path: Path) -> None:
    with swarm(tmp_path, 0) as (nobody, _):
        log = tmp_path / "master.log"
        deadline_s = time.monotonic() + BOUND_S
        while "open model is ready" not in log.read_text():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        nobody.end()
        run = nobody.ended()
    assert run.code == 128 + signal.SIGTERM
    assert "ended by SIGTERM before there was any load" in run.log
