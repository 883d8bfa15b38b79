"""A holder in the background: a process of its own session, which tells whoever started it how the start goes."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

from brownout.control import Refused
from brownout.errors import BrownoutError, CellError, ProcessError
from brownout.holder import hold_system
from brownout.live import State, holder_log, running_system
from brownout.stopping import Stopped, unless_stopped
from brownout.world import Say

__all__ = ["start_system"]

END_S = 30.0
"""How long a holder that is asked to end while it starts may take."""


class _Said(msgspec.Struct, frozen=True, tag="said"):
    """What a subject is doing."""

    subject: str
    phase: str
    fraction: float | None


class _Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The system is up; the holder has no more to say."""


_Message = _Said | _Ready | Refused


async def start_system(topology: Path, runs: Path, stop: asyncio.Event, say: Say) -> State:
    """Start the system and leave it to its holder; returns when it is up.

    Args:
        topology: the file that says how it is wired.
        runs: the folder below which its state and logs go, in ``up``.
        stop: asks to end while it starts.
        say: told each phase.

    Raises:
        BrownoutError: one is up already, or it could not be started; nothing of it is left.
        Stopped: ``stop`` was set before it was up; nothing of it is left.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        holder = _spawn(topology, runs, theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        await unless_stopped(_until_ready(reader, say), stop)
    except BaseException as error:
        writer.close()  # which asks it to end
        await _ended(holder)
        if isinstance(error, EOFError):
            told = f"ended with exit code {holder.returncode} while starting"
            raise ProcessError("holder", told, f"see {holder_log(runs)}") from None
        raise
    writer.close()
    return running_system(runs)


def _spawn(topology: Path, runs: Path, theirs: socket.socket) -> subprocess.Popen[bytes]:
    log = holder_log(runs)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", __name__, str(topology), str(runs), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
    except OSError as error:
        raise CellError(str(log.parent), f"cannot be written: {error.strerror}") from None


async def _until_ready(reader: asyncio.StreamReader, say: Say) -> None:
    """Pass on what the holder says; EOFError when it ends without a word."""
    while line := await reader.readline():
        match msgspec.json.decode(line, type=_Message):
            case _Said(subject, phase, fraction):
                say(subject, phase, fraction)
            case Refused() as refused:
                raise refused.error()
            case _Ready():
                return
    raise EOFError


async def _ended(holder: subprocess.Popen[bytes]) -> None:
    """See the holder end, and kill it when it does not: its watchdog ends the rest."""
    try:
        await asyncio.to_thread(holder.wait, END_S)
    except subprocess.TimeoutExpired:
        holder.kill()
        await asyncio.to_thread(holder.wait)


async def _hold(topology: Path, runs: Path, report: socket.socket) -> None:
    """Be the holder: end on SIGTERM, or when whoever started it goes before it is up."""
    reader, writer = await asyncio.open_connection(sock=report)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def tell(message: _Message) -> None:
        if not writer.is_closing():
            writer.write(msgspec.json.encode(message) + b"\n")

    async def starter_gone() -> None:
        await reader.read()
        stop.set()

    def ready(_: State) -> None:
        leaning.cancel()
        tell(_Ready())
        writer.close()

    leaning = asyncio.create_task(starter_gone())
    try:
        await hold_system(topology, runs, stop, lambda *said: tell(_Said(*said)), ready)
    except BrownoutError as error:
        tell(Refused.of(error))
        print(f"brownout: {error}", file=sys.stderr)  # noqa: T201  the log, for when nobody listens any longer
        raise SystemExit(1) from None
    finally:
        leaning.cancel()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def main(topology: str, runs: str, report: str) -> None:
    """Be the holder; ``report`` is the descriptor of a socket to whoever started it."""
    with contextlib.suppress(Stopped):
        asyncio.run(_hold(Path(topology), Path(runs), socket.socket(fileno=int(report))))


if __name__ == "__main__":
    main(*sys.argv[1:])
