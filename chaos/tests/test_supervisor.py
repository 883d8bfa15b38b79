"""Processes started through the watchdog: how they begin, what they may see, how they are heard of."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from brownout.errors import ProcessError
from brownout.mending import Identity, Undo, state_of
from brownout.undo import Process, Supervisor

ENV = {"PATH": os.environ["PATH"]}
HERE = Path.cwd()
BOUND_S = 10.0


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with Supervisor(tmp_path / "scratch") as opened:
        yield opened


@pytest.fixture
def in_further_groups() -> Iterator[None]:
    before = os.getgroups()
    os.setgroups([4, 6])
    yield
    os.setgroups(before)


async def shell(supervisor: Supervisor, script: str, user: int | None = None) -> Process:
    log = supervisor.scratch / "log"
    return await supervisor.spawn("it", ["sh", "-c", script], env=ENV, log=log, user=user, cwd=Path("/"))


async def ended(process: Process) -> int:
    return await asyncio.wait_for(process.wait(), BOUND_S)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110  nothing announces what /proc shows
            await asyncio.sleep(0.01)


async def test_an_exit_status_is_reported(supervisor: Supervisor) -> None:
    assert await ended(await shell(supervisor, "exit 3")) == 3


async def test_the_signal_that_ended_a_process_is_reported(supervisor: Supervisor) -> None:
    process = await shell(supervisor, "exec sleep 60")
    process.signal(signal.SIGTERM)
    assert await ended(process) == -signal.SIGTERM


async def test_the_moment_of_the_end_is_reported(supervisor: Supervisor) -> None:
    before_ns = time.monotonic_ns()
    process = await shell(supervisor, "sleep 0.2")
    await ended(process)
    assert process.exited_at_ns is not None
    assert before_ns + 200_000_000 <= process.exited_at_ns <= time.monotonic_ns()


async def test_a_running_process_has_no_returncode(supervisor: Supervisor) -> None:
    process = await shell(supervisor, "exec sleep 60")
    assert process.returncode is None
    assert process.exited_at_ns is None


async def test_a_signal_to_an_ended_process_is_dropped(supervisor: Supervisor) -> None:
    process = await shell(supervisor, "exit 0")
    await ended(process)
    process.signal(signal.SIGKILL)
    assert await ended(process) == 0


async def test_a_paused_process_goes_on_when_told(supervisor: Supervisor) -> None:
    process = await shell(supervisor, "exec sleep 60")
    process.signal(signal.SIGSTOP)
    await eventually(lambda: state(process.pid) == "T")
    process.signal(signal.SIGCONT)
    await eventually(lambda: state(process.pid) == "S")


async def test_output_and_errors_are_appended_to_the_log(supervisor: Supervisor) -> None:
    await ended(await shell(supervisor, "echo one"))
    process = await shell(supervisor, "echo two >&2")
    await ended(process)
    assert process.log.read_text() == "one\ntwo\n"


async def test_standard_input_is_empty(supervisor: Supervisor) -> None:
    assert await ended(await shell(supervisor, "! read line")) == 0


async def test_a_process_sees_the_environment_given_and_no_more(supervisor: Supervisor) -> None:
    log = supervisor.scratch / "log"
    env = ENV | {"NAME": "Zoë \udcff"}  # with a byte that is no UTF-8
    await ended(await supervisor.spawn("it", ["env"], env=env, log=log))
    assert sorted(os.fsdecode(log.read_bytes()).splitlines()) == sorted(f"{k}={v}" for k, v in env.items())


async def test_a_process_runs_where_it_is_told(supervisor: Supervisor) -> None:
    log = supervisor.scratch / "log"
    await ended(await supervisor.spawn("it", ["pwd"], env=ENV, log=log, cwd=supervisor.scratch))
    await ended(await supervisor.spawn("it", ["pwd"], env=ENV, log=log))
    assert log.read_text().splitlines() == [str(supervisor.scratch), str(HERE)]


async def test_a_process_is_its_own_session_with_default_signals(supervisor: Supervisor) -> None:
    process = await shell(supervisor, "exec sleep 60")
    masks = signal_masks(process.pid)
    assert os.getsid(process.pid) == process.pid
    assert masks["SigIgn"] == 0
    assert masks["SigBlk"] == 0


async def test_a_process_that_is_to_give_way_does_and_so_does_its_session(supervisor: Supervisor) -> None:
    niceness = 'nice; test ! -e /proc/self/autogroup || cut -d" " -f3 /proc/self/autogroup'
    for nice in (0, 5):
        log = supervisor.scratch / f"log-{nice}"
        await ended(await supervisor.spawn("it", ["sh", "-c", niceness], env=ENV, log=log, nice=nice))
        assert set(log.read_text().split()) == {str(nice)}


async def test_a_process_inherits_no_descriptor_beyond_the_standard_three(supervisor: Supervisor) -> None:
    process = await shell(supervisor, "exec sleep 60")
    folder = Path(f"/proc/{process.pid}/fd")
    await eventually(lambda: {entry.name for entry in folder.iterdir()} == {"0", "1", "2"})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a process as another user")
async def test_a_process_can_run_as_another_user_with_no_further_groups(
    in_further_groups: None,  # noqa: ARG001  before the supervisor, whose watchdog inherits them
    supervisor: Supervisor,
) -> None:
    process = await shell(supervisor, "id -u; id -g; id -G", user=65534)
    await ended(process)
    assert process.log.read_text() == "65534\n65534\n65534\n"


@pytest.mark.parametrize(
    ("argv", "cause"),
    [
        (["no-such-program"], "no-such-program: No such file or directory"),
        (["/no/such/program"], "/no/such/program: No such file or directory"),
        (["/etc/passwd"], "/etc/passwd: Permission denied"),
        (["/no\0ne"], "/no\0ne: embedded null byte"),
    ],
)
async def test_a_program_that_cannot_be_executed_is_told_in_one_line(
    supervisor: Supervisor, argv: list[str], cause: str
) -> None:
    with pytest.raises(ProcessError) as raised:
        await supervisor.spawn("users", argv, env=ENV, log=supervisor.scratch / "log")
    assert str(raised.value) == f"users: cannot be started: {cause}"


async def test_a_log_that_cannot_be_opened_is_told_by_its_name(supervisor: Supervisor) -> None:
    log = supervisor.scratch / "missing" / "log"
    with pytest.raises(ProcessError, match=f"{log}: No such file or directory"):
        await supervisor.spawn("users", ["true"], env=ENV, log=log)


async def test_after_a_failed_start_others_still_start(supervisor: Supervisor) -> None:
    with pytest.raises(ProcessError):
        await supervisor.spawn("users", ["/no/such/program"], env=ENV, log=supervisor.scratch / "log")
    assert await ended(await shell(supervisor, "exit 0")) == 0


async def test_many_start_at_once_and_each_gets_its_own_status(supervisor: Supervisor) -> None:
    started = await asyncio.gather(*(shell(supervisor, f"exit {code}") for code in range(20)))
    assert await asyncio.gather(*map(ended, started)) == list(range(20))


async def test_an_order_larger_than_the_socket_holds_arrives_whole(supervisor: Supervisor) -> None:
    env = ENV | {f"V{number}": "x" * 100_000 for number in range(10)}
    log = supervisor.scratch / "log"
    process = await supervisor.spawn("it", ["sh", "-c", "exit ${#V9}"], env=env, log=log)
    assert await ended(process) == 100_000 % 256


async def test_a_scratch_directory_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(ProcessError, match="is not empty"):
        await Supervisor(tmp_path).__aenter__()
    assert (tmp_path / "precious").exists()


async def test_after_leaving_nothing_more_is_started(tmp_path: Path) -> None:
    async with Supervisor(tmp_path / "scratch") as supervisor:
        pass
    with pytest.raises(ProcessError, match="the watchdog has gone"):
        await supervisor.spawn("it", ["true"], env=ENV, log=tmp_path / "log")


async def test_how_a_process_ended_is_known_after_leaving(tmp_path: Path) -> None:
    async with Supervisor(tmp_path / "scratch") as supervisor:
        process = await shell(supervisor, "exec sleep 60")
    assert process.returncode == -signal.SIGKILL
    assert not supervisor.lost.is_set()


@asynccontextmanager
async def doomed(scratch: Path) -> AsyncIterator[Supervisor]:
    """Open a supervisor whose watchdog will be killed, and leave it with the error that is due."""
    supervisor = await Supervisor(scratch).__aenter__()
    yield supervisor
    with pytest.raises(ProcessError, match="watchdog: ended with -9"):
        await supervisor.__aexit__(None, None, None)


def kill_watchdog(supervisor: Supervisor) -> None:
    os.kill(supervisor._watchdog.pid, signal.SIGKILL)


async def test_a_killed_watchdog_is_noticed(tmp_path: Path) -> None:
    async with doomed(tmp_path / "scratch") as supervisor:
        kill_watchdog(supervisor)
        await asyncio.wait_for(supervisor.lost.wait(), BOUND_S)


async def test_after_a_killed_watchdog_the_scratch_directory_is_removed_all_the_same(tmp_path: Path) -> None:
    async with doomed(tmp_path / "scratch") as supervisor:
        kill_watchdog(supervisor)
    assert not supervisor.scratch.exists()


async def test_after_a_killed_watchdog_the_runner_undoes_what_was_broken_itself(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as stranger:  # noqa: ASYNC220  it is quick
        async with doomed(tmp_path / "scratch") as supervisor:
            identity = Identity.of(stranger.pid)
            supervisor.journal.begun(Undo("resume", identity))
            stranger.send_signal(signal.SIGSTOP)
            await eventually(lambda: state_of(stranger.pid) == "T")
            kill_watchdog(supervisor)
        assert state_of(stranger.pid) != "T"
        assert not supervisor.journal.path.exists()
        stranger.kill()


async def test_a_fault_that_cannot_be_undone_is_told_on_leaving(tmp_path: Path) -> None:
    supervisor = await Supervisor(tmp_path / "scratch").__aenter__()
    supervisor.journal.begun(Undo("switch-on", None, "nowhere.invalid:8474", "edge"))
    with pytest.raises(ProcessError, match=r"ended with 1, .*; outage of edge: Toxiproxy at nowhere.invalid:8474: "):
        await supervisor.__aexit__(None, None, None)
    supervisor.journal.path.unlink()


async def test_what_a_killed_watchdog_cannot_tell_is_not_made_up(tmp_path: Path) -> None:
    async with doomed(tmp_path / "scratch") as supervisor:
        process = await shell(supervisor, "exec sleep 60")
        kill_watchdog(supervisor)
        with pytest.raises(ProcessError, match="its end was not seen"):
            await ended(process)
        with pytest.raises(ProcessError, match="the watchdog has gone"):
            process.signal(signal.SIGTERM)


@pytest.mark.parametrize(
    "user",
    [
        None,
        pytest.param(65534, marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root may change user")),
    ],
)
async def test_processes_die_with_a_killed_watchdog(tmp_path: Path, user: int | None) -> None:
    async with doomed(tmp_path / "scratch") as supervisor:
        process = await shell(supervisor, "exec sleep 60", user=user)
        kill_watchdog(supervisor)
        await eventually(lambda: state(process.pid) in {"Z", "-"})


async def test_a_start_that_the_watchdog_does_not_live_to_answer_is_refused(tmp_path: Path) -> None:
    async with doomed(tmp_path / "scratch") as supervisor:
        os.kill(supervisor._watchdog.pid, signal.SIGSTOP)
        starting = asyncio.create_task(shell(supervisor, "exit 0"))
        await asyncio.sleep(0)
        kill_watchdog(supervisor)
        with pytest.raises(ProcessError, match="the watchdog has gone"):
            await asyncio.wait_for(starting, BOUND_S)


async def test_a_cancelled_start_leaves_the_others_in_order(supervisor: Supervisor) -> None:
    starting = asyncio.create_task(shell(supervisor, "exec sleep 60"))
    await asyncio.sleep(0)
    starting.cancel()
    assert await ended(await shell(supervisor, "exit 7")) == 7


def state(pid: int) -> str:
    """Tell a process's state as proc(5) does: T stopped, S asleep, Z not waited for; here also - for none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "-"


