"""The runner's side of a process that starts others at its word: the watchdog, or a system's launcher."""

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from brownout.errors import ProcessError

__all__ = ["Parent", "Process", "Starter"]


class Process:
    """A process of the run; made by a :class:`Starter`.

    Attributes:
        name: what it is called in errors.
        log: the file that its output goes to.
        pid: its process id, and the id of its session and process group.
        returncode: None while it runs; its exit status, or the negative number of the signal that ended it.
        exited_at_ns: when it ended, by ``time.monotonic_ns()``; None while it runs.
    """

    def __init__(self, name: str, log: Path, parent: str, tell: Callable[[signal.Signals], None]) -> None:
        self.name = name
        self.log = log
        self.pid = 0
        self.returncode: int | None = None
        self.exited_at_ns: int | None = None
        self._parent = parent
        self._tell = tell
        self._over = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Process {self.name} pid={self.pid} returncode={self.returncode}>"

    async def wait(self) -> int:
        """Wait for its end and return its ``returncode``.

        Raises:
            ProcessError: its parent has gone, so that nobody saw the end.
        """
        await self._over.wait()
        if self.returncode is None:
            raise ProcessError(self.name, f"its end was not seen, the {self._parent} has gone")
        return self.returncode

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, which never meets another process; one that has ended already gets none.

        Raises:
            ProcessError: its parent has gone.
        """
        if self.returncode is None:
            self._tell(number)


class Starter(Protocol):
    """Starts programs: the supervisor does, and so does a launcher.

    Attributes:
        lost: set when it has gone before its time, and with it what it started.
    """

    lost: asyncio.Event

    async def spawn(
        self, name: str, argv: Sequence[str], *, env: Mapping[str, str], log: Path, nice: int = 0
    ) -> Process:
        """Start a program in a session of its own.

        Args:
            name: what to call it in errors.
            argv: the program and its arguments.
            env: its whole environment.
            log: the file that its output is appended to; standard input is empty.
            nice: how far it gives way to others, and its session to theirs: its niceness (sched(7)).

        Raises:
            ProcessError: it cannot be started, or its parent has gone.
        """


class Parent:
    """What a parent is told, and what it tells: orders, starts and ends, as lines of JSON (see watchdog.py).

    Args:
        name: what it is called in errors.

    Attributes:
        lost: set when it has gone before it was left, and every process with it.
    """

    def __init__(self, name: str) -> None:
        self.lost = asyncio.Event()
        self._name = name
        self._leaving = False
        self._starting: dict[int, asyncio.Future[int]] = {}
        self._processes: dict[int, Process] = {}

    async def connect(self, connection: socket.socket) -> None:
        """Speak with it over a connected socket, which is closed on leaving."""
        self._reader, self._writer = await asyncio.open_connection(sock=connection)
        self._listening = asyncio.create_task(self._listen())

    async def leave(self, within_s: float) -> None:
        """Say that there will be no more orders, and hear it out.

        Raises:
            ProcessError: it said what could not be understood.
            TimeoutError: it was not done within so many seconds.
        """
        self._leaving = True
        try:
            with contextlib.suppress(OSError):
                self._writer.write_eof()
            async with asyncio.timeout(within_s):
                await self._listening
        finally:  # cancelled as well: it goes on without us
            self._writer.close()

    async def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path | None,
        stop: signal.Signals,
        nice: int,
        **further: object,
    ) -> Process:
        """Order a start, with ``further`` keys that not every parent knows; `Supervisor.spawn` tells the others.

        Raises:
            ProcessError: the program cannot be executed, or the parent has gone.
        """
        number = len(self._processes)
        order = {
            "id": number,
            "argv": list(argv),
            "env": dict(env),
            "cwd": str(_from_here(cwd)),
            "log": str(_from_here(log)),
            "stop": stop,
            "nice": nice,
            **further,
        }
        process = Process(name, log, self._name, lambda signal_: self._tell(name, {"id": number, "signal": signal_}))
        self._tell(name, order)
        self._processes[number] = process
        self._starting[number] = asyncio.get_running_loop().create_future()
        process.pid = await self._starting[number]
        return process

    def running(self, name: str) -> Process | None:
        """The last process that was started under a name, if it runs."""
        named = [each for each in self._processes.values() if each.name == name and each.pid]
        return named[-1] if named and named[-1].returncode is None else None

    def _tell(self, name: str, message: dict[str, Any]) -> None:
        if self._leaving or self.lost.is_set():
            raise ProcessError(name, f"cannot be reached, the {self._name} has gone")
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def _listen(self) -> None:
        """Take its messages until it is gone."""
        try:
            with contextlib.suppress(ConnectionError):
                async for line in self._reader:
                    self._take(self._read(line))
        finally:  # as good as gone is one that is not understood
            self._forget()

    def _forget(self) -> None:
        """Let nobody wait any longer."""
        if not self._leaving:
            self.lost.set()
        for number in list(self._starting):
            self._started(number, ProcessError(self._processes[number].name, f"the {self._name} has gone"))
        for number, process in self._processes.items():
            if process.returncode is None:
                self._ended(number, None, None)

    def _read(self, line: bytes) -> dict[str, Any]:
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError):
            raise ProcessError(self._name, f"said what is no answer: {line[:80]!r}") from None

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
        if starting.done():  # whoever ordered it was cancelled; it ends with the run
            return
        if isinstance(outcome, ProcessError):
            starting.set_exception(outcome)
        else:
            starting.set_result(outcome)

    def _ended(self, number: int, code: int | None, at_ns: int | None) -> None:
        process = self._processes[number]
        process.returncode, process.exited_at_ns = code, at_ns
        process._over.set()  # noqa: SLF001  waiting is the process's, knowing when to stop is ours


def _from_here(path: Path | None) -> Path:
    """Read a path as the runner means it: its parent's own directory may be another one."""
    return Path.cwd() / (path or "")
