"""A program of the system that starts its services: it has loaded what they share, and forks."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from brownout.errors import ProcessError
from brownout.undo.parent import Parent, Process
from brownout.undo.supervisor import Supervisor

__all__ = ["Launcher"]

LISTENS_WITHIN_S = 30.0
"""How long it may take until it listens; what it loads, it may load afterwards."""

LEAVES_WITHIN_S = 1.0
"""How long leaving waits for it; the watchdog ends it in any case."""

_SOCKET = "launcher.sock"


class Launcher:
    """Holds a system's launcher open; it is a process of the run like any other.

    It listens on the Unix socket whose path is its last argument, takes one connection, and then speaks as the
    watchdog does (watchdog.py has the lines; ``user`` is never asked for). What it starts, it starts as the
    watchdog would: a session of its own, default signals, no descriptor but 0, 1 and 2, and dead when it is.

    Args:
        command: the program and its arguments, but for the path.
        supervisor: starts it, and ends all that it has started.
        env: its whole environment.
        log: the file for its output.

    Attributes:
        lost: set when it has gone before its time, and every service with it.

    Raises:
        ProcessError: on entering, it ended or does not listen; on leaving, it said what could not be understood.
    """

    def __init__(self, command: Sequence[str], supervisor: Supervisor, *, env: Mapping[str, str], log: Path) -> None:
        self._command = command
        self._supervisor = supervisor
        self._env = env
        self._log = log
        self._parent = Parent("launcher")
        self.lost = self._parent.lost

    async def __aenter__(self) -> Self:
        path = self._supervisor.scratch / _SOCKET
        process = await self._supervisor.spawn("launcher", [*self._command, str(path)], env=self._env, log=self._log)
        try:
            async with asyncio.timeout(LISTENS_WITHIN_S):
                await self._parent.connect(await self._connected(path, process))
        except TimeoutError:
            raise self._error(f"does not listen within {LISTENS_WITHIN_S:g} s") from None
        except OSError as error:
            raise self._error(f"cannot be reached at {path}: {error}") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(TimeoutError):
            await self._parent.leave(LEAVES_WITHIN_S)

    async def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path | None = None,
        nice: int = 0,
    ) -> Process:
        """Have it start a program, as `Supervisor.spawn` does.

        Raises:
            ProcessError: the program cannot be executed, or the launcher has gone.
        """
        return await self._parent.start(name, argv, env=env, log=log, cwd=cwd, stop=signal.SIGKILL, nice=nice)

    async def _connected(self, path: Path, process: Process) -> socket.socket:
        while (connection := _connection(path)) is None:
            if process.returncode is not None:
                raise self._error(f"ended with exit code {process.returncode} while starting")
            await asyncio.sleep(0.02)
        return connection

    def _error(self, cause: str) -> ProcessError:
        return ProcessError("launcher", cause, f"see {self._log}")


def _connection(path: Path) -> socket.socket | None:
    """Connect to it; None when it does not listen yet."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return None
        raise
    return connection
