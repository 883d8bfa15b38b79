"""Whatever ends the runner, nothing of the run is left: the watchdog against processes that will not go."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from brownout.undo import Process, Supervisor

BOUND_S = 10.0
GONE_WITHIN_S = 2.0

STUBBORN = """
import os, signal, socket, time

def hold():
    time.sleep(60)
    os._exit(0)

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN)
listener = socket.create_server(("127.0.0.1", 0))
if os.fork() == 0:
    hold()
if os.fork() == 0:  # a daemon: of its own session, and nobody's child
    os.setsid()
    if os.fork() == 0:
        hold()
    os._exit(0)
os.wait()
print(listener.getsockname()[1], flush=True)
hold()
"""
"""A program of three processes that heeds no signal; it prints the port that all three listen on."""

RUNNER = """
import asyncio, os, signal, sys, time
from pathlib import Path
from brownout.undo import Supervisor

async def main(scratch, log, count, then, *argv):
    async with Supervisor(Path(scratch)) as supervisor:
        for _ in range(int(count)):
            await supervisor.spawn("it", argv, env=dict(os.environ), log=Path(log))
        print(os.getpid(), flush=True)
        if then == "fork" and os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        await asyncio.Event().wait()

signal.signal(signal.SIGINT, signal.default_int_handler)
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def env() -> dict[str, str]:
    """Return an environment by which a run's processes are known, whose children ever they are."""
    return {name: os.environ[name] for name in ("PATH", "BROWNOUT_STATE")} | {"RUN": uuid.uuid4().hex}


def alive(env: dict[str, str]) -> list[int]:
    mark = f"RUN={env['RUN']}".encode()
    return [int(entry.parent.name) for entry in Path("/proc").glob("[0-9]*/environ") if mark in environ(entry)]


def environ(entry: Path) -> bytes:
    try:
        return entry.read_bytes()  # empty for one that has ended and was not waited for
    except (OSError, ProcessLookupError):
        return b""


def eventually(condition: Callable[[], bool], within_s: float = BOUND_S) -> None:
    begun_s = time.monotonic()
    while not condition():
        assert time.monotonic() - begun_s < within_s, "it never came true"
        time.sleep(0.005)


def ports(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().splitlines()] if log.exists() else []


@contextmanager
def run(tmp_path: Path, env: dict[str, str], count: int, then: str = "wait") -> Iterator[subprocess.Popen[bytes]]:
    """Run a runner with so many stubborn programs, all up when this yields."""
    program = [sys.executable, "-I", "-S", "-c", STUBBORN]
    paths = [str(tmp_path / "scratch"), str(tmp_path / "log")]
    argv = [sys.executable, "-c", RUNNER, *paths, str(count), then, *program]
    runner = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        eventually(lambda: len(ports(tmp_path / "log")) == count)
        yield runner
    finally:
        with suppress(ProcessLookupError):
            os.killpg(runner.pid, signal.SIGKILL)
        runner.wait(BOUND_S)


def nothing_is_left(tmp_path: Path, env: dict[str, str]) -> bool:
    return not alive(env) and not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_runner_that_is_ended_by_a_signal_leaves_nothing(
    tmp_path: Path, env: dict[str, str], number: signal.Signals
) -> None:
    with run(tmp_path, env, count=3) as runner:
        assert len(alive(env)) == 2 + 3 * 3
        os.killpg(runner.pid, number)  # the whole group, as a terminal would
        runner.wait(BOUND_S)
        eventually(lambda: nothing_is_left(tmp_path, env), GONE_WITHIN_S)
        for port in ports(tmp_path / "log"):
            socket.create_server(("127.0.0.1", port)).close()


def test_thirty_programs_of_three_processes_are_gone_soon_after_the_runner_is_killed(
    tmp_path: Path, env: dict[str, str]
) -> None:
    with run(tmp_path, env, count=30) as runner:
        assert len(alive(env)) == 2 + 30 * 3
        runner.kill()
        eventually(lambda: nothing_is_left(tmp_path, env), GONE_WITHIN_S)


def test_a_fork_that_outlives_the_runner_does_not_keep_the_run_alive(tmp_path: Path, env: dict[str, str]) -> None:
    with run(tmp_path, env, count=1, then="fork") as runner:
        eventually(lambda: len(alive(env)) == 3 + 3)
        runner.kill()
        runner.wait(BOUND_S)
        eventually(lambda: len(alive(env)) == 1, GONE_WITHIN_S)  # the fork, which is the runner's own affair
        assert not (tmp_path / "scratch").exists()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110  nothing announces what /proc shows
            await asyncio.sleep(0.01)


