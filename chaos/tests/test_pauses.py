"""Processes that stand still go on: when they are let, and when whoever paused them is gone."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brownout.cells.pauses import Pauses
from brownout.errors import FaultError
from brownout.mending import began_at, faults_of, state_of
from brownout.undo import Process, Supervisor

BOUND_S = 10.0
ENV = {"PATH": os.environ["PATH"]}
RUNNER = """
import asyncio, sys
from pathlib import Path
from brownout.cells.pauses import Pauses
from brownout.undo import Supervisor

async def main(folder):
    async with Supervisor(folder / "scratch") as supervisor:
        await asyncio.sleep(0)
        process = await supervisor.spawn("it", ["sleep", "60"], env={"PATH": "/bin"}, log=folder / "log")
        await Pauses(supervisor.journal).pause(process)
        print(process.pid, supervisor.journal.path, flush=True)
        await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1])))
"""


async def sleeper(supervisor: Supervisor) -> Process:
    return await supervisor.spawn("sleeper", ["sleep", "60"], env=ENV, log=supervisor.scratch / "log")


async def test_a_pause_is_written_down_as_long_as_it_lasts(tmp_path: Path) -> None:
    async with Supervisor(tmp_path / "scratch") as supervisor:
        process, pauses = await sleeper(supervisor), Pauses(supervisor.journal)
        await pauses.pause(process)
        assert state_of(process.pid) == "T"
        assert [str(fault) for fault in faults_of(supervisor.journal.path)] == [f"pause of process {process.pid}"]
        await pauses.resume(process)
        assert state_of(process.pid) != "T"
        assert faults_of(supervisor.journal.path) == []


async def test_what_was_not_paused_or_has_ended_meanwhile_need_not_go_on(tmp_path: Path) -> None:
    async with Supervisor(tmp_path / "scratch") as supervisor:
        process, pauses = await sleeper(supervisor), Pauses(supervisor.journal)
        await pauses.resume(process)
        await pauses.pause(process)
        process.signal(signal.SIGKILL)
        await asyncio.wait_for(process.wait(), BOUND_S)
        await pauses.resume(process)
        with pytest.raises(FaultError, match="sleeper: it has ended, and cannot be paused"):
            await pauses.pause(process)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_paused_process_does_not_outlive_its_runner(tmp_path: Path, number: signal.Signals) -> None:
    argv = [sys.executable, "-c", RUNNER, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as runner:
        assert runner.stdout is not None
        pid, journal = runner.stdout.readline().split()
        assert state_of(int(pid)) == "T"
        runner.send_signal(number)
    deadline_s = time.monotonic() + 2
    while began_at(int(pid)) is not None or Path(journal).exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    assert f"pause of process {pid}: " in Path(journal).with_suffix(".closed").read_text()
