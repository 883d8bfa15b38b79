"""The gate as a user runs it: a real run to its end, and every way in which one can be ended before."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from brownout.reports.outputs import UNDER_WAY
from brownout.reports.report import Report
from brownout.verdict import Ruling

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
BROWNOUT = [str(Path(sys.executable).with_name("brownout"))]
READY_S = 180
LISTENS = "0A"


def gate(runs: Path, *only: str, more: Sequence[str] = ()) -> subprocess.Popen[str]:
    names = [word for name in only for word in ("--only", name)]
    command = [*BROWNOUT, "gate", "--runs", str(runs), "--json", str(runs / "report.json"), *names, *more]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def until_said(running: subprocess.Popen[str], line: str) -> None:
    assert running.stdout is not None
    deadline = time.monotonic() + READY_S
    for said in running.stdout:
        if line in said:
            return
        assert time.monotonic() < deadline
    pytest.fail(f"ended before it said {line!r}: {running.stderr and running.stderr.read()}")


@pytest.fixture
def under_way(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A gate in the midst of a scenario."""
    running = gate(tmp_path, "rate-limit-users")
    try:
        until_said(running, "rate-limit-users: burst")
        yield running
    finally:
        running.kill()
        running.communicate(timeout=30)


def descendants(pid: int) -> set[int]:
    try:
        children = {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:
        return set()
    return children.union(*map(descendants, children))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def listening(pids: set[int]) -> set[int]:
    """The ports on which some processes listen."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if found := re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink())):
                inodes.add(found[1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].split(":")[1], 16) for row in rows if row[3] == LISTENS and row[9] in inodes}


def taken(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize(
    ("number", "code", "why"),
    [
        (signal.SIGINT, 130, "stopped by SIGINT"),
        (signal.SIGTERM, 143, "stopped by SIGTERM"),
        (signal.SIGKILL, -9, UNDER_WAY),
    ],
    ids=str,
)
def test_two_seconds_after_the_runner_was_ended_nothing_of_it_is_left_and_its_report_has_no_ruling(
    under_way: subprocess.Popen[str], tmp_path: Path, number: signal.Signals, code: int, why: str
) -> None:
    pids = descendants(under_way.pid)
    ports = listening(pids)
    names = [Path(f"/proc/{pid}/cmdline").read_text() for pid in pids]
    assert sum("postgres" in name for name in names) >= 5
    assert len(ports) >= 10
    under_way.send_signal(number)
    assert within(2, lambda: not any(map(alive, pids))), [pid for pid in pids if alive(pid)]
    assert not any(map(taken, ports))
    assert under_way.wait(timeout=5) == code
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["ruling"], report["unfinished"]) == (None, why)


def test_toxiproxy_killed_in_the_midst_is_no_pass(under_way: subprocess.Popen[str]) -> None:
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in descendants(under_way.pid)}
    (toxiproxy,) = [pid for pid, command in commands.items() if "toxiproxy-server" in command]
    os.kill(toxiproxy, signal.SIGKILL)
    under_way.communicate(timeout=120)
    assert under_way.returncode in (2, 3)


@pytest.mark.parametrize("who", ["watchdog", "launcher"])
def test_a_killed_watchdog_or_launcher_ends_the_run(under_way: subprocess.Popen[str], who: str) -> None:
    pids = descendants(under_way.pid)
    marks = {"watchdog": ("cmdline", "watchdog.py"), "launcher": ("comm", "launcher")}  # whose forks share its cmdline
    file, mark = marks[who]
    (killed,) = [pid for pid in pids if mark in Path(f"/proc/{pid}/{file}").read_text()]
    os.kill(killed, signal.SIGKILL)
    _, said = under_way.communicate(timeout=30)
    assert under_way.returncode == 3
    assert said.startswith(f"brownout: {who}: ")
    assert said.count("\n") == 1
    assert within(2, lambda: not any(map(alive, pids)))


def test_a_whole_run_is_judged_again_without_a_server(tmp_path: Path) -> None:
    running = gate(tmp_path, "rate-limit-users")
    said, wrong = running.communicate(timeout=READY_S)
    assert running.returncode == 0, said + wrong
    report = msgspec.json.decode((tmp_path / "report.json").read_bytes(), type=Report)
    assert report.ruling is Ruling.PASS
    assert report.timing is not None
    assert 0 < report.timing.longest_s < report.timing.whole_s
    assert f"the page about it: {report.run}/report.html" in said
    assert f"{report.timing.whole_s:.1f} s, " in Path(report.run, "report.html").read_text()
    again = subprocess.run(
        [*BROWNOUT, "judge", str(tmp_path / "latest")], cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert again.returncode == 0
    assert "PASS: 1 of 1 promises kept" in again.stdout
    assert all(line in said for line in again.stdout.splitlines())


UNSURE = """
from brownout.promises.promise import NoEvidenceError
from brownout.scripts import Story, calls, script, wait

@script(steady="browse")
def unsure() -> Story:
    \"\"\"Nothing is known the first time.\"\"\"
    seen = yield (calls("looking", "browse"), wait(3))
    seen.none_failed("looking")
    if not seen.recording.cell.endswith("_2"):
        raise NoEvidenceError("the first time never counts")
"""


def test_what_is_inconclusive_is_run_again_in_the_same_world_and_judged_so_again(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "scenarios", tmp_path / "scenarios")
    (tmp_path / "scenarios" / "unsure.py").write_text(UNSURE)
    contract = str(tmp_path / "scenarios" / "contract.toml")
    running = gate(tmp_path, "unsure", more=["--contract", contract, "--retry-inconclusive", "2"])
    said, wrong = running.communicate(timeout=READY_S)
    assert running.returncode == 0, said + wrong
    told = "INCONCLUSIVE the 1st time: the first time never counts; PASS the 2nd: Nothing is known the first time."
    (verdict,) = json.loads((tmp_path / "latest" / "verdicts.json").read_text())
    assert verdict["reason"] == told
    kept = sorted(path.name for path in (tmp_path / "latest" / "recordings").iterdir())
    assert kept == ["unsure", "unsure.2"]
    again = subprocess.run(
        [*BROWNOUT, "judge", str(tmp_path / "latest")], cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert again.returncode == 0
    assert "PASS: 1 of 1 promises kept" in again.stdout
