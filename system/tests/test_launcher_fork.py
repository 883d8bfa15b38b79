"""Services as forks of the launcher: they are what an interpreter of their own would have made of them."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args
from urllib.request import urlopen

import grpc
import pytest

from brownout_shop.discovery.fake import FakeConsul
from brownout_shop.fork import READ_AT_START
from brownout_shop.rpc.method import GET_USER
from brownout_shop.rpc.user_pb2 import GetUserRequest
from brownout_shop.serve import Name

BOUND_S = 30.0
TOPOLOGY = Path(__file__).parents[1] / "topology.toml"
PATH = {"PATH": os.environ["PATH"]}
SHOP = [sys.executable, "-m", "brownout_shop"]
NOWHERE = "http://127.0.0.1:1"
EXECUTED = {"PYTHONDONTWRITEBYTECODE": "1"}
"""A variable that an interpreter reads as it starts, so that none can be forked with it."""

IN_THE_BACKGROUND = 'trap "" HUP INT QUIT; exec "$0" "$@"'
"""How a shell without job control starts a program in the background: it ignores the signals of a terminal."""

LOADED = """
import atexit, os, sys
from brownout_shop import __main__ as program, launcher
launcher.preload()
before = set(sys.modules)
atexit.register(lambda: print("loaded since:", *sorted(set(sys.modules) - before)))
sys.argv[1:] = [os.environ["NAME"]]
sys.exit(program.main())
"""
"""What a fork of the launcher does, in one process; it prints what it had to import."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def gateway() -> dict[str, str]:
    """An environment with which the gateway runs, though without a registry."""
    listen = f"127.0.0.1:{free_port()}"
    urls = {"CONSUL_URL": NOWHERE, "OTLP_URL": NOWHERE}
    return {"CELL": "c1", "INSTANCE": "gateway-0", "LISTEN": listen, "ADVERTISE": "{}", **urls}


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.01)


