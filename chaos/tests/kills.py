"""Runs that are killed, and how long it takes until nothing of them is left: no fault, no process, no paused one.

    python chaos/tests/kills.py --count 100 --seed 1 [--first 0]

Each run is a gate on a small system with the real servers. Half are killed at any moment of their first seconds, half
while a latency, an outage or a pause is in force: by a signal to the runner, or to its whole process group.
"""

import argparse
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from brownout.mending import faults_of, state_of
from small_system import EDGE, SERVERS, write_system

__all__ = ["Kill", "Outcome", "killed", "planned", "quantiles", "table"]

BROWNOUT = str(Path(sys.executable).with_name("brownout"))
READY_S = 120.0
GIVE_UP_S = 20.0
SETTLED_S = 0.3
"""How long it has to stay clean: what has just been forked shows no environment for a moment."""

ANY_MOMENT_S = 5.0
"""About what a run takes until its fault is in force."""

IN_FORCE_S = 0.5
WAYS = {
    "SIGKILL": (signal.SIGKILL, os.kill),
    "SIGTERM": (signal.SIGTERM, os.kill),
    "SIGINT": (signal.SIGINT, os.kill),
    "SIGKILL to its group": (signal.SIGKILL, os.killpg),
}
FAULTS = ("latency", "outage", "pause")

CONTRACT = f"""
[[promise]]
kind = "recovery"
name = "recovery"
clause = "-"
journey = "relay"
cases = [{{ edge = "{EDGE}", within_s = 10 }}]
[journeys]
relay = [{{ service = "front", method = "GET", path = "/relay" }}]
"""
SCRIPTS = f"""
from brownout.scripts import Story, hold, latency, outage, paused, script, wait

@script(steady="relay")
def broken_latency() -> Story:
    yield (hold(latency("{EDGE}", 5), wait(60)),)

@script(steady="relay")
def broken_outage() -> Story:
    yield (hold(outage("{EDGE}"), wait(60)),)

@script(steady="relay")
def broken_pause() -> Story:
    yield (hold(paused("back"), wait(60)),)
"""


class Kill(NamedTuple):
    """One end of one run.

    Attributes:
        way: a key of ``WAYS``.
        fault: what the run breaks.
        in_force: whether it is killed only once that is in force.
        after_s: the moment, from the run's start or from the fault's.
    """

    way: str
    fault: str
    in_force: bool
    after_s: float


class Outcome(NamedTuple):
    """What was seen of one.

    Attributes:
        kill: which it was.
        processes: how many there were when it came.
        clean_s: from the signal until nothing was left.
        left: what was left when nobody waited any longer, in words.
    """

    kill: Kill
    processes: int
    clean_s: float
    left: str


