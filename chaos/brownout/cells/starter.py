"""What starts the services of a run, and what of the user's environment they get to see."""

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from brownout.topology import Topology
from brownout.undo import Launcher, Starter, Supervisor

__all__ = ["inherited", "starter"]


@asynccontextmanager
async def starter(topology: Topology, supervisor: Supervisor, log: Callable[[str], Path]) -> AsyncIterator[Starter]:
    """Hold open what starts the services: the system's launcher where it has one, else the supervisor.

    Raises:
        ProcessError: the launcher did not start.
    """
    if not topology.launcher:
        yield supervisor
        return
    command = [word.replace("{python}", sys.executable) for word in topology.launcher]
    async with Launcher(command, supervisor, env=inherited(), log=log("launcher")) as launcher:
        yield launcher


def inherited() -> dict[str, str]:
    """The little that a program needs of the user's environment: no proxy settings, no secrets."""
    return {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TZ", "TMPDIR") if key in os.environ}
