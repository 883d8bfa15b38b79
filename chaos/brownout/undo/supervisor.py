"""The runner's side of the watchdog: start processes through it, signal them, and learn how they ended."""

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from brownout.errors import ProcessError

END_BOUND_S = 15.0
"""Longest that leaving may take: the watchdog gives up on what cannot be ended after 10 s."""

_WATCHDOG = Path(__file__).with_name("watchdog.py")


class Process:
    """A process of the run; made by :meth:`Supervisor.spawn`.

    Attributes:
        name: what it is called in errors.
        log: the file that its output goes to.
        pid: its process id, and the id of its session and process group.
        returncode: None while it runs; its exit status, or the negative number of the signal that ended it.
        exited_at_ns: when it ended, by ``time.monotonic_ns()``; None while it runs.
    """

    def __init__(self, name: str, log: Path, tell: Callable[[signal.Signals], None]) -> None:
        self.name = name
        self.log = log
        self.pid = 0
        self.returncode: int | None = None
        self.exited_at_ns: int | None = None
        self._tell = tell
        self._over = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Process {self.name} pid={self.pid} returncode={self.returncode}>"

    async def wait(self) -> int:
        """Wait for its end and return its ``returncode``.

        Raises:
            ProcessError: the watchdog has gone, so that nobody saw the end.
        """
        await self._over.wait()
        if self.returncode is None:
            raise ProcessError(self.name, "its end was not seen, the watchdog has gone")
        return self.returncode

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, which never meets another process; one that has ended already gets none.

        Raises:
            ProcessError: the watchdog has gone.
        """
        if self.returncode is None:
            self._tell(number)


class Supervisor:
    """Starts the processes of a run, and ends them all when it is left or the runner dies, however it dies.

    While it is open a watchdog process stands beside the runner, parent of whatever is spawned. Leaving ends
    every descendant and removes the scratch directory, and returns when that is done.

    Args:
        scratch: a directory for the run's files, made on entering; it may exist if it is empty.

    Attributes:
        scratch: the same, absolute.
        lost: set when the watchdog has gone before its time, and every process with it.

    Raises:
        ProcessError: on entering, scratch is not empty; on leaving, a process could not be ended.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch.absolute()
        self.lost = asyncio.Event()
        self._closing = False
        self._starting: dict[int, asyncio.Future[int]] = {}
        self._processes: dict[int, Process] = {}

    async def __aenter__(self) -> Self:
        _claim(self.scratch)
        ours, theirs = socket.socketpair()
        with theirs:
            self._watchdog = _start_watchdog(theirs, self.scratch)
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()

    async def end(self) -> None:
        """End every process and remove the scratch directory now; leaving, later, finds nothing to do.

        Raises:
            ProcessError: a process could not be ended.
        """
        if self._closing:
            return
        self._closing = True
        try:
            with contextlib.suppress(OSError):
                self._writer.write_eof()
            async with asyncio.timeout(END_BOUND_S):
                await self._listening
        except TimeoutError:
            raise ProcessError("watchdog", f"has not ended the run within {END_BOUND_S:g} s") from None
        finally:  # cancelled as well: the watchdog goes on without us
            self._writer.close()
        await self._confirm()

    async def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path | None = None,
        user: int | None = None,
        stop: signal.Signals = signal.SIGKILL,
    ) -> Process:
        """Start a program in a session of its own, with default signals and no descriptor but 0, 1 and 2.

        Args:
            name: what to call it in errors.
            argv: the program, looked for along the PATH of ``env``, and its arguments.
            env: its whole environment.
            log: the file that its output is appended to; standard input is empty.
            cwd: where it runs; None: where the runner does.
            user: the uid to run as, with that user's own group and no others; None: the runner's.
            stop: the signal that ends it with the run. Any but SIGKILL gives it, and all that it has started,
                a second to tidy up: Postgres takes SIGQUIT, or its shared memory stays behind.

        Raises:
            ProcessError: the program cannot be executed, or the watchdog has gone.
        """
        number = len(self._processes)
        order = {
            "id": number,
            "argv": list(argv),
            "env": dict(env),
            "cwd": str(_from_here(cwd)),
            "log": str(_from_here(log)),
            "user": None if user is None else [user, _group_of(user)],
            "stop": stop,
        }
        process = Process(name, log, lambda signal_: self._tell(name, {"id": number, "signal": signal_}))
        self._tell(name, order)
        self._processes[number] = process
        self._starting[number] = asyncio.get_running_loop().create_future()
        process.pid = await self._starting[number]
        return process

    def _tell(self, name: str, message: dict[str, Any]) -> None:
        if self._closing or self.lost.is_set():
            raise ProcessError(name, "cannot be reached, the watchdog has gone")
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def _listen(self) -> None:
        """Take the watchdog's messages until it is gone."""
        with contextlib.suppress(ConnectionError):
            async for line in self._reader:
                self._take(json.loads(line))
        if not self._closing:
            self.lost.set()
        for number in list(self._starting):
            self._started(number, ProcessError(self._processes[number].name, "the watchdog has gone"))
        for number, process in self._processes.items():
            if process.returncode is None:
                self._ended(number, None, None)

    def _take(self, message: dict[str, Any]) -> None:
        match message:
            case {"id": number, "pid": pid}:
                self._started(number, pid)
            case {"id": number, "cause": cause}:
                error = ProcessError(self._processes[number].name, f"cannot be started: {cause}")
                self._started(number, error)
            case {"id": number, "code": code, "at_ns": at_ns}:
                self._ended(number, code, at_ns)

    def _started(self, number: int, outcome: int | ProcessError) -> None:
        starting = self._starting.pop(number)
        if starting.done():  # whoever spawned it was cancelled; it ends with the run
            return
        if isinstance(outcome, ProcessError):
            starting.set_exception(outcome)
        else:
            starting.set_result(outcome)

    def _ended(self, number: int, code: int | None, at_ns: int | None) -> None:
        process = self._processes[number]
        process.returncode, process.exited_at_ns = code, at_ns
        process._over.set()  # noqa: SLF001  waiting is the process's, knowing when to stop is ours

    async def _confirm(self) -> None:
        """Make sure that the end was a clean one."""
        code = await asyncio.to_thread(self._watchdog.wait, 1)
        shutil.rmtree(self.scratch, ignore_errors=True)  # of use only where the watchdog was killed
        if code != 0:
            raise ProcessError("watchdog", f"ended with {code}, processes of the run may be left")


def _claim(scratch: Path) -> None:
    """Make the scratch directory, and refuse one with files that the end would remove."""
    scratch.mkdir(parents=True, exist_ok=True)
    if any(scratch.iterdir()):
        raise ProcessError(str(scratch), "is not empty", "the end of the run would remove its files")


def _start_watchdog(theirs: socket.socket, scratch: Path) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, out of the terminal's reach."""
    life = os.pidfd_open(os.getpid())
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_WATCHDOG), str(theirs.fileno()), str(life), str(scratch)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), life),
            start_new_session=True,
        )
    finally:
        os.close(life)


def _from_here(path: Path | None) -> Path:
    """Read a path as the runner means it: the watchdog's own directory is another one."""
    return Path.cwd() / (path or "")


def _group_of(user: int) -> int:
    try:
        return pwd.getpwuid(user).pw_gid
    except KeyError:  # a uid without an entry, common in containers
        return user
