"""Starts the shop's services by forking a process that has loaded them: ``python -m brownout_shop.launcher <socket>``.

To import what a service is made of takes longer than all else it does until it serves; here that is done once.
The launcher listens on a Unix socket, takes one connection, and does what comes over it, in lines of JSON:

    {"id", "argv", "env", "cwd", "log", "nice", …}     start a process
    {"id", "signal"}                           send it a signal

and answers ``{"id", "pid"}`` or ``{"id", "cause"}`` to a start, ``{"id", "code", "at_ns"}`` at an end. When the
connection ends, so does the launcher, and with it, at once, all that it has started.

A service becomes a fork that leaves the launcher's loop and goes on to the end of this file, as a new interpreter
would go through `brownout_shop.__main__`. Anything else that is ordered is executed from the fork.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from importlib import import_module
from typing import Any, get_args

from brownout_shop import __main__ as program
from brownout_shop.fork import fork, name_process
from brownout_shop.serve import Name

__all__ = ["main", "preload"]

LATE = (
    "grpc._utilities",
    "pydantic.v1",  # which FastAPI looks for in every route
    "uvicorn.lifespan.off",
)
"""What libraries import only when they are used."""


def main() -> int:
    """Launch until the connection ends; in a fork, be the service, and return its exit code."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen(1)
        preload()
        name_process("launcher")
        runner, _ = listener.accept()
    order = _Launcher(runner).serve()
    if order is None:
        return 0
    sys.argv[1:] = order["argv"][3:]
    return program.main()


def preload() -> None:
    """Import what the services are made of, and have the garbage collector leave it alone.

    Collecting would write to every page, which the forks share as long as nobody does.
    """
    for module in (*(f"brownout_shop.{name}.app" for name in get_args(Name)), *LATE):
        try:
            import_module(module)
        except Exception:  # noqa: BLE001  it fails the services that need it, as it would without a launcher
            traceback.print_exc()
    sys.stdout.flush()  # or each fork would say it again
    gc.collect()
    gc.freeze()


class _Launcher:
    """Does what the runner says, and tells it who ended."""

    def __init__(self, runner: socket.socket) -> None:
        self._runner = runner
        self._woken, wake = _wake_on_exits()
        self._children: dict[int, int] = {}
        self._unread = b""
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def serve(self) -> dict[str, Any] | None:
        """Start, signal and report until the runner is gone.

        Returns:
            None; in a fork that is to be a service, its order.
        """
        poll = select.poll()
        poll.register(self._runner, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._woken in ready:
                self._reap()
            if self._runner.fileno() not in ready:
                continue
            if not (chunk := self._receive()):
                self._runner.close()
                return None
            *lines, self._unread = (self._unread + chunk).split(b"\n")
            for order in map(json.loads, lines):
                if self._follow(order):
                    return dict(order)

    def _receive(self) -> bytes:
        """Take what has come; nothing when there will be no more."""
        try:
            return self._runner.recv(1 << 16)
        except ConnectionError:
            return b""

    def _follow(self, order: dict[str, Any]) -> bool:
        """Follow an order; True in a fork that is to be a service."""
        if "argv" in order:
            return self._start(order)
        for pid, number in self._children.items():
            if number == order["id"]:
                os.kill(pid, order["signal"])
        return False

    def _start(self, order: dict[str, Any]) -> bool:
        try:
            pid = fork(order, self._runner)
        except OSError as error:
            self._tell(id=order["id"], cause=f"{error.filename}: {error.strerror}")
            return False
        if pid:
            self._children[pid] = order["id"]
            self._tell(id=order["id"], pid=pid)
        return pid == 0

    def _reap(self) -> None:
        """Wait for all that have ended."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 1 << 16)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                number = self._children.pop(pid)
                self._tell(id=number, code=os.waitstatus_to_exitcode(status), at_ns=time.monotonic_ns())

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


if __name__ == "__main__":
    sys.exit(main())