async def shell(
    supervisor: Supervisor, env: dict[str, str], script: str, stop: signal.Signals = signal.SIGKILL
) -> Process:
    """Start a script whose output survives the scratch directory, and wait for its first line."""
    log = supervisor.scratch.with_name(f"log-{uuid.uuid4().hex}")
    process = await supervisor.spawn("it", ["sh", "-c", script], env=env, log=log, stop=stop)
    await until(lambda: log.stat().st_size > 0)
    return process


async def test_leaving_ends_what_ignores_every_signal_and_all_that_it_started(
    tmp_path: Path, env: dict[str, str]
) -> None:
    async with Supervisor(tmp_path / "scratch") as supervisor:
        process = await shell(supervisor, env | {"PROGRAM": STUBBORN}, f'exec {sys.executable} -c "$PROGRAM"')
        assert len(alive(env)) == 3
    assert nothing_is_left(tmp_path, env)
    assert process.returncode == -signal.SIGKILL


async def test_leaving_ends_what_an_ended_process_left_behind(tmp_path: Path, env: dict[str, str]) -> None:
    async with Supervisor(tmp_path / "scratch") as supervisor:
        process = await shell(supervisor, env, "sleep 60 & echo up")
        assert await asyncio.wait_for(process.wait(), BOUND_S) == 0
        assert len(alive(env)) == 1
    assert nothing_is_left(tmp_path, env)


async def test_a_process_with_a_stop_signal_of_its_own_may_tidy_up(tmp_path: Path, env: dict[str, str]) -> None:
    script = "trap 'echo tidied; exit 5' QUIT; echo up; while :; do sleep 0.05; done"
    async with Supervisor(tmp_path / "scratch") as supervisor:
        process = await shell(supervisor, env, script, stop=signal.SIGQUIT)
    assert process.returncode == 5
    assert process.log.read_text() == "up\ntidied\n"


async def test_what_a_tidying_process_started_is_left_to_it(tmp_path: Path, env: dict[str, str]) -> None:
    script = "sleep 60 & trap 'kill $!; wait $!; echo child ended with $?; exit 0' QUIT; echo up; wait"
    async with Supervisor(tmp_path / "scratch") as supervisor:
        process = await shell(supervisor, env, script, stop=signal.SIGQUIT)
    assert f"child ended with {128 + signal.SIGTERM}" in process.log.read_text()


async def test_a_paused_process_may_tidy_up_as_well(tmp_path: Path, env: dict[str, str]) -> None:
    script = "trap 'exit 5' QUIT; echo up; while :; do sleep 0.05; done"
    async with Supervisor(tmp_path / "scratch") as supervisor:
        process = await shell(supervisor, env, script, stop=signal.SIGQUIT)
        process.signal(signal.SIGSTOP)
    assert process.returncode == 5


async def test_a_process_that_does_not_heed_its_stop_signal_is_killed(tmp_path: Path, env: dict[str, str]) -> None:
    async with Supervisor(tmp_path / "scratch") as supervisor:
        process = await shell(supervisor, env, "trap '' QUIT; echo up; sleep 60", stop=signal.SIGQUIT)
        begun_s = time.monotonic()
    assert process.returncode == -signal.SIGKILL
    assert nothing_is_left(tmp_path, env)
    assert 1.0 <= time.monotonic() - begun_s < GONE_WITHIN_S


async def test_the_watchdog_heeds_no_signal_meant_for_the_runner(tmp_path: Path, env: dict[str, str]) -> None:
    async with Supervisor(tmp_path / "scratch") as supervisor:
        await shell(supervisor, env, "echo up; exec sleep 60")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(supervisor._watchdog.pid, number)
        process = await shell(supervisor, env, "echo up")
        assert await asyncio.wait_for(process.wait(), BOUND_S) == 0
        assert not supervisor.lost.is_set()


async def test_leaving_when_cancelled_still_ends_the_run(tmp_path: Path, env: dict[str, str]) -> None:
    async def hold_open() -> None:
        async with Supervisor(tmp_path / "scratch") as supervisor:
            await shell(supervisor, env, "echo up; exec sleep 60")
            await asyncio.Event().wait()

    running = asyncio.create_task(hold_open())
    await until(lambda: bool(alive(env)))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert nothing_is_left(tmp_path, env)