def planned(count: int, seed: int) -> list[Kill]:
    """So many kills; every way and fault takes its turn, the moments are drawn."""
    moments = random.Random(seed)
    plan = []
    for number in range(count):
        in_force = number % 2 == 1
        after_s = moments.uniform(0, IN_FORCE_S if in_force else ANY_MOMENT_S)
        plan.append(Kill(list(WAYS)[number // 2 % 4], FAULTS[number // 8 % 3], in_force, after_s))
    return plan


def killed(kill: Kill) -> Outcome:
    """Run, kill, and wait until nothing is left."""
    with _place() as folder, _run(folder, kill.fault) as runner:
        if kill.in_force:
            _wait(READY_S, lambda: any(_in_force(folder)) or runner.poll() is not None)
        time.sleep(kill.after_s)
        if runner.poll() is not None:
            return Outcome(kill, 0, 0.0, f"the run had ended: {(folder / 'log').read_text()}")
        number, send = WAYS[kill.way]
        processes = len(list(_processes(folder)))
        begun_s = time.monotonic()
        send(runner.pid, number)
        seen_s, left = _cleaned(folder, runner)
        return Outcome(kill, processes, seen_s - begun_s, left)


def _cleaned(folder: Path, runner: "subprocess.Popen[bytes]") -> tuple[float, str]:
    """When it was clean, and stayed so; and what was left when it is given up."""
    give_up_s = time.monotonic() + GIVE_UP_S
    clean_since_s: float | None = None
    while True:
        runner.poll()  # a zombie is ours to bury
        left, now_s = _left(folder), time.monotonic()
        if left:
            clean_since_s = None
        elif clean_since_s is None:
            clean_since_s = now_s
        if clean_since_s is not None and now_s - clean_since_s > SETTLED_S:
            return clean_since_s, ""
        if now_s > give_up_s:
            return now_s, left
        time.sleep(0.005)


def _left(folder: Path) -> str:
    """What is left of a run, in words: processes, paused ones among them, faults, files."""
    processes = {pid: state for pid in _processes(folder) if (state := state_of(pid))}
    faults = [str(fault) for fault in _in_force(folder)]
    scratch = [path.name for path in (folder / "tmp").iterdir()]
    paused = sum(state == "T" for state in processes.values())
    if not processes and not faults and not scratch:
        return ""
    return f"{len(processes)} processes, {paused} of them paused; faults {faults}; files {scratch}"


def _in_force(folder: Path) -> Iterator[object]:
    """The faults of a journal that is still open; one is there once it is surely about to be, and most likely is."""
    for journal in (folder / "state").glob("*.open"):
        try:
            yield from faults_of(journal)
        except FileNotFoundError:
            continue


def _processes(folder: Path) -> Iterator[int]:
    """The processes of a run, whoever their parent is: its folder is in the environment of each, or what it works in.

    Postgres writes its title over its environment, and stays in its data directory.
    """
    mark = os.fsencode(folder)
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                known = Path(entry.path, "environ").read_bytes() + os.fsencode(Path(entry.path, "cwd").readlink())
            except OSError:
                continue
            if mark in known:
                yield int(entry.name)


@contextmanager
def _run(folder: Path, fault: str) -> Iterator["subprocess.Popen[bytes]"]:
    env = {**os.environ, "TMPDIR": str(folder / "tmp"), "BROWNOUT_STATE": str(folder / "state")}
    with (folder / "log").open("wb") as log:
        runner = subprocess.Popen(
            [BROWNOUT, "gate", "--only", f"broken-{fault}"],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield runner
    finally:
        runner.kill()
        runner.wait()


@contextmanager
def _place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o711)  # Postgres may run as another user, who has to get below it
    try:
        for name in ("tmp", "state"):
            (folder / name).mkdir(0o755)
        write_system(folder, SERVERS)
        (folder / "scenarios").mkdir()
        (folder / "scenarios" / "contract.toml").write_text(CONTRACT)
        (folder / "scenarios" / "broken.py").write_text(SCRIPTS)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(within_s: float, condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError
        time.sleep(0.005)


def table(outcomes: Sequence[Outcome]) -> str:
    """A row a way to be killed, and one for all: how many, how many left something, and the seconds until clean."""
    rows = ["| killed by | runs | left something | median s | p90 s | p99 s | max s |", "|---|---|---|---|---|---|---|"]
    for name, group in [(way, [o for o in outcomes if o.kill.way == way]) for way in WAYS] + [("all", [*outcomes])]:
        if group:
            left = sum(bool(outcome.left) for outcome in group)
            figures = " | ".join(f"{s:.2f}" for s in quantiles([outcome.clean_s for outcome in group]))
            rows.append(f"| {name} | {len(group)} | {left} | {figures} |")
    return "\n".join(rows)


def quantiles(times_s: Sequence[float]) -> list[float]:
    """The median, p90, p99 and maximum by nearest rank: times that were really seen."""
    in_order = sorted(times_s)
    return [in_order[math.ceil(len(in_order) * share) - 1] for share in (0.5, 0.9, 0.99, 1.0)]


def main() -> int:
    """Kill so many runs, tell each, and print the table; 1 when something was left."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="leave out those before, of the same plan")
    options = parser.parse_args()
    plan = planned(options.first + options.count, options.seed)
    outcomes = []
    for number, kill in enumerate(plan[options.first : options.first + options.count], options.first):
        outcomes.append(outcome := killed(kill))
        when = "in force for" if kill.in_force else "begun for"
        told = f"{kill.fault} {when} {kill.after_s:.2f} s: clean after {outcome.clean_s:.3f} s"
        print(f"{number:4} {outcome.processes:3} processes, {kill.way:20} {told} {outcome.left}", flush=True)  # noqa: T201  what the program is for
    print(table(outcomes))  # noqa: T201  same
    return int(any(outcome.left for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