def signal_masks(pid: int) -> dict[str, int]:
    """Which signals are ignored and blocked, without 32 and 33: they are libc's own and no program can set them."""
    settable = sum(1 << number - 1 for number in signal.valid_signals())
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line[:6]: int(line[8:], 16) & settable for line in lines if line.startswith(("SigIgn", "SigBlk"))}


def test_the_watchdog_needs_nothing_that_is_not_in_the_standard_library() -> None:
    watchdog = Path(sys.modules[Supervisor.__module__].__file__ or "").with_name("watchdog.py")
    code = f"import runpy, sys; runpy.run_path({str(watchdog)!r}); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True).stdout
    assert {name.partition(".")[0] for name in said.split()} - {"brownout"} <= {*sys.stdlib_module_names, "__main__"}


async def test_it_can_end_everything_before_it_is_left(tmp_path: Path) -> None:
    async with Supervisor(tmp_path / "scratch") as supervisor:
        process = await supervisor.spawn("sleeper", ["sleep", "60"], env=ENV, log=tmp_path / "log")
        await supervisor.end()
        assert await process.wait() == -signal.SIGKILL
        assert not (tmp_path / "scratch").exists()


async def test_a_watchdog_that_says_it_is_done_and_stays_is_told_in_one_line(tmp_path: Path) -> None:
    async with Supervisor(tmp_path / "scratch") as opened:
        watchdog, opened._watchdog = opened._watchdog, subprocess.Popen(["/bin/sleep", "60"])  # noqa: ASYNC220  it is quick
        try:
            with pytest.raises(ProcessError, match="watchdog: has not ended the run within 60 s"):
                await opened.end()
        finally:
            opened._watchdog.kill()
            opened._watchdog.wait()
            assert await asyncio.to_thread(watchdog.wait, BOUND_S) == 0
