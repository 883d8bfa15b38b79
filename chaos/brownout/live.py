"""A system that is up and held by a process of its own: how it is found and ended.

``brownout up`` writes ``runs/up/state.json`` (see `State`). What is broken by hand is held open by that process, the
holder, as a scenario's engine would hold it: the same faults, and gone with it however it ends.
"""

import contextlib
import fcntl
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from brownout.errors import CellError, FileError, ProcessError
from brownout.mending import began_at

__all__ = ["State", "claimed", "end_system", "holder_log", "is_up", "running_system", "write_state"]

END_S = 25.0
"""Longest that an end may take: the holder's own bound is 15 s, and a launcher's second comes on top."""


class State(msgspec.Struct, frozen=True):
    """What ``state.json`` says of a system that is up or starting.

    Attributes:
        pid: of the holder.
        began_at: when the holder began, in clock ticks since boot: a pid that is used again differs.
        topology: the file it was started from.
        entry: the service that users talk to.
        addresses: of each service, ``http://host:port``; empty while it is starting.
        servers: of toxiproxy, consul, jaeger and prometheus, ``http://host:port``; empty while it is starting.
        control: the Unix socket on which the holder takes requests, in the run's scratch folder; the watchdog
            removes that folder when nothing of the run is left.
    """

    pid: int
    began_at: int
    topology: str
    entry: str
    addresses: dict[str, str] = {}
    servers: dict[str, str] = {}
    control: str = ""


def is_up(runs: Path) -> bool:
    """Whether a system is up, or starting, below a ``runs`` folder.

    Raises:
        FileError: the state cannot be read.
    """
    try:
        state = _read(runs)
    except CellError:
        return False
    return began_at(state.pid) == state.began_at


def running_system(runs: Path) -> State:
    """The system that is up, ready to be used.

    Args:
        runs: the folder below which ``up/state.json`` lies.

    Raises:
        CellError: nothing is up, or it is still starting.
        FileError: the state cannot be read.
    """
    state = _read(runs)
    if began_at(state.pid) != state.began_at:
        raise CellError("nothing is up", f"what was has lost its holder, process {state.pid}", "brownout up starts it")
    if not state.addresses:
        raise CellError("the system", "is still starting", "brownout down ends it")
    return state


def end_system(runs: Path) -> str:
    """End the system that is up or starting; returns when nothing is left of it, with what happened in words.

    Raises:
        CellError: nothing is up, and nothing was left.
        ProcessError: it did not end in time.
    """
    state = _read(runs)
    ended = _end_holder(state)
    scratch = Path(state.control).parent if state.control else None
    if not _within(END_S, lambda: scratch is None or not scratch.exists()):
        raise ProcessError(
            f"process {state.pid}", f"what it had started is not gone after {END_S:g} s", f"see {scratch}"
        )
    with contextlib.suppress(BlockingIOError), _locked(runs / "up"):  # another one may be up by now
        (runs / "up" / "state.json").unlink(missing_ok=True)
    return "the system is down" if ended else f"its holder, process {state.pid}, had gone before; nothing of it is left"


def _end_holder(state: State) -> bool:
    """Ask the holder to end and see it gone; False when it had gone before. Another's process is never signalled."""
    try:
        holder = os.pidfd_open(state.pid)
    except ProcessLookupError:
        return False
    try:
        if began_at(state.pid) != state.began_at:  # asked after the pidfd was opened, so both mean one process
            return False
        signal.pidfd_send_signal(holder, signal.SIGTERM)
        if not select.select([holder], [], [], END_S)[0]:
            raise ProcessError(f"process {state.pid}", f"has not ended within {END_S:g} s")
    finally:
        os.close(holder)
    return True


@contextmanager
def claimed(runs: Path) -> Iterator[Path]:
    """Hold the one place of a system that is up: yields its folder, and leaves no state behind.

    Raises:
        CellError: one is up.
        FileError: the folder cannot be written.
    """
    folder = runs / "up"
    with contextlib.ExitStack() as claim:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            claim.enter_context(_locked(folder))
        except BlockingIOError:
            raise CellError(str(folder), "a system is up already", "brownout down ends it") from None
        except OSError as error:
            raise FileError(str(folder), f"cannot be written: {error.strerror}") from None
        for log in set(folder.glob("*.log")) - {holder_log(runs)}:
            log.unlink()
        claim.callback((folder / "state.json").unlink, missing_ok=True)
        yield folder


def holder_log(runs: Path) -> Path:
    """Where a holder in the background writes what it has to say; kept from one system to the next."""
    return runs / "up" / "holder.log"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with its process; BlockingIOError if another has it."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def write_state(folder: Path, state: State) -> None:
    """Write the state down, all of it or nothing."""
    part = folder / "state.json.part"
    part.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
    part.rename(folder / "state.json")


def _read(runs: Path) -> State:
    path = runs / "up" / "state.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        raise CellError("nothing is up", f"there is no {path}", "brownout up starts it") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise FileError(str(path), f"cannot be read: {error}") from None


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True
