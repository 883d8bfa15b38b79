"""What happened in a load run, as generators tell it: lines of which a recording is made."""

from typing import Any

import msgspec

from brownout.history import Outcome

__all__ = ["Line", "decoded", "encoded"]


class Line(msgspec.Struct, frozen=True, array_like=True):
    """Something that began and ended, or stands alone; the words are those of `brownout.history.Event`.

    Attributes:
        actor: who did it.
        action: what was done.
        begin_ns: when it began, Unix nanoseconds.
        end_ns: when it ended; None: it has no length.
        outcome: how it ended.
        begun: what was known when it began.
        ended: what was known when it had ended.
        trace_id: the trace that it started.
    """

    actor: str
    action: str
    begin_ns: int
    end_ns: int | None = None
    outcome: Outcome = Outcome.OK
    begun: dict[str, Any] = {}
    ended: dict[str, Any] = {}
    trace_id: str = ""


def encoded(lines: list[Line]) -> bytes:
    """Lines, fit to be sent."""
    return msgspec.msgpack.encode(lines)


def decoded(raw: bytes) -> list[Line]:
    """Lines that were sent."""
    return msgspec.msgpack.decode(raw, type=list[Line])
