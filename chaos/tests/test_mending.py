"""What is broken is on disk before it is, and whoever comes after can undo it: from the journal alone."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from brownout.errors import FaultError, FileError
from brownout.mending import Identity, Journal, Mended, Undo, faults_of, held, mend, mend_lost, state_of

GONE = Identity(4_000_000, 1)  # above the largest pid that there may be
REFUSING = "127.0.0.1:1"


class SmallToxiproxy(BaseHTTPRequestHandler):
    """Proxies as a table; what undoing asks of a Toxiproxy, and no more."""

    proxies: dict[str, dict[str, Any]]
    stubborn = False

    def do_GET(self) -> None:
        self._say(200 if self._proxy else 404, self._proxy)

    def do_POST(self) -> None:
        change = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._proxy and not self.stubborn:
            self._proxy.update(change)
        self.do_GET()

    def do_DELETE(self) -> None:
        if not self.path.partition("/toxics/")[2]:
            self._say(204 if self.proxies.pop(self.path.split("/")[2], None) else 404)
            return
        toxics = self._proxy["toxics"] if self._proxy else []
        found = [toxic for toxic in toxics if self.path.endswith(f"/toxics/{toxic['name']}")]
        for toxic in [] if self.stubborn else found:
            toxics.remove(toxic)
        self._say(204 if found else 404)

    def log_message(self, *_: object) -> None:
        pass

    @property
    def _proxy(self) -> dict[str, Any]:
        return self.proxies.get(self.path.split("/")[2], {})

    def _say(self, status: int, body: object = None) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode() if body else b"")


@pytest.fixture
def toxiproxy() -> Iterator[type[SmallToxiproxy]]:
    """A server with one proxy, ``edge``: it is off, and holds a latency."""
    handler = type("Handler", (SmallToxiproxy,), {})
    handler.proxies = {"edge": {"name": "edge", "enabled": False, "toxics": [{"name": "latency_downstream"}]}}
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        handler.address = f"127.0.0.1:{server.server_address[1]}"
        yield handler
        server.shutdown()
        thread.join()


@pytest.fixture
def sleeper() -> Iterator[Identity]:
    """A process of nobody's run, paused."""
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        identity = Identity.of(process.pid)
        assert identity
        identity.send(signal.SIGSTOP)
        while state_of(process.pid) != "T":
            time.sleep(0.001)
        yield identity
        process.kill()


def journal_of(folder: Path, *faults: Undo) -> Path:
    """The journal of a run that has gone and left some faults in force."""
    journal = Journal.begin(folder)
    for fault in faults:
        journal.begun(fault)
    journal.close()
    return journal.path


def test_what_is_begun_and_not_undone_is_in_force(tmp_path: Path) -> None:
    first, second = Undo("switch-on", None, REFUSING, "a"), Undo("switch-on", None, REFUSING, "b")
    journal = Journal.begin(tmp_path)
    journal.begun(first, second)
    journal.undone(first)
    assert faults_of(journal.path) == [second]
    journal.proxy_mended(REFUSING, "b")
    assert faults_of(journal.path) == []
    journal.close()


def test_a_line_that_was_torn_is_none(tmp_path: Path) -> None:
    fault = Undo("switch-on", None, REFUSING, "a")
    path = journal_of(tmp_path, fault)
    with path.open("a") as torn:
        torn.write("\n" + json.dumps({"begun": fault._replace(proxy="b")._asdict()})[:-9])
    assert faults_of(path) == [fault]
    after = Journal(path, os.open(path, os.O_WRONLY | os.O_APPEND))
    after.begun(fault._replace(proxy="c"))
    after.close()
    assert [each.proxy for each in faults_of(path)] == ["a", "c"]


def test_a_toxic_is_taken_off_and_a_proxy_switched_on(tmp_path: Path, toxiproxy: type[SmallToxiproxy]) -> None:
    address = toxiproxy.address
    latency = Undo("take-off", None, address, "edge", "latency_downstream")
    path = journal_of(tmp_path, latency, Undo("switch-on", None, address, "edge"))
    mended = mend(path)
    assert mended.done == ("outage of edge: switched on", "latency_downstream on edge: taken off")
    assert (mended.run, mended.left) == (os.getpid(), ())
    assert toxiproxy.proxies["edge"] == {"name": "edge", "enabled": True, "toxics": []}


def test_what_somebody_else_undid_is_no_failure(tmp_path: Path, toxiproxy: type[SmallToxiproxy]) -> None:
    toxiproxy.proxies["edge"] = {"name": "edge", "enabled": True, "toxics": []}
    faults = [Undo("take-off", None, toxiproxy.address, "edge", "latency_downstream")]
    faults += [Undo("switch-on", None, toxiproxy.address, name) for name in ("edge", "removed")]
    assert mend(journal_of(tmp_path, *faults)).left == ()


def test_what_is_still_in_force_is_told_and_its_journal_stays_open(
    tmp_path: Path, toxiproxy: type[SmallToxiproxy]
) -> None:
    toxiproxy.stubborn = True
    path = journal_of(tmp_path, Undo("switch-on", None, toxiproxy.address, "edge"))
    assert mend(path, within_s=0.1).left == ("outage of edge: it is still off",)
    assert path.exists()
    toxiproxy.stubborn = False
    assert mend(path).done == ("outage of edge: switched on",)
    assert not path.exists()
    assert json.loads(path.with_suffix(".closed").read_text().splitlines()[-1]) == {
        "closed": ["outage of edge: switched on"]
    }


