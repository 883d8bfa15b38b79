"""Makes forks of the launcher what was ordered: a service in this interpreter, or any other program."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["READ_AT_START", "fork", "name_process"]

READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "GLIBC_", "MALLOC_", "OTEL_")
"""How variables begin that an interpreter, or a library, reads once and for all."""

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_NAME = 15

_GIVEN = dict(
    os.fsdecode(line).split("=", 1) for line in Path("/proc/self/environ").read_bytes().split(b"\0") if b"=" in line
)
"""The launcher's own environment as it was given; an interpreter without a locale sets itself one."""

_libc = ctypes.CDLL(None, use_errno=True)  # loaded before the first fork


def fork(order: dict[str, Any], runner: socket.socket) -> int:
    """Start what an order of the launcher's asks for.

    Args:
        order: its ``argv``, ``env``, ``cwd`` and ``log``, and perhaps ``nice``.
        runner: the launcher's connection, which a child closes.

    Returns:
        As fork does: the process's id, and 0 in a child that is to be a service.

    Raises:
        OSError: it could not be started; the filename is what that is about.
    """
    failed, failure = os.pipe()  # the child's end closes when its program begins
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        runner.close()
        _become(order, parent, failure)
        os.close(failure)
        return 0
    os.close(failure)
    with open(failed, "rb") as report:  # noqa: PTH123  a descriptor, not a path
        cause = report.read()
    if cause:
        os.waitpid(pid, 0)
        raise OSError(*json.loads(cause))
    return pid


def _become(order: dict[str, Any], parent: int, failure: int) -> None:
    """Make a fork of the launcher what was ordered, and return if that is a service."""
    try:
        os.setsid()
        _give_way(order.get("nice", 0))
        _die_with(parent)
        signal.set_wakeup_fd(-1)
        _default_signals()
        os.closerange(3, failure)
        os.closerange(failure + 1, os.sysconf("SC_OPEN_MAX"))
        _redirect(order["log"])
        os.chdir(order["cwd"])
        if not _is_service(order):
            _execute(order)
        _take_signals()
        _take_environment(order)
    except BaseException as error:  # noqa: BLE001  nothing may return into the launcher's own loop
        _fail(error, order["argv"][0], failure)


def _give_way(nice: int) -> None:
    """Take a niceness, for the session as well: Linux shares the processors out among sessions first (sched(7))."""
    if nice:
        os.nice(nice)
        with contextlib.suppress(OSError):  # a kernel without autogroups
            Path("/proc/self/autogroup").write_text(str(nice))


def _fail(error: BaseException, subject: str, failure: int) -> NoReturn:
    number, cause, about = 0, str(error), subject
    if isinstance(error, OSError):
        number, cause, about = error.errno or 0, error.strerror or cause, error.filename or subject
    os.write(failure, json.dumps([number, cause, about]).encode())
    os._exit(127)


def _is_service(order: dict[str, Any]) -> bool:
    """Whether a fork can be it: this package, run by this interpreter, that would start as this one has."""
    ours = [sys.executable, "-m", __package__]
    return order["argv"][:3] == ours and _read_at_start(order["env"]) == _read_at_start(_GIVEN)


def _default_signals() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)  # what a shell or an interpreter ignores would be inherited


def _take_signals() -> None:
    """Handle signals as an interpreter that starts does."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environment.items() if key.startswith(READ_AT_START)}


def _take_environment(order: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    name_process(order["argv"][-1])


def name_process(name: str) -> None:
    """Give this process a name, which ``top`` shows."""
    _prctl(PR_SET_NAME, ctypes.c_char_p(os.fsencode(name)))


def _execute(order: dict[str, Any]) -> NoReturn:
    try:
        os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606  no shell is wanted
    except OSError as error:  # it names the last place of the search along PATH
        raise OSError(error.errno, error.strerror, order["argv"][0]) from None


def _redirect(log: str) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, source in enumerate((nothing, output, output)):
        os.dup2(source, descriptor)
    os.close(nothing)
    os.close(output)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when the launcher dies."""
    _prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(127)


def _prctl(option: int, value: ctypes.c_ulong | ctypes.c_char_p) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "prctl")
