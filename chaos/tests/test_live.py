"""A system that is left running and broken by hand: what is said of it is so, and nothing outlives it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from brownout.errors import CellError
from brownout.live import State, claimed, end_system, running_system, write_state
from brownout.mending import began_at
from small_system import EDGE, TOPOLOGY, write_system

BROWNOUT = str(Path(sys.executable).with_name("brownout"))
READY_S = 120


class Place:
    """A folder with a system's files, in which the program is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        write_system(folder)

    def topology(self, text: str) -> None:
        (self.folder / "system" / "topology.toml").write_text(text)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [BROWNOUT, *words], cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def call(self, *words: str) -> tuple[int, str, str]:
        """Exit code, output and errors."""
        running = self.begin(*words)
        said, wrong = running.communicate(timeout=READY_S)
        return running.returncode, said, wrong

    def state(self) -> State:
        return running_system(self.runs)

    def relay(self) -> float:
        """How many seconds a request takes that front passes on to back."""
        begun_s = time.monotonic()
        urllib.request.urlopen(self.state().addresses["front"] + "/relay", timeout=10).close()  # noqa: S310  http
        return time.monotonic() - begun_s


@pytest.fixture(scope="module")
def running_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("up"))
    code, said, wrong = place.call("up")
    assert code == 0, said + wrong
    yield place
    place.call("down")