def test_a_fault_ended_with_the_server_that_held_it(tmp_path: Path, toxiproxy: type[SmallToxiproxy]) -> None:
    refusing = Undo("switch-on", None, REFUSING, "edge")
    another = Undo("switch-on", GONE, toxiproxy.address, "edge")  # whose port is another server's now
    mended = mend(journal_of(tmp_path, another, refusing))
    assert mended.done == (
        f"outage of edge: gone with Toxiproxy, nobody listens at {REFUSING}",
        f"outage of edge: gone with process {GONE.pid}",
    )
    assert not toxiproxy.proxies["edge"]["enabled"]


def test_a_paused_process_is_resumed(tmp_path: Path, sleeper: Identity) -> None:
    assert mend(journal_of(tmp_path, Undo("resume", sleeper))).done == (f"pause of process {sleeper.pid}: resumed",)
    assert state_of(sleeper.pid) != "T"


def test_another_process_with_the_pid_is_left_alone(tmp_path: Path, sleeper: Identity) -> None:
    before = sleeper._replace(began_at=sleeper.began_at - 1)
    assert mend(journal_of(tmp_path, Undo("resume", before))).done == (
        f"pause of process {sleeper.pid}: gone with process {sleeper.pid}",
    )
    assert state_of(sleeper.pid) == "T"


def test_after_a_restart_of_the_machine_pids_and_addresses_mean_nothing(tmp_path: Path, sleeper: Identity) -> None:
    path = journal_of(tmp_path, Undo("resume", sleeper))
    path.write_text(path.read_text().replace('"boot": "', '"boot": "before-'))
    assert mend(path).done == (f"pause of process {sleeper.pid}: gone, the machine was started again",)
    assert state_of(sleeper.pid) == "T"
    assert not path.exists()


def test_a_fault_in_a_toxiproxy_elsewhere_outlives_a_restart_of_this_machine(tmp_path: Path) -> None:
    path = journal_of(tmp_path, Undo("switch-on", None, "nowhere.invalid:8474", "edge"))
    path.write_text(path.read_text().replace('"boot": "', '"boot": "before-'))
    (left,) = mend(path, within_s=0.0).left
    assert left.startswith("outage of edge: Toxiproxy at nowhere.invalid:8474: ")


def test_a_journal_is_its_runs_own_as_long_as_that_goes_on(tmp_path: Path, sleeper: Identity) -> None:
    journal = Journal.begin(tmp_path)
    journal.begun(Undo("resume", sleeper))
    pause = f"pause of process {sleeper.pid}"
    assert mend_lost(tmp_path) == []
    assert held(tmp_path) == [f"{pause}, by run {os.getpid()}"]
    assert state_of(sleeper.pid) == "T"
    journal.close()
    assert mend_lost(tmp_path) == [Mended(os.getpid(), done=(f"{pause}: resumed",))]
    assert mend_lost(tmp_path) == []


def test_twenty_closed_journals_are_kept(tmp_path: Path) -> None:
    for _ in range(22):
        mend(journal_of(tmp_path))
    assert len(list(tmp_path.glob("*.closed"))) == 20


def test_what_cannot_be_written_down_may_not_be_broken(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "full", os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(FaultError, match=r"outage of edge: .*/full cannot be written: No space left on device"):
        journal.begun(Undo("switch-on", None, REFUSING, "edge"))
    journal.close()


def test_a_folder_that_cannot_be_written_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "journals").write_text("a file")
    with pytest.raises(FileError, match="set BROWNOUT_STATE to a folder that can be written"):
        Journal.begin(tmp_path / "journals")


def test_a_proxy_that_was_made_is_destroyed_after_what_is_on_it_whatever_was_healed(
    tmp_path: Path, toxiproxy: type[SmallToxiproxy]
) -> None:
    made = Undo("destroy", None, toxiproxy.address, "edge")
    outage = Undo("switch-on", None, toxiproxy.address, "edge")
    journal = Journal.begin(tmp_path)
    journal.begun(made)
    journal.begun(outage)
    journal.proxy_mended(toxiproxy.address, "edge")
    assert faults_of(journal.path) == [made]
    journal.begun(outage)
    journal.close()
    assert mend(journal.path).done == ("outage of edge: switched on", "proxy edge: removed")
    assert toxiproxy.proxies == {}


def test_a_container_of_an_engine_that_does_not_answer_is_left_and_told(tmp_path: Path) -> None:
    engine = str(tmp_path / "docker.sock")
    (left,) = mend(journal_of(tmp_path, Undo("remove", server=engine, container="users")), within_s=0.0).left
    assert left.startswith(f"container users: Docker at {engine}: ")


def test_after_a_restart_of_the_machine_a_container_is_still_there(tmp_path: Path) -> None:
    path = journal_of(tmp_path, Undo("remove", server=str(tmp_path / "docker.sock"), container="users"))
    path.write_text(path.read_text().replace('"boot": "', '"boot": "before-'))
    assert len(mend(path, within_s=0.0).left) == 1
