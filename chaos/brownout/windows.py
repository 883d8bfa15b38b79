"""When a fault was on: surely between its entry's end and its lift's beginning, perhaps a little longer."""

import msgspec

from brownout.history import Event, History, Operation, Outcome

__all__ = ["Window", "windows"]


class Window(msgspec.Struct, frozen=True):
    """One fault from its entry to its lift; times in Unix nanoseconds.

    Attributes:
        fault: the fault in words.
        entered: the operation that put it in force.
        canary: the look, from outside, whether it acts; None when nobody looked.
        lifted: the operation that took it away; None when it never was.
    """

    fault: str
    entered: Operation
    canary: Operation | None
    lifted: Operation | None

    @property
    def whole(self) -> bool:
        """Whether it was put in force and taken away, both as asked."""
        return self.entered.ok and self.lifted is not None and self.lifted.ok

    @property
    def surely_ns(self) -> tuple[int, int]:
        """The time in which it was on without a doubt; only a whole window has one."""
        assert self.entered.completed is not None  # noqa: S101 - a whole window, see above
        assert self.lifted is not None  # noqa: S101 - same
        return self.entered.completed.at_ns, self.lifted.sent_ns

    @property
    def perhaps_ns(self) -> tuple[int, int]:
        """The time outside of which it was off without a doubt; only a whole window has one."""
        assert self.lifted is not None  # noqa: S101 - a whole window, see above
        assert self.lifted.completed is not None  # noqa: S101 - same
        return self.entered.sent_ns, self.lifted.completed.at_ns


def windows(history: History, fault: str | None = None) -> list[Window]:
    """The windows of one fault, or of all, in the order of their entries."""
    return [
        _window(history, entered)
        for entered in history.operations("fault")
        if fault is None or entered.invoked.action == fault
    ]


def _window(history: History, entered: Operation) -> Window:
    """A fault is not entered again before it is lifted, so what follows an entry up to the next one is its own."""
    fault = entered.invoked.action
    followed: dict[str, Operation] = {}
    ends = {event.of: event for event in history.events if event.of >= 0}
    for event in history.events[entered.invoked.index + 1 :]:
        if event.action != fault or event.outcome is not Outcome.INVOKED:
            continue
        if event.actor == "fault":
            break
        followed[event.actor] = Operation(event, _end(ends, event))
    return Window(fault, entered, followed.get("canary"), followed.get("lift"))


def _end(ends: dict[int, Event], event: Event) -> Event | None:
    return ends.get(event.index)
