"""What is broken, written down before it is: a file of JSON lines a run, on disk, which outlives whoever wrote it.

    {"run", "boot"}           first line: process id of the runner, the kernel's boot id
    {"begun": undo}           on disk before the fault is done; `Undo` says how it is undone
    {"undone": undo}          when it is
    {"closed": [...]}         last line: what had to be undone by others than the runner, in words

A run's file is ``<time>-<pid>.open``, and is renamed to ``.closed`` when the system was proved clean. Runner and
watchdog hold its lock: one that is open and not locked has been left by both, and is anybody's to mend.
"""

import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from brownout.errors import FaultError, FileError
from brownout.mending.process import boot_id
from brownout.mending.undoing import Undo, gone_with_boot, undo

__all__ = ["Journal", "Mended", "faults_of", "held", "mend", "mend_lost"]

MEND_S = 5.0
"""How long undoing is tried; a paused machine or a busy Toxiproxy may take a second."""

TRY_EVERY_S = 0.02

KEPT = 20
"""Closed journals that are kept to be read by people."""


class Journal:
    """One run's journal, held open by the runner; every method may be called from any thread.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._open: set[Undo] = set()
        self._writing = threading.Lock()

    @classmethod
    def begin(cls, folder: Path) -> "Journal":
        """Begin a run's journal.

        Args:
            folder: of all journals of a user; made where it is missing.

        Raises:
            FileError: it cannot be written.
        """
        at_ns = time.time_ns()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(at_ns // 10**9))
        path = folder / f"{stamp}.{at_ns % 10**9:09d}-{os.getpid()}.open"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            journal = cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600))
            fcntl.flock(journal._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            journal._write({"run": os.getpid(), "boot": boot_id()}, on_disk=True)
            _sync(folder)
        except OSError as error:
            remedy = "set BROWNOUT_STATE to a folder that can be written"
            raise FileError(str(path), f"cannot be written: {error.strerror}", remedy) from None
        return journal

    def fileno(self) -> int:
        """The descriptor, whose lock whoever inherits it holds as well."""
        return self._descriptor

    def begun(self, *faults: Undo) -> None:
        """Write down that something is about to be broken; it is on disk when this returns (0.3 ms, p99 1.4 ms).

        Raises:
            FaultError: it could not be written, so nothing may be broken.
        """
        try:
            self._write(*({"begun": fault._asdict()} for fault in faults), on_disk=True)
        except OSError as error:
            raise FaultError(str(faults[0]), f"{self.path} cannot be written: {error.strerror}") from None
        self._open.update(faults)

    def undone(self, *faults: Undo) -> None:
        """Write down that something was undone. It may be lost in a crash: to undo it once more does no harm."""
        with suppress(OSError):  # same
            self._write(*({"undone": fault._asdict()} for fault in faults if fault in self._open))
        self._open.difference_update(faults)

    def proxy_mended(self, server: str, proxy: str) -> None:
        """Write down that nothing is left on a proxy; that it is there at all may be another thing to undo."""
        on_it = [fault for fault in self._open.copy() if (fault.server, fault.proxy) == (server, proxy)]
        self.undone(*(fault for fault in on_it if fault.how != "destroy"))

    def close(self) -> None:
        """Let the file go; the watchdog, which holds it too, says when all is undone."""
        with self._writing, suppress(OSError):
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _write(self, *lines: dict[str, Any], on_disk: bool = False) -> None:
        text = "".join("\n" + json.dumps(line) for line in lines).encode()  # so no line is glued to one that was torn
        with self._writing:
            if os.write(self._descriptor, text) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if on_disk:
            os.fdatasync(self._descriptor)


class Mended(NamedTuple):
    """What became of a journal.

    Attributes:
        run: process id of its runner.
        done: what was undone, and how, in words.
        left: what could not be undone, and why, in words; the journal is still open then.
    """

    run: int
    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def mend(path: Path, within_s: float = MEND_S) -> Mended:
    """Undo what a journal says is in force, and close it when nothing is left; its runner has to be gone.

    It is tried again until its time is over: a process takes a moment to be gone.

    Args:
        path: the journal.
        within_s: how long it is tried.
    """
    run, boot, faults = _read(path)
    lost = [fault for fault in faults if boot != boot_id() and gone_with_boot(fault)]
    done = [f"{fault}: gone, the machine was started again" for fault in lost]
    left = _undo_each([fault for fault in reversed(faults) if fault not in lost], done)
    deadline_s = time.monotonic() + within_s  # by now each was tried, however long dozens of containers take
    while left and time.monotonic() < deadline_s:
        time.sleep(TRY_EVERY_S)
        left = _undo_each(list(left), done)
    if not left:
        _close(path, done)
    return Mended(run, tuple(done), tuple(f"{fault}: {cause}" for fault, cause in left.items()))


def mend_lost(folder: Path, within_s: float = MEND_S) -> list[Mended]:
    """Mend every journal of a folder whose runner and watchdog are gone.

    Args:
        folder: of all journals of a user.
        within_s: how long each is tried.
    """
    return [mend(path, within_s) for path, going_on in _open_journals(folder) if not going_on]


def held(folder: Path) -> list[str]:
    """What the runs that go on hold in force, in words; it is left to them."""
    journals = [_read(path) for path, going_on in _open_journals(folder) if going_on]
    return [f"{fault}, by run {run}" for run, _, faults in journals for fault in faults]


def faults_of(path: Path) -> list[Undo]:
    """What a journal says is in force."""
    return _read(path)[2]


def _open_journals(folder: Path) -> Iterator[tuple[Path, bool]]:
    """The journals of a folder that are open, oldest first; held while it is looked at.

    Yields:
        a journal, and whether its run is still going on.
    """
    for path in sorted(folder.glob("*.open")):
        with suppress(FileNotFoundError), _locked(path) as ours:
            if path.exists():  # it may have been closed before it was locked
                yield path, not ours


def _undo_each(faults: list[Undo], done: list[str]) -> dict[Undo, str]:
    """Try each once; adds what was done, and returns what is left, each with its cause.

    Containers take half a second each, dozens of them, so all at the same time, and beside the rest.
    """
    left = {}

    def attempt(fault: Undo) -> None:
        try:
            done.append(f"{fault}: {undo(fault)}")
        except FaultError as error:
            left[fault] = error.cause

    removing = [threading.Thread(target=attempt, args=(fault,)) for fault in faults if fault.container]
    for thread in removing:
        thread.start()
    for fault in faults:
        if not fault.container:
            attempt(fault)
    for thread in removing:
        thread.join()
    return left


def _read(path: Path) -> tuple[int, str, list[Undo]]:
    """The runner, the boot, and what is in force. A last line that a power cut tore was never acted on."""
    run, boot = 0, ""
    faults: dict[Undo, None] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, KeyError, TypeError):  # torn, or of another version
            match json.loads(line):
                case {"run": int(run), "boot": str(boot)}:
                    pass
                case {"begun": fault}:
                    faults[Undo.read(fault)] = None
                case {"undone": fault}:
                    faults.pop(Undo.read(fault), None)
    return run, boot, list(faults)


def _close(path: Path, said: list[str]) -> None:
    with path.open("a", encoding="utf-8") as journal:
        journal.write("\n" + json.dumps({"closed": said}) + "\n")
        journal.flush()
        os.fsync(journal.fileno())
    path.rename(path.with_suffix(".closed"))
    for old in sorted(path.parent.glob("*.closed"))[:-KEPT]:
        old.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold a journal's lock; yields whether it could be had."""
    with path.open("rb") as journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