@pytest.fixture
def up(running_place: Place) -> Iterator[Place]:
    """A system that is up; one for all tests, healed after each."""
    yield running_place
    code, _, wrong = running_place.call("heal")
    assert code == 0, wrong


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place in which nothing is up yet."""
    place = Place(tmp_path)
    yield place
    place.call("down")


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def processes_of(place: Place) -> set[int]:
    """The holder of a system that is up or starting, and all that descend from it."""
    state = msgspec.json.decode((place.runs / "up" / "state.json").read_bytes(), type=State)
    return {state.pid, *descendants(state.pid)}


def descendants(pid: int) -> set[int]:
    try:
        children = {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:
        return set()
    return children.union(*map(descendants, children))


def naming(folder: Path) -> set[int]:
    """The processes whose command names a folder."""
    commands = {int(line.parent.name): line for line in Path("/proc").glob("[0-9]*/cmdline")}
    return {pid for pid, line in commands.items() if line.exists() and str(folder) in line.read_text()}


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if began_at(pid) is not None}


def toxiproxy(place: Place, method: str, path: str, body: object = None) -> None:
    request = urllib.request.Request(  # noqa: S310  http by construction
        place.state().servers["toxiproxy"] + path, method=method, data=json.dumps(body).encode()
    )
    urllib.request.urlopen(request, timeout=5).close()  # noqa: S310  the same


pytestmark = pytest.mark.servers


def test_up_leaves_a_system_that_answers(up: Place) -> None:
    state = up.state()
    assert set(state.addresses) == {"front", "back"}
    assert set(state.servers) == {"toxiproxy", "consul", "jaeger", "prometheus"}
    assert state.topology == str(up.folder / "system" / "topology.toml")
    assert up.relay() < 1
    code, said, _ = up.call("status")
    assert code == 0
    assert f"{state.addresses['front']}   UP" in said


def test_a_second_up_says_that_one_is_up(up: Place) -> None:
    before = up.state()
    code, _, line = up.call("up")
    assert (code, line) == (3, "brownout: runs/up: a system is up already; brownout down ends it\n")
    assert up.state() == before


def test_a_latency_is_felt_until_it_is_healed(up: Place) -> None:
    code, said, _ = up.call("inject", "latency", EDGE, "600ms")
    assert code == 0
    assert said.startswith(f"latency 600 ms on {EDGE}: in force, seen: answered after 0.6")
    assert up.relay() >= 0.6
    code, said, _ = up.call("status")
    assert code == 1
    assert f"latency 600 ms on {EDGE}" in said
    assert "up.front.back.http.0 is on and holds latency {'latency': 600" in said
    code, said, _ = up.call("heal")
    assert (code, said) == (0, f"lifted: latency 600 ms on {EDGE}\nnothing is broken\n")
    assert up.relay() < 0.5
    assert up.call("status")[0] == 0


def test_an_outage_cuts_the_edge_and_not_the_service(up: Place) -> None:
    assert up.call("inject", "outage", EDGE)[1] == f"outage of {EDGE}: in force, seen: refused\n"
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        up.relay()
    assert "back " in up.call("status")[1]
    assert "no answer" not in up.call("status")[1]


def test_a_fault_that_is_not_seen_to_act_is_in_force_and_inconclusive(up: Place) -> None:
    code, said, _ = up.call("inject", "toxic", EDGE, "bandwidth", "rate=100000")
    assert code == 2
    assert "in force, but not seen to act: answered after 0.0" in said
    assert up.call("status")[0] == 1


def test_a_fault_for_a_while_is_gone_afterwards(up: Place) -> None:
    begun_s = time.monotonic()
    code, said, _ = up.call("inject", "latency", EDGE, "500ms", "--for", "1s")
    assert time.monotonic() - begun_s >= 1.5
    assert code == 0
    assert said.splitlines()[-1] == "lifted"
    assert up.relay() < 0.4


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)], ids=str
)
def test_a_fault_for_a_while_does_not_outlive_who_asked_for_it(up: Place, number: signal.Signals, code: int) -> None:
    asking = up.begin("inject", "black-hole", EDGE, "--for", "1m")
    assert asking.stdout is not None
    assert asking.stdout.readline() == f"black hole on {EDGE}: in force, seen: no answer\n"
    asking.send_signal(number)
    asking.communicate(timeout=10)
    assert asking.returncode == code
    assert within(2, lambda: up.call("status")[0] == 0)


def test_a_fault_whose_asker_went_before_it_was_told_is_lifted(up: Place) -> None:
    asking = up.begin("inject", "latency", EDGE, "3s")
    assert within(10, lambda: "injected" in up.call("status")[1])
    asking.kill()
    asking.communicate(timeout=10)
    assert within(10, lambda: up.call("status")[0] == 0)


def test_what_was_set_by_hand_is_seen_and_kept_and_healed(up: Place) -> None:
    by_hand = {"type": "latency", "attributes": {"latency": 700}}
    toxiproxy(up, "POST", "/proxies/up.front.back.http.0/toxics", by_hand)
    code, said, _ = up.call("status")
    assert code == 1
    assert "holds latency {'latency': 700" in said
    code, _, line = up.call("inject", "latency", EDGE, "100ms")
    assert code == 3
    assert f"brownout: {EDGE}: is broken already: up.front.back.http.0 is on and holds latency" in line
    assert up.relay() >= 0.7
    assert "lifted: up.front.back.http.0 is on and holds latency" in up.call("heal")[1]
    assert up.relay() < 0.5


def test_a_second_fault_on_an_edge_leaves_the_first_in_force(up: Place) -> None:
    up.call("inject", "latency", EDGE, "500ms")
    code, _, line = up.call("inject", "latency", EDGE, "900ms")
    assert (code, line.count("\n")) == (3, 1)
    assert 0.5 <= up.relay() < 0.9


def test_a_killed_service_is_down_until_it_is_healed(up: Place) -> None:
    assert up.call("inject", "kill", "back") == (0, "every back killed: in force, seen: 1 ended\n", "")
    code, said, _ = up.call("status")
    assert code == 1
    assert "no answer (refused" in said
    assert up.call("heal")[1] == "lifted: every back killed\nnothing is broken\n"
    assert up.relay() < 1


def test_a_paused_service_is_silent_until_it_is_healed(up: Place) -> None:
    told = "every back paused: in force, seen: 1 of 1 paused, and silent\n"
    assert up.call("inject", "pause", "back") == (0, told, "")
    code, said, _ = up.call("status")
    assert code == 1
    assert "no answer" in said
    assert up.call("heal")[1] == "lifted: every back paused\nnothing is broken\n"
    assert up.relay() < 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("latency", "front -> bakc", "2s"), "latency: no edge 'front -> bakc'; the topology has front -> back"),
        (("latency", EDGE, "2"), "2: is no duration; say 500ms, 2s or 1m"),
        (("latency", EDGE, "2s", "--for", "soon"), "soon: is no duration; say 500ms, 2s or 1m"),
        (("toxic", EDGE, "latency", "latncy=5"), "up.front.back.http.0: latency {'latncy': 5} was asked for"),
        (("toxic", EDGE, "latecny"), "up.front.back.http.0: Toxiproxy at "),
    ],
)
def test_a_wrong_fault_is_one_line_and_changes_nothing(up: Place, words: tuple[str, ...], told: str) -> None:
    code, said, line = up.call("inject", *words)
    assert (code, said, line.count("\n")) == (3, "", 1)
    assert line.startswith(f"brownout: {told}")
    assert up.call("status")[0] == 0


@pytest.mark.parametrize("words", [("status",), ("down",), ("inject", "outage", EDGE)], ids=" ".join)
def test_where_nothing_is_up_each_command_says_so(place: Place, words: tuple[str, ...]) -> None:
    code, _, line = place.call(*words)
    told = "brownout: nothing is up: there is no runs/up/state.json; brownout up starts it\n"
    assert (code, line) == (3, told)


def test_down_returns_when_nothing_is_left(place: Place) -> None:
    place.call("up")
    place.call("inject", "latency", EDGE, "300ms")
    pids = processes_of(place)
    assert len(pids) >= 5  # the holder, its watchdog, Toxiproxy and two services
    assert place.call("down") == (0, "the system is down\n", "")
    assert not alive(pids)
    assert not (place.runs / "up" / "state.json").exists()
    assert (place.runs / "up" / "holder.log").read_text() == ""


def test_a_killed_holder_leaves_nothing_and_no_one_takes_it_for_up(place: Place) -> None:
    place.call("up")
    pids, state = processes_of(place), place.state()
    os.kill(state.pid, signal.SIGKILL)
    assert within(3, lambda: not alive(pids)), alive(pids)
    code, _, line = place.call("status")
    assert code == 3
    assert line.startswith(f"brownout: nothing is up: what was has lost its holder, process {state.pid}")
    code, said, _ = place.call("down")
    assert (code, said) == (0, f"its holder, process {state.pid}, had gone before; nothing of it is left\n")
    assert not (place.runs / "up" / "state.json").exists()


def test_what_a_lost_run_left_is_mended_by_hand(place: Place, journals: Path) -> None:
    place.call("up")
    place.call("inject", "outage", EDGE)
    place.call("inject", "pause", "back")
    state, pids = place.state(), processes_of(place)
    (watchdog,) = (pid for pid in descendants(state.pid) if "watchdog.py" in Path(f"/proc/{pid}/cmdline").read_text())
    os.kill(state.pid, signal.SIGSTOP)  # or it would undo all when its watchdog is gone
    for pid in (watchdog, state.pid):  # as in a power cut, nobody is left to undo anything
        os.kill(pid, signal.SIGKILL)
    assert within(3, lambda: not alive(pids)), alive(pids)
    code, said, _ = place.call("heal")
    *done, last = said.splitlines()
    assert (code, last) == (0, "nothing is broken")
    assert [line.rpartition(" of ")[0] for line in done] == [
        f"of run {state.pid}, which was lost: {what}" for what in ("pause", "outage")
    ]
    assert all(": gone with process " in line for line in done)
    assert place.call("heal") == (0, "nothing is broken\n", "")
    assert not list(journals.glob(f"*-{state.pid}.open"))


def test_heal_leaves_what_a_run_that_goes_on_holds_to_that_run(up: Place, place: Place) -> None:
    up.call("inject", "latency", EDGE, "300ms")
    code, said, _ = place.call("heal")
    held = f"held: latency_downstream on up.front.back.http.0, by run {up.state().pid}"
    assert (code, said.splitlines()) == (0, [held, "nothing else is broken"])
    assert up.relay() >= 0.3


def test_up_takes_the_place_of_what_a_killed_holder_left(place: Place) -> None:
    place.call("up")
    os.kill(place.state().pid, signal.SIGKILL)
    code, said, wrong = place.call("up")
    assert code == 0, said + wrong
    assert place.relay() < 1


def test_a_system_that_does_not_start_is_one_line_and_leaves_nothing(place: Place) -> None:
    place.topology(TOPOLOGY.format(service=place.folder / "nowhere.py", servers=""))
    code, _, line = place.call("up")
    assert (code, line.count("\n")) == (3, 1)
    assert "-0: ended with exit code 2 while starting; it last said: " in line
    assert not (place.runs / "up" / "state.json").exists()
    assert not alive(naming(place.folder))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)], ids=str
)
def test_an_up_that_is_stopped_while_it_starts_leaves_nothing(place: Place, number: signal.Signals, code: int) -> None:
    starting = place.begin("up")
    assert starting.stdout is not None
    assert "servers: starting" in starting.stdout.readline()
    assert within(20, lambda: len(processes_of(place)) >= 4)  # the holder, its watchdog, and some servers
    pids = processes_of(place)
    starting.send_signal(number)
    starting.communicate(timeout=30)
    assert starting.returncode == code
    assert within(5, lambda: not alive(pids))
    assert not (place.runs / "up" / "state.json").exists()


def test_up_and_hold_can_be_broken_and_ends_on_an_interrupt(place: Place) -> None:
    holding = place.begin("up", "--hold")
    assert holding.stdout is not None
    assert any("Ctrl-C ends it" in line for line in holding.stdout)
    assert place.call("inject", "outage", EDGE)[0] == 0
    pids = processes_of(place)
    holding.send_signal(signal.SIGINT)
    _, wrong = holding.communicate(timeout=30)
    assert holding.returncode == 130
    assert wrong == "brownout: stopped by SIGINT; everything that was started has been ended\n"
    assert not alive(pids)


def test_another_process_with_the_holders_pid_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as other:
        try:
            (tmp_path / "up").mkdir()
            write_state(tmp_path / "up", State(other.pid, (began_at(other.pid) or 0) - 1, "topology.toml", "front"))
            with pytest.raises(CellError, match="has lost its holder"):
                running_system(tmp_path)
            assert "had gone before" in end_system(tmp_path)
            assert other.poll() is None
        finally:
            other.kill()


def test_a_system_that_is_starting_is_not_up_yet(tmp_path: Path) -> None:
    with claimed(tmp_path) as folder:
        write_state(folder, State(os.getpid(), began_at(os.getpid()) or 0, "topology.toml", "front"))
        with pytest.raises(CellError, match="is still starting"):
            running_system(tmp_path)
    with pytest.raises(CellError, match="nothing is up"):
        running_system(tmp_path)


def test_one_place_is_held_once(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(CellError, match="a system is up already"), claimed(tmp_path):
        pass
