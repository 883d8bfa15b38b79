"""Containers by an engine that is small: its containers are tables, its answers those of Docker's HTTP API."""

import asyncio
import contextlib
import json
import re
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from brownout.cells.containers import COPY, Project, project
from brownout.errors import CellError, FaultError
from brownout.mending import Journal, Undo, faults_of, mend, undoing

PROJECT = "shop"
NETWORK = "shop_default"
COMPOSE = "com.docker.compose."
LABELS = {f"{COMPOSE}project": PROJECT, f"{COMPOSE}oneoff": "False"}
ENDED = "2026-11-24T02:00:05.123456789Z"
KILLED = 137


class Engine(ThreadingMixIn, UnixStreamServer):
    """A project of two services, and what is made beside it.

    Attributes:
        containers: what inspecting one tells, by its name.
        asked: method and path of every request.
        making: waited for before a container is made.
        slow_s: how long removing one takes.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Handler)
        self.path = str(path)
        self.containers = {f"shop-{name}-1": _original(name) for name in ("users", "postgres")}
        self.asked: list[tuple[str, str]] = []
        self.making = threading.Event()
        self.making.set()
        self.slow_s = 0.0

    def copies(self) -> set[str]:
        return {name for name, each in self.containers.items() if COPY in each["Config"]["Labels"]}


class Handler(BaseHTTPRequestHandler):
    """What the engine answers; of a container: its state, as orders change it."""

    server: Engine

    def do_GET(self) -> None:
        match self._words():
            case ["version"]:
                self._say(200, {"ApiVersion": "1.44", "MinAPIVersion": "1.24"})
            case ["networks", _]:
                pool = {"Subnet": "10.223.0.0/20", "IPRange": "10.223.0.0/24", "Gateway": "10.223.0.1"}
                self._say(200, {"IPAM": {"Config": [pool]}})
            case ["containers", "json"]:
                self._say(200, self._listed())
            case ["containers", name, "json"]:
                there = self.server.containers.get(name)
                self._say(200 if there else 404, there or {"message": f"No such container: {name}"})
            case ["containers", name, "logs"] if name in self.server.containers:
                self._say(200, struct.pack(">BxxxI", 1, 5) + b"hello")
            case _:
                self._say(404, {"message": "no"})

    def do_POST(self) -> None:
        config = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
        words = self._words()
        if words == ["containers", "create"]:
            self._make(self._query()["name"], config)
            return
        _, name, order = words
        state = self.server.containers[name]["State"] if name in self.server.containers else None
        if state is None:
            self._say(404, {"message": f"No such container: {name}"})
            return
        match order:
            case "start":
                state.update(Running=True, Pid=4_000_000)
            case "kill" if not state["Running"]:
                self._say(409, {"message": f"container {name} is not running"})
                return
            case "kill":
                state.update(Running=False, Pid=0, ExitCode=KILLED if self._query()["signal"] == "9" else 0)
            case "pause" | "unpause":
                state.update(Paused=order == "pause")
        self._say(204)

    def do_DELETE(self) -> None:
        name = self._words()[1]
        time.sleep(self.server.slow_s)
        found = self.server.containers.pop(name, None)
        self._say(204 if found else 404, None if found else {"message": f"No such container: {name}"})

    def log_message(self, *_: object) -> None:
        pass

    def _words(self) -> list[str]:
        path = re.sub(r"^/v1\.\d+", "", urlsplit(self.path).path)
        return path.strip("/").split("/")

    def _query(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}

    def _listed(self) -> list[dict[str, Any]]:
        wanted = [tuple(each.split("=")) for each in json.loads(self._query()["filters"])["label"]]
        return [
            {"Names": [f"/{name}"], "Labels": each["Config"]["Labels"]}
            for name, each in self.server.containers.items()
            if set(wanted) <= each["Config"]["Labels"].items()
        ]

    def _make(self, name: str, config: dict[str, Any]) -> None:
        self.server.asked.append(("made", name))
        self.server.making.wait(5)
        if name in self.server.containers:
            self._say(409, {"message": f"{name} is in use"})
            return
        endpoints = config.pop("NetworkingConfig")["EndpointsConfig"]
        networks = {network: {"IPAddress": "", **endpoint} for network, endpoint in endpoints.items()}
        self.server.containers[name] = _described(config, config.pop("HostConfig"), networks, runs=False)
        self._say(201, {"Id": name, "Warnings": []})

    def _say(self, status: int, body: object = None) -> None:
        with contextlib.suppress(BrokenPipeError):  # whoever asked may have gone
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode() if status != 204 else b"")


def _described(config: Any, host: Any, networks: Any, *, runs: bool) -> dict[str, Any]:
    state = {"Running": runs, "Paused": False, "Pid": 1 if runs else 0, "ExitCode": 0, "FinishedAt": ENDED}
    settings = {"Networks": networks}
    return {"Image": "sha256:1", "Config": config, "HostConfig": host, "NetworkSettings": settings, "State": state}


def _original(service: str) -> dict[str, Any]:
    config = {
        "Hostname": "0123456789ab",
        "Env": ["PATH=/bin", "CELL=compose", "BY_HAND=1"],
        "Image": "brownout-shop:0.1.0",
        "User": "10001:10001",
        "ExposedPorts": {"8000/tcp": {}},
        "Labels": {**LABELS, f"{COMPOSE}service": service},
        "Healthcheck": {"Test": ["CMD", "true"]},
        "Tty": False,
    }
    host = {
        "Binds": ["/srv/databases.sql:/databases.sql:ro", "shop_kept:/var/lib/postgresql:rw"],
        "Mounts": [{"Type": "volume", "Source": "kept"}, {"Type": "bind", "Source": "/srv"}],
        "PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}]},
        "ReadonlyRootfs": True,
        "Memory": 1 << 29,
        "NetworkMode": NETWORK,
        "RestartPolicy": {"Name": "always"},
    }
    return _described(config, host, {NETWORK: {"IPAddress": "10.223.0.7", "IPAMConfig": None}}, runs=True)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    with Engine(tmp_path / "docker.sock") as server:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{server.path}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    begun = Journal.begin(tmp_path / "journals")
    yield begun
    begun.close()


@pytest.fixture
async def there(engine: Engine, journal: Journal) -> AsyncIterator[Project]:
    del engine
    async with project(PROJECT, journal) as held:
        yield held


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the engine is in other threads
            await asyncio.sleep(0.01)


async def test_a_copy_has_the_image_settings_and_limits_of_the_original(engine: Engine, there: Project) -> None:
    copy = there.copy_of("c1-users-0")
    await there.make(copy, "users", "users-0.c1", {"CELL": "c1"})
    made = engine.containers["shop-c1-users-0"]
    assert made["Config"]["Image"] == "sha256:1"
    assert made["Config"]["User"] == "10001:10001"
    assert set(made["Config"]["Env"]) == {"PATH=/bin", "CELL=c1", "BY_HAND=1"}
    assert (made["HostConfig"]["ReadonlyRootfs"], made["HostConfig"]["Memory"]) == (True, 1 << 29)


async def test_a_copy_shares_no_name_port_or_volume_with_the_original(engine: Engine, there: Project) -> None:
    await there.make(there.copy_of("c1-postgres"), "postgres", "postgres.c1")
    made = engine.containers["shop-c1-postgres"]
    assert made["NetworkSettings"]["Networks"][NETWORK]["Aliases"] == ["postgres.c1"]
    assert not {"Hostname", "ExposedPorts"} & made["Config"].keys()
    assert made["Config"]["Labels"][f"{COMPOSE}oneoff"] == "True"
    assert made["HostConfig"]["PortBindings"] == {}
    assert made["HostConfig"]["RestartPolicy"] == {"Name": "no"}
    assert made["HostConfig"]["Binds"] == ["/srv/databases.sql:/databases.sql:ro"]
    assert made["HostConfig"]["Mounts"] == [{"Type": "bind", "Source": "/srv"}]


async def test_each_copy_has_an_address_that_compose_gives_to_nobody_whether_it_runs_or_not(there: Project) -> None:
    copies = [there.copy_of(f"c1-users-{number}") for number in range(2)]
    for copy in copies:
        await there.make(copy, "users", copy.name)
        await copy.look()
    assert [copy.address for copy in copies] == ["10.223.1.0", "10.223.1.1"]


async def test_a_copy_is_in_the_journal_before_it_is_made_and_until_it_is_gone(
    engine: Engine, there: Project, journal: Journal
) -> None:
    removal = Undo("remove", server=engine.path, container="shop-c1-users-0")
    engine.making.clear()
    copy = there.copy_of("c1-users-0")
    making = asyncio.create_task(there.make(copy, "users", "users-0.c1"))
    await until(lambda: engine.asked)
    assert faults_of(journal.path) == [removal]
    engine.making.set()
    await making
    await there.remove(copy)
    assert faults_of(journal.path) == []
    assert engine.copies() == set()


async def test_what_was_asked_for_when_its_cell_ended_is_made_and_then_removed(engine: Engine, there: Project) -> None:
    engine.making.clear()
    copy = there.copy_of("c1-users-0")
    making = asyncio.create_task(there.make(copy, "users", "users-0.c1"))
    await until(lambda: engine.asked)
    making.cancel()
    removing = asyncio.create_task(there.remove(copy))
    await asyncio.sleep(0)
    engine.making.set()
    await removing
    assert engine.copies() == set()


async def test_leaving_removes_every_copy_and_leaves_the_project_alone(engine: Engine, journal: Journal) -> None:
    async with project(PROJECT, journal) as held:
        made, asked_for = held.copy_of("c1-users-0"), held.copy_of("c2-users-0")
        await held.make(made, "users", "users-0.c1")
        engine.making.clear()
        making = asyncio.create_task(held.make(asked_for, "users", "users-0.c2"))
        await until(lambda: ("made", asked_for.name) in engine.asked)
        threading.Timer(0.1, engine.making.set).start()
    await asyncio.gather(making, return_exceptions=True)
    assert engine.containers.keys() == {"shop-users-1", "shop-postgres-1"}
    with pytest.raises(FaultError, match="the run is over"):
        await made.start()


async def test_what_a_run_before_has_left_is_removed(engine: Engine, journal: Journal) -> None:
    left = _original("users")
    left["Config"]["Labels"] |= {f"{COMPOSE}oneoff": "True", COPY: PROJECT}
    by_hand = _original("users")
    by_hand["Config"]["Labels"] |= {f"{COMPOSE}oneoff": "True"}
    engine.containers |= {"shop-c0-users-0": left, "shop-run-1": by_hand}
    async with project(PROJECT, journal):
        assert engine.containers.keys() == {"shop-users-1", "shop-postgres-1", "shop-run-1"}


async def test_how_a_container_ended_is_told_as_of_a_process(there: Project) -> None:
    copy = there.copy_of("c1-users-0")
    await there.make(copy, "users", "users-0.c1")
    await copy.start()
    assert copy.pid
    assert await copy.ended(0) is None
    assert await copy.end() == -9
    ended = await copy.ended(0)
    assert ended
    assert ended.at_s == pytest.approx(1795485605.123456)
    assert await copy.end() == -9  # once more does no harm
    assert not copy.pid


async def test_a_paused_container_goes_on_and_one_that_runs_is_left_to(engine: Engine, there: Project) -> None:
    copy = there.copy_of("c1-users-0")
    await there.make(copy, "users", "users-0.c1")
    await copy.start()
    await copy.pause()
    await copy.look()
    assert copy.paused
    for _ in range(2):
        await copy.resume()
    assert not engine.containers[copy.name]["State"]["Paused"]


async def test_what_it_said_is_kept_and_one_that_was_never_made_said_nothing(there: Project) -> None:
    made, not_made = there.copy_of("c1-users-0"), there.copy_of("c1-users-1")
    await there.make(made, "users", "users-0.c1")
    assert await made.output() == b"hello"
    assert await not_made.output() == b""
    await there.remove(not_made)


async def test_a_refusal_of_the_engine_names_the_container(engine: Engine, there: Project) -> None:
    engine.containers["shop-c1-users-0"] = _original("users")
    with pytest.raises(FaultError, match=r"shop-c1-users-0: Docker: .*is in use"):
        await there.make(there.copy_of("c1-users-0"), "users", "users-0.c1")


async def test_one_run_at_a_time_has_a_project(there: Project, journal: Journal) -> None:
    with pytest.raises(CellError, match="shop: another run has this project; wait for its end"):
        async with project(there.name, journal):
            pass


async def test_a_server_that_is_not_there_or_has_stopped_is_told_with_the_remedy(
    engine: Engine, journal: Journal
) -> None:
    engine.containers["shop-postgres-1"]["State"]["Running"] = False
    async with project(PROJECT, journal) as held:
        with pytest.raises(CellError, match=r"shop: has stopped its postgres; docker compose up"):
            held["postgres"]
        with pytest.raises(CellError, match=r"shop: has no container of kafka; docker compose up"):
            held["kafka"]


async def test_a_network_without_addresses_of_ours_is_told_with_the_remedy(
    engine: Engine, there: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    del engine
    config = {"IPAM": {"Config": [{"Subnet": "172.18.0.0/16"}]}}
    monkeypatch.setattr("docker.APIClient.inspect_network", lambda *_: config)
    with pytest.raises(CellError, match=r"shop_default: has no addresses .*; docker compose down, then up"):
        await there.make(there.copy_of("c1-users-0"), "users", "users-0.c1")


async def opening(journal: Journal, name: str = PROJECT) -> str:
    """Why a project cannot be held."""
    with pytest.raises(CellError) as refused:
        async with project(name, journal):
            pass
    return str(refused.value)


async def test_a_project_that_is_not_up_is_told_with_the_remedy(engine: Engine, journal: Journal) -> None:
    del engine
    assert (await opening(journal, "other")).startswith("other: no containers of this project; docker compose up")


async def test_an_engine_that_is_not_there_is_told_with_the_remedy(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert (await opening(journal)).endswith("start it, or set DOCKER_HOST")
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2375")
    assert "is another machine's; set DOCKER_HOST to unix://PATH" in await opening(journal)


async def test_who_may_not_ask_the_engine_is_told_how_to(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.connect", refuse)
    assert (await opening(journal)).endswith("run as root, or as a member of the group docker")


def left_by(folder: Path, engine: Engine, *names: str) -> Path:
    """The journal of a run that was killed, and had copies."""
    journal = Journal.begin(folder)
    journal.begun(*(Undo("remove", server=engine.path, container=name) for name in names))
    journal.close()
    return journal.path


def test_the_watchdog_removes_all_copies_at_the_same_time(tmp_path: Path, engine: Engine) -> None:
    names = [f"shop-c1-users-{number}" for number in range(20)]
    engine.containers |= {name: _original("users") for name in names}
    engine.slow_s = 0.3
    begun_s = time.monotonic()
    mended = mend(left_by(tmp_path, engine, *names), within_s=0.0)
    assert time.monotonic() - begun_s < len(names) * engine.slow_s / 2
    assert sorted(mended.done) == sorted(f"container {name}: removed" for name in names)
    assert not engine.containers.keys() & set(names)


def test_the_watchdog_removes_a_copy_that_is_made_after_the_runners_end(tmp_path: Path, engine: Engine) -> None:
    def make() -> None:
        engine.containers["shop-c1-users-0"] = _original("users")

    late = threading.Timer(0.3, make)
    late.start()
    assert mend(left_by(tmp_path, engine, "shop-c1-users-0")).done == ("container shop-c1-users-0: removed",)
    late.join()
    assert "shop-c1-users-0" not in engine.containers


def test_a_copy_that_was_never_made_is_waited_for_and_no_longer(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undoing, "MADE_S", 0.2)
    mended = mend(left_by(tmp_path, engine, "shop-c1-users-0"))
    assert (mended.done, mended.left) == (("container shop-c1-users-0: not there",), ())