def answers(env: Mapping[str, str]) -> bool:
    try:
        with urlopen(f"http://{env['LISTEN']}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except OSError:
        return True


class Launched:
    """A launcher, and a connection to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        launcher = [*SHOP[:2], "brownout_shop.launcher", str(folder / "socket")]
        self.process = subprocess.Popen(["/bin/sh", "-c", IN_THE_BACKGROUND, *launcher], env=PATH)
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(BOUND_S)
        until(self._connected)
        self._lines = self.connection.makefile("rb")
        self._count = 0
        self._unheard: list[Any] = []

    def close(self) -> None:
        self._lines.close()
        self.connection.close()
        self.process.kill()
        self.process.wait(BOUND_S)

    def _connected(self) -> bool:
        return self.connection.connect_ex(str(self.folder / "socket")) == 0

    def send(self, **message: object) -> None:
        self.connection.sendall(json.dumps(message).encode() + b"\n")

    def heard(self, number: int, *keys: str) -> Any:
        """Wait for the first message about a process that has one of some keys."""
        while True:
            for said in self._unheard:
                if said["id"] == number and any(key in said for key in keys):
                    self._unheard.remove(said)
                    return said
            self._unheard.append(json.loads(self._lines.readline()))

    def end(self, number: int) -> None:
        self.send(id=number, signal=signal.SIGKILL)
        assert self.heard(number, "code")["code"] == -signal.SIGKILL

    def order(self, argv: list[str], env: Mapping[str, str], **further: str) -> dict[str, Any]:
        """Start a program; its answer, together with the file for its output."""
        self._count += 1
        log = str(self.folder / f"log-{self._count}")
        order = {"id": self._count, "argv": argv, "env": dict(env), "cwd": "/", "log": log, **further}
        self.send(**order)
        return {"log": Path(log), **self.heard(self._count, "pid", "cause")}

    def ended(self, argv: list[str], env: Mapping[str, str]) -> tuple[int, str]:
        """Run a program to its end; its exit code and output."""
        started = self.order(argv, env)
        return self.heard(started["id"], "code")["code"], started["log"].read_text()


@contextmanager
def running() -> Iterator[Launched]:
    with TemporaryDirectory() as name, closing(Launched(Path(name))) as launched:
        yield launched


@pytest.fixture(scope="module")
def shared() -> Iterator[Launched]:
    with running() as launched:
        yield launched


@pytest.fixture(scope="module")
def forked(shared: Launched) -> Iterator[dict[str, Any]]:
    """A gateway that serves; what the launcher said of its start."""
    env = gateway()
    started = shared.order([*SHOP, "gateway"], env)
    until(lambda: answers(env))
    yield started
    shared.end(started["id"])


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_a_fork_leads_a_session_of_its_own(forked: dict[str, Any]) -> None:
    assert os.getsid(forked["pid"]) == os.getpgid(forked["pid"]) == forked["pid"]


def test_a_fork_has_its_services_name(forked: dict[str, Any]) -> None:
    assert status(forked["pid"])["Name"] == "gateway"


def opened(pid: int) -> set[str]:
    """What a process has open, but for what it closes in this moment."""
    names = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            names.add(str(link.readlink()))
    return names


def test_a_fork_shares_no_descriptor_with_the_launcher(shared: Launched, forked: dict[str, Any]) -> None:
    in_common = opened(shared.process.pid) & opened(forked["pid"])
    assert {name for name in in_common if name.startswith(("socket:", "pipe:"))} == set()


def test_a_forks_output_goes_to_its_log(forked: dict[str, Any]) -> None:
    links = [Path(f"/proc/{forked['pid']}/fd/{number}").readlink() for number in range(3)]
    assert links == [Path(os.devnull), forked["log"], forked["log"]]


def test_a_fork_handles_the_signals_that_an_executed_one_does(shared: Launched, forked: dict[str, Any]) -> None:
    env = gateway() | EXECUTED
    executed = shared.order([*SHOP, "gateway"], env)
    until(lambda: answers(env))
    assert status(executed["pid"])["Name"] != "gateway"
    for mask in ("SigIgn", "SigBlk", "SigCgt"):
        assert status(forked["pid"])[mask] == status(executed["pid"])[mask]
    shared.end(executed["id"])


def test_a_fork_ends_with_0_after_sigterm(shared: Launched) -> None:
    env = gateway()
    started = shared.order([*SHOP, "gateway"], env)
    until(lambda: answers(env))
    shared.send(id=started["id"], signal=signal.SIGTERM)
    before_ns = time.monotonic_ns()
    said = shared.heard(started["id"], "code")
    assert said["code"] == 0
    assert before_ns < said["at_ns"] <= time.monotonic_ns()
    assert '"message": "done"' in started["log"].read_text()


@pytest.mark.parametrize(
    ("arguments", "settings", "code"),
    [
        (["gateway"], {"LISTEN": "nowhere"}, 1),
        (["gateway"], {}, 1),
        (["shop"], {}, 2),
        ([], {}, 2),
        (["gateway"], {"LISTEN": "127.0.0.1:99999"}, 1),
    ],
    ids=["settings", "taken-port", "unknown", "nothing", "exception"],
)
def test_a_fork_fails_as_an_executed_one_does(
    shared: Launched, arguments: list[str], settings: dict[str, str], code: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        env = gateway() | {"LISTEN": listen} | settings
        forked, executed = (shared.ended([*SHOP, *arguments], env | further) for further in ({}, EXECUTED))
    assert forked[0] == executed[0] == code
    assert forked[1].splitlines()[-1:] == executed[1].splitlines()[-1:] != []


def test_a_signal_that_ends_a_fork_is_told(shared: Launched) -> None:
    shared.end(shared.order([*SHOP, "gateway"], gateway())["id"])


def test_a_changed_python_path_gets_an_interpreter_of_its_own(shared: Launched, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('sabotaged')\n")
    code, said = shared.ended([*SHOP, "gateway"], {"PYTHONPATH": str(tmp_path)})
    assert code == 1
    assert "sabotaged" in said.splitlines()


def test_another_program_is_executed_with_default_signals(shared: Launched) -> None:
    script = "grep -E 'Sig(Ign|Blk)' /proc/self/status; ls /proc/self/fd | wc -l; pwd; echo $NAME; exit 7"
    code, said = shared.ended(["sh", "-c", script], PATH | {"NAME": "Zoë"})
    assert code == 7
    settable = sum(1 << number - 1 for number in signal.valid_signals())  # 32 and 33 are libc's own
    _, blocked, _, ignored, *rest = said.split()
    assert (int(blocked, 16) & settable, int(ignored, 16) & settable) == (0, 0)
    assert rest == ["4", "/", "Zoë"]


@pytest.mark.parametrize(
    ("argv", "further", "cause"),
    [
        (["no-such-program"], {}, "no-such-program: No such file or directory"),
        ([*SHOP, "gateway"], {"cwd": "/no/such/folder"}, "/no/such/folder: No such file or directory"),
        ([*SHOP, "gateway"], {"log": "/no/such/log"}, "/no/such/log: No such file or directory"),
        (["/no\0ne"], {}, "/no\0ne: embedded null byte"),
    ],
)
def test_what_cannot_be_started_is_told_in_one_line(
    shared: Launched, argv: list[str], further: dict[str, str], cause: str
) -> None:
    assert shared.order(argv, PATH, **further)["cause"] == cause


def test_every_order_is_followed_once(shared: Launched) -> None:
    for _ in range(3):
        assert shared.ended(["true"], PATH)[0] == 0
    assert not shared._unheard


def test_no_service_of_the_topology_needs_an_interpreter_of_its_own() -> None:
    topology = tomllib.loads(TOPOLOGY.read_text())
    settings = [topology["env"], *(service.get("env", {}) for service in topology["services"].values())]
    assert [name for env in settings for name in env if name.startswith(READ_AT_START)] == []


def test_the_launcher_forks_from_a_single_thread(shared: Launched) -> None:
    assert status(shared.process.pid)["Threads"] == "1"


@pytest.mark.parametrize("how", ["its connection ends", "it is killed", "it is stopped and killed"])
def test_services_die_with_their_launcher(how: str) -> None:
    with running() as launched:
        env = gateway()
        pids = [launched.order([*SHOP, "gateway"], env)["pid"], launched.order(["sleep", "60"], PATH)["pid"]]
        until(lambda: answers(env))
        if how == "its connection ends":
            launched.connection.shutdown(socket.SHUT_WR)
            assert launched.process.wait(BOUND_S) == 0
        if how == "it is stopped and killed":
            launched.process.send_signal(signal.SIGSTOP)
        launched.process.kill()
        until(lambda: all(map(gone, pids)))


async def test_forks_serve_grpc(shared: Launched, database_url: str) -> None:
    listens = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    for listen in listens:
        settings = {"DATABASE_URL": database_url, "TOKEN_SECRET": "x" * 32, "GRPC_LISTEN": listen}
        shared.order([*SHOP, "users"], gateway() | settings)
    for listen in listens:
        async with grpc.aio.insecure_channel(listen) as channel:
            ask: Any = channel.unary_unary(GET_USER.path, GetUserRequest.SerializeToString)
            with pytest.raises(grpc.RpcError) as raised:
                await ask(GetUserRequest(id="0" * 32), timeout=BOUND_S, wait_for_ready=True)
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("name", get_args(Name))
async def test_a_service_that_the_launcher_forks_has_nothing_left_to_import(name: str, database_url: str) -> None:
    async with FakeConsul() as consul:
        settings = {"CONSUL_URL": consul.url, "DATABASE_URL": database_url, "TOKEN_SECRET": "x" * 32}
        further = {"GRPC_LISTEN": f"127.0.0.1:{free_port()}", "KAFKA": "127.0.0.1:1", "PROVIDER": "127.0.0.1:1"}
        further["CALLBACK_SECRET"] = "x" * 32
        env = gateway() | settings | further | {"NAME": name}
        process = await asyncio.create_subprocess_exec(SHOP[0], "-c", LOADED, env=env, stdout=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(BOUND_S):
                while not consul.services and process.returncode is None:  # noqa: ASYNC110  it tells nobody
                    await asyncio.sleep(0.01)
                assert await asyncio.to_thread(answers, env)
                process.terminate()
                said, _ = await process.communicate()
        finally:
            with suppress(ProcessLookupError):
                process.kill()
    assert said == b"loaded since:\n"
