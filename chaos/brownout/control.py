"""What the holder of a running system can be asked, and asking it: a line of JSON each way on a Unix socket."""

import asyncio
import contextlib
from asyncio import StreamReader, open_unix_connection
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from brownout.errors import BrownoutError, CellError

__all__ = ["Answer", "Heal", "Inject", "Injected", "Lifted", "Look", "Refused", "Request", "Standing", "asked"]


UNDONE_WITHIN_S = 60.0
"""Longest wait for what was not to outlive the asking: a terminated service has 35 s to end, and starts again."""


class Inject(msgspec.Struct, frozen=True, tag="inject"):
    """Put a fault in force, in words as `brownout.faults.spoken` has them.

    One that is not ``lasting`` is lifted when the connection that asked for it ends.
    """

    words: tuple[str, ...]
    lasting: bool


class Heal(msgspec.Struct, frozen=True, tag="heal"):
    """Lift every fault, whoever put it there."""


class Look(msgspec.Struct, frozen=True, tag="look"):
    """Say how the system is."""


class Injected(msgspec.Struct, frozen=True, tag="injected"):
    """A fault is in force as read back; whether it was seen to bite, and what was seen."""

    fault: str
    bit: bool
    seen: str

    def __str__(self) -> str:
        return f"{self.fault}: in force, {'seen' if self.bit else 'but not seen to act'}: {self.seen}"


class Lifted(msgspec.Struct, frozen=True, tag="lifted"):
    """What was lifted; nothing is left of it."""

    faults: tuple[str, ...]


class Standing(msgspec.Struct, frozen=True, tag="standing"):
    """How a system is: each service's own word, the faults that are held, and what Toxiproxy says is broken."""

    health: dict[str, str]
    held: tuple[str, ...]
    broken: tuple[str, ...]

    @property
    def well(self) -> bool:
        """Whether every service is UP and no fault is in force."""
        return not self.held and not self.broken and set(self.health.values()) <= {"UP"}


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """What was asked could not be done: the parts of a `BrownoutError`."""

    subject: str
    cause: str
    remedy: str

    @classmethod
    def of(cls, error: BrownoutError) -> "Refused":
        """The same, fit to be sent."""
        return cls(error.subject, error.cause, error.remedy)

    def error(self) -> BrownoutError:
        """The same, fit to be raised."""
        return BrownoutError(self.subject, self.cause, self.remedy)


Request = Inject | Heal | Look
Answer = Injected | Lifted | Standing | Refused


@asynccontextmanager
async def asked(control: str, request: Request) -> AsyncIterator[Answer]:
    """Ask the holder; yields its answer, and returns when it has undone what was not to outlive the asking.

    Args:
        control: the path of its socket.
        request: what is asked.

    Raises:
        BrownoutError: it refused, or could not undo it.
        CellError: it has gone.
    """
    try:
        reader, writer = await open_unix_connection(control)
    except OSError as error:
        raise CellError("the system", f"cannot be asked: {error}") from None
    try:
        writer.write(msgspec.json.encode(request) + b"\n")
        if (answer := await _answer(reader)) is None:
            raise CellError("the system", "has gone while it was asked")
        yield answer
    finally:  # cancelled as well: what was asked for a while is lifted before we go
        with contextlib.suppress(OSError, TimeoutError):
            writer.write_eof()
            async with asyncio.timeout(UNDONE_WITHIN_S):
                await _answer(reader)
        writer.close()


async def _answer(reader: StreamReader) -> Answer | None:
    """The next answer; None when there will be none."""
    line = await reader.readline()
    answer: Answer | None = msgspec.json.decode(line, type=Answer) if line else None
    if isinstance(answer, Refused):
        raise answer.error()
    return answer
