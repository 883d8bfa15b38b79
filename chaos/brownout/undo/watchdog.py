"""The process behind a run: it starts its processes, and ends them and undoes its faults when the runner is gone.

It is run by its path with the standard library alone, so it stands within a few hundredths of a second:
``python -I -S watchdog.py <socket to the runner> <pidfd of the runner> <scratch directory> <lock> <journal>``, where
the socket, the pidfd and the journal's lock are inherited descriptors. Lines of JSON, to it:

    {"id", "argv", "env", "cwd", "log", "user": [uid, gid] or null, "stop", "nice"}     start a process
    {"id", "signal"}                                                           send it a signal

and from it ``{"id", "pid"}`` or ``{"id", "cause"}`` for a start, ``{"id", "code", "at_ns"}`` for an end.

It is a subreaper: when a process ends, what that process had started becomes the watchdog's own child. So to
end everything, however deep or detached, is to kill one's children until there are none; and since a child's
pid stays taken until it is waited for, no signal of the watchdog can ever meet a stranger.

What the run had broken is undone from its journal, at the same time: the run may have broken what is not its own.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

sys.path.append(str(Path(__file__).parents[2]))  # run by its path, it knows of no package

from brownout.mending import Mended, mend

GRACE_S = 1.0
"""How long a process may take over its own stop signal when all is ended."""

SURRENDER_S = 10.0
"""When to give up on a process that SIGKILL does not end: one stuck in the kernel, or of another user."""

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals meant for the runner, whose end is the only order to leave."""

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)  # loaded before the first fork: a child does no more than it must


class _Child(NamedTuple):
    """A process that was asked for and has not been waited for yet."""

    id: int
    stop: int


class _Watchdog:
    """Does what the runner says, and tells it who ended.

    Args:
        runner: the socket to the runner.
        life: pidfd of the runner, watched as well, since a fork of the runner may hold the socket open.
    """

    def __init__(self, runner: socket.socket, life: int) -> None:
        self._runner = runner
        self._life = life
        self._woken, wake = _wake_on_exits()
        self._children: dict[int, _Child] = {}
        self._unread = b""
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Start, signal and report until the runner is gone."""
        poll = select.poll()
        for source in (self._runner.fileno(), self._woken, self._life):
            poll.register(source, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._woken in ready:
                self._reap()
            if self._life in ready or (self._runner.fileno() in ready and not self._receive()):
                return

    def end_all(self) -> bool:
        """End every descendant, by SIGKILL where it has no stop signal of its own or outlasts ``GRACE_S``.

        Returns:
            whether none is left.
        """
        begun_s = time.monotonic()
        gentle = {pid for pid, child in self._children.items() if child.stop != signal.SIGKILL}
        for pid in gentle:
            _send(pid, self._children[pid].stop)
            _send(pid, signal.SIGCONT)  # one that a fault has paused could not act on it
        while self._reap():
            elapsed_s = time.monotonic() - begun_s
            if elapsed_s > SURRENDER_S:
                return False
            for pid in _own_children() - (gentle if elapsed_s < GRACE_S else set()):
                _send(pid, signal.SIGKILL)
            select.select([self._woken], [], [], 0.02)
        return True

    def _receive(self) -> bool:
        """Follow the orders that have come; False when there will be no more."""
        try:
            chunk = self._runner.recv(1 << 16)
        except ConnectionError:
            return False
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        for line in lines:
            self._follow(json.loads(line))
        return bool(chunk)

    def _follow(self, order: dict[str, Any]) -> None:
        if "argv" in order:
            self._start(order)
            return
        for pid, child in self._children.items():
            if child.id == order["id"]:
                _send(pid, order["signal"])

    def _start(self, order: dict[str, Any]) -> None:
        try:
            pid = _fork(order)
        except OSError as error:
            self._tell(id=order["id"], cause=_in_words(error))
        else:
            self._children[pid] = _Child(order["id"], order["stop"])
            self._tell(id=order["id"], pid=pid)

    def _reap(self) -> bool:
        """Wait for all that have ended; False when there is no child at all."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 1 << 16)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                if child := self._children.pop(pid, None):
                    code = os.waitstatus_to_exitcode(status)
                    self._tell(id=child.id, code=code, at_ns=time.monotonic_ns())
            return True
        return False

    def _tell(self, **message: object) -> None:
        with contextlib.suppress(ConnectionError):  # a runner that is gone need not know
            self._runner.sendall(json.dumps(message).encode() + b"\n")


