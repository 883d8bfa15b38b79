"""Faults under load, in a small system that is really up: in force at their times, lifted whatever happens, judged."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brownout.archive import open_run
from brownout.windows import windows
from shop_stand_in import BOUND_S, LOADTESTS, RELAY, Run, command, locust
from small_system import write_system

BROWNOUT = str(Path(sys.executable).with_name("brownout"))
FAULT = "latency front->back 1s @3s for 3s"
SIZE = ("-u", "2", "-r", "2", "--rate", "20", "-t", "10s")

LOCUSTFILE = f"""
import sys
sys.path.append("{LOADTESTS}")
from brownout.journeys import Request, requests_journey
from open_model import OpenModel
from open_user import OpenUser

class OpenRelay(OpenUser):
    kind, journey = "relay", requests_journey((Request("front", "GET", "/relay"),))
"""
CONTRACT = """
[journeys]
relay = [{ service = "front", method = "GET", path = "/relay" }]

[[promise]]
kind = "graceful-shutdown"
name = "shutdown"
clause = "1"
service = "front"
instances = 1
journey = "relay"
slow = "front -> back"
drains_within_s = 10
"""
SCRIPT = '''
from brownout.scripts import Story, hold, load, script, wait

@script(steady="relay")
def relayed() -> Story:
    """Half of all are relayed in time."""
    seen = yield (hold(load("relay", "relay", rate=20), wait(10)),)
    seen.share_failed("relay", at_most=0.05)
    seen.quantile("relay", of={of}, at_most_s=0.7)
'''

INCONCLUSIVE = 2

pytestmark = pytest.mark.servers

Judged = tuple[str, Run, tuple[int, str], Path]
"""A recorded run with a fault: the script, how it ended, how it was judged, and its folder."""


class Place:
    """A folder in which a small system is up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "BROWNOUT_STATE": str(folder / "journals")}
        write_system(folder)
        (folder / "relay.py").write_text(LOCUSTFILE)
        (folder / "load").mkdir()
        (folder / "load" / "contract.toml").write_text(CONTRACT)
        for name, of in (("most", 0.5), ("nearly_all", 0.9)):
            (folder / f"{name}.py").write_text(SCRIPT.format(of=of))

    def brownout(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [BROWNOUT, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def well(self) -> bool:
        return self.brownout("status")[0] == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("small"))
    code, said = place.brownout("up")
    assert code == 0, said
    yield place
    place.brownout("down")


@pytest.fixture(scope="module", params=["most", "nearly_all"])
def judged(request: pytest.FixtureRequest, place: Place) -> Judged:
    recorded = ("--record", f"{request.param}.py", "--contract", "load/contract.toml")
    for _ in range(3):  # a starved machine shows nothing, and says so
        run = locust(place.folder, *SIZE, "--fault", FAULT, *recorded, file=RELAY)
        answer = place.brownout("judge", "runs/latest")
        if answer[0] != INCONCLUSIVE:
            break
    return request.param, run, answer, (place.folder / "runs" / "latest").resolve()


def test_the_fault_holds_back_what_came_due_in_its_time_and_no_more(judged: Judged) -> None:
    _, run, _, folder = judged
    assert run.code == 0, run.log
    assert run.summary["arrivals"] == run.summary["requests"] == 200
    recording = open_run(folder).recording("relayed")
    assert recording
    (window,) = windows(recording.history)
    requests = recording.history.requests("relay")
    slow = [one for one in requests if one.duration_s > 0.9]
    assert len(slow) == pytest.approx(60, abs=6)
    begin_ns, end_ns = window.perhaps_ns
    assert all(begin_ns <= one.sent_ns + 2e8 and one.sent_ns <= end_ns for one in slow)


def test_the_fault_was_seen_to_act_and_is_gone(judged: Judged, place: Place) -> None:
    _, run, _, folder = judged
    assert "latency 1000 ms on front -> back: in force, seen" in run.log
    assert "latency 1000 ms on front -> back: lifted" in run.log
    recording = open_run(folder).recording("relayed")
    assert recording
    (window,) = windows(recording.history)
    assert window.whole
    assert window.canary
    assert window.canary.ok
    assert place.well()


def test_the_recording_is_judged_by_the_script(judged: Judged) -> None:
    script, _, (code, said), _ = judged
    assert code == {"most": 0, "nearly_all": 1}[script], said


def test_a_fault_is_lifted_though_locust_is_killed(place: Place) -> None:
    arguments = command(RELAY, *SIZE, "--fault", "latency front->back 1s @0s for 9s")
    killed = subprocess.Popen(arguments, cwd=place.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert within(BOUND_S, lambda: not place.well())
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    assert within(10, place.well)


def test_a_fault_is_lifted_when_locust_is_asked_to_end(place: Place) -> None:
    arguments = command(RELAY, *SIZE, "--fault", "outage front->back @0s for 9s")
    stopped = subprocess.Popen(arguments, cwd=place.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert within(BOUND_S, lambda: not place.well())
    finally:
        stopped.send_signal(signal.SIGTERM)
        log, _ = stopped.communicate(timeout=BOUND_S)
    assert "outage of front -> back: lifted" in log
    assert place.well()


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.05)
    return condition()
