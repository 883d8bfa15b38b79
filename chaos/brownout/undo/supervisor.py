"""Holds the processes of a run: a watchdog starts them, and ends them when the run is left or its runner dies."""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import platformdirs

from brownout.errors import ProcessError
from brownout.mending import Identity, Journal, mend
from brownout.undo.parent import Parent, Process

__all__ = ["Supervisor", "journals_folder"]

END_BOUND_S = 60.0
"""Longest that leaving may take. The watchdog gives up on processes that cannot be ended after 10 s; a busy engine
took 20 s over 31 containers."""

AGAIN_S = 1.0
"""How long the runner tries to undo what its watchdog did not."""

_WATCHDOG = Path(__file__).with_name("watchdog.py")


class Supervisor:
    """Starts the processes of a run, and ends them all when it is left or the runner dies, however it dies.

    While it is open a watchdog process stands beside the runner, parent of whatever is spawned. Leaving ends
    every descendant, undoes what the journal says is broken and removes the scratch directory, and returns when
    that is done.

    Args:
        scratch: a directory for the run's files, made on entering; it may exist if it is empty.

    Attributes:
        scratch: the same, absolute.
        journal: what the run breaks is written there before; it is made on entering.
        lost: set when the watchdog has gone before its time, and every process with it.

    Raises:
        FileError: on entering, the journal cannot be written.
        ProcessError: on entering, scratch is not empty; on leaving, a process could not be ended, or a fault undone.
    """

    journal: Journal

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch.absolute()
        self._parent = Parent("watchdog")
        self.lost = self._parent.lost
        self._ended = False

    async def __aenter__(self) -> Self:
        _claim(self.scratch)
        self.journal = Journal.begin(journals_folder())
        ours, theirs = socket.socketpair()
        with theirs:
            self._watchdog = _start_watchdog(theirs, self.scratch, self.journal)
        await self._parent.connect(ours)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()

    async def end(self) -> None:
        """End every process, undo every fault and remove the scratch directory; leaving, later, finds nothing to do.

        Raises:
            ProcessError: a process could not be ended, or a fault not undone.
        """
        if self._ended:
            return
        self._ended = True
        try:
            await self._parent.leave(END_BOUND_S)
            code = await asyncio.to_thread(self._watchdog.wait, 1)
        except (TimeoutError, subprocess.TimeoutExpired):
            raise ProcessError("watchdog", f"has not ended the run within {END_BOUND_S:g} s") from None
        finally:
            self.journal.close()
        if code != 0:
            raise ProcessError("watchdog", f"ended with {code}, {await asyncio.to_thread(self._mended)}")

    def identity(self, name: str) -> Identity | None:
        """The running process that was spawned under a name; None if there is none."""
        process = self._parent.running(name)
        return Identity.of(process.pid) if process else None

    def _mended(self) -> str:
        """What is left where the watchdog was killed, or gave up, after another try; in words."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        left = mend(self.journal.path, AGAIN_S).left if self.journal.path.exists() else ()
        return "; ".join(("processes of the run may be left", *left))

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
        nice: int = 0,
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
            nice: how far it gives way to others, and its session to theirs: its niceness (sched(7)).

        Raises:
            ProcessError: the program cannot be executed, or the watchdog has gone.
        """
        owner = None if user is None else [user, _group_of(user)]
        return await self._parent.start(name, argv, env=env, log=log, cwd=cwd, stop=stop, nice=nice, user=owner)


def _claim(scratch: Path) -> None:
    """Make the scratch directory, and refuse one with files that the end would remove."""
    scratch.mkdir(parents=True, exist_ok=True)
    if any(scratch.iterdir()):
        raise ProcessError(str(scratch), "is not empty", "the end of the run would remove its files")


def journals_folder() -> Path:
    """Where a user's journals are: ``$BROWNOUT_STATE``, else the user's state folder, which outlives a restart."""
    chosen = os.environ.get("BROWNOUT_STATE")
    return Path(chosen).absolute() if chosen else platformdirs.user_state_path("brownout") / "journals"


def _start_watchdog(theirs: socket.socket, scratch: Path, journal: Journal) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, out of the terminal's reach."""
    life = os.pidfd_open(os.getpid())
    inherited = (theirs.fileno(), life, journal.fileno())
    channel, alive, lock = map(str, inherited)
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_WATCHDOG), channel, alive, str(scratch), lock, str(journal.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=inherited,
            start_new_session=True,
        )
    finally:
        os.close(life)


def _group_of(user: int) -> int:
    try:
        return pwd.getpwuid(user).pw_gid
    except KeyError:  # a uid without an entry, common in containers
        return user