def _wake_on_exits() -> tuple[int, int]:
    """Make a pipe, read end first, that SIGCHLD makes readable."""
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    return woken, wake


def _own_children() -> set[int]:
    return {int(pid) for pid in Path("/proc/thread-self/children").read_text().split()}


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(PermissionError):  # it has become another user; all others still need the watchdog
        os.kill(pid, number)


def _fork(order: dict[str, Any]) -> int:
    """Start a process and return its pid, or raise the OSError that kept it from starting."""
    failed, failure = os.pipe()  # the child's end closes by itself when its program begins
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(order, parent, failure)
    os.close(failure)
    with open(failed, "rb") as report:  # noqa: PTH123  a descriptor, not a path
        cause = report.read()
    if cause:
        os.waitpid(pid, 0)
        raise OSError(*json.loads(cause))
    return pid


def _become(order: dict[str, Any], parent: int, failure: int) -> NoReturn:
    """Turn a fork of the watchdog into the program asked for; what fails goes down the pipe ``failure``."""
    try:
        os.setsid()
        _give_way(order["nice"])
        _reset_signals()
        _redirect(order["log"])
        os.chdir(order["cwd"])
        if order["user"]:
            _named("its user", _take_user, *order["user"])
        _die_with(parent)
        _named(order["argv"][0], os.execvpe, order["argv"][0], order["argv"], order["env"])
    except OSError as error:
        os.write(failure, json.dumps([error.errno, error.strerror, error.filename]).encode())
    except Exception as error:  # noqa: BLE001  nothing may return into the watchdog's own loop
        os.write(failure, json.dumps([0, str(error), order["argv"][0]]).encode())
    finally:
        os._exit(127)


def _give_way(nice: int) -> None:
    """Take a niceness, for the session as well: Linux shares the processors out among sessions first (sched(7))."""
    if nice:
        os.nice(nice)
        with contextlib.suppress(OSError):  # a kernel without autogroups
            Path("/proc/self/autogroup").write_text(str(nice))


def _reset_signals() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _redirect(log: str) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _take_user(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when the watchdog dies. After setuid, which would clear it."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(127)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "prctl")


def _named(subject: str, call: Callable[..., object], *arguments: object) -> None:
    """Call, and name what an OSError is about: the search along PATH, for one, names its last place only."""
    try:
        call(*arguments)
    except OSError as error:
        raise OSError(error.errno, error.strerror, subject) from None


def _in_words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def _detach(*descriptors: int) -> None:
    """Take from the runner nothing that could end the watchdog, or that its children could inherit."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # noqa: FBT003  it takes no keyword
    os.chdir("/")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


class _Mending:
    """The journal's faults being undone, beside the end of all processes: neither waits for the other."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._mended: Mended | None = None
        self._thread = threading.Thread(target=self._mend, daemon=True)
        self._thread.start()

    def done(self) -> bool:
        """Wait for its end; whether nothing is left in force."""
        self._thread.join()
        return self._mended is not None and not self._mended.left

    def _mend(self) -> None:
        with contextlib.suppress(OSError):  # it is gone, or its disk is full
            self._mended = mend(self._journal)


def main(descriptor: int, life: int, scratch: str, lock: int, journal: str) -> int:
    """Watch until the runner is gone, then leave nothing of the run.

    Args:
        descriptor: of the socket to the runner.
        life: pidfd of the runner.
        scratch: absolute path of the directory to remove at the end.
        lock: descriptor of the journal, whose lock is held as long as this process lives.
        journal: absolute path of the same.

    Returns:
        0, or 1 when a process is left that could not be ended, or a fault that could not be undone.
    """
    _detach(descriptor, life, lock)
    with socket.socket(fileno=descriptor) as runner:
        watchdog = _Watchdog(runner, life)
        try:
            watchdog.serve()
        finally:  # a fault of its own included
            mending = _Mending(Path(journal))
            all_ended = watchdog.end_all()
            all_undone = mending.done()
            shutil.rmtree(scratch, ignore_errors=True)
    return 0 if all_ended and all_undone else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]))
