"""Lanes of bars on an axis of seconds: what was going on, from when to when."""

from collections.abc import Iterable

import msgspec

__all__ = ["Axis", "Bar", "Lane", "States", "packed"]


class Bar(msgspec.Struct, frozen=True):
    """Something that lasted.

    Attributes:
        name: what it was.
        from_s: when it began.
        to_s: when it ended.
        tone: how it is drawn: ``phase``, ``fault``; ``ok``, ``failed``, ``unknown``; ``well``, ``between``, ``ill``.
        more: the rest of what there is to say of it.
    """

    name: str
    from_s: float
    to_s: float
    tone: str
    more: str = ""


class Lane(msgspec.Struct, frozen=True):
    """Bars that do not overlap, or have one name."""

    name: str
    bars: tuple[Bar, ...]


class States(msgspec.Struct, frozen=True):
    """What a system said of its states.

    Attributes:
        title: what they are of.
        lanes: of those that changed, or were not well.
        others: how many were well all the time.
        well: what they said.
        order: all states, from well to ill.
    """

    title: str
    lanes: tuple[Lane, ...]
    others: int
    well: str
    order: tuple[str, ...]


class Axis(msgspec.Struct, frozen=True):
    """A time, in Unix nanoseconds."""

    begin_ns: int
    end_ns: int

    @property
    def length_s(self) -> float:
        """How long it is."""
        return (self.end_ns - self.begin_ns) / 1e9

    def at_s(self, at_ns: int) -> float:
        """Seconds from its beginning, none before it and none after its end."""
        return (min(max(at_ns, self.begin_ns), self.end_ns) - self.begin_ns) / 1e9

    def bar(self, name: str, begun_ns: int, ended_ns: int | None, tone: str, more: str = "") -> Bar:
        """A bar on it; what did not end lasts to the axis' own end."""
        return Bar(name, self.at_s(begun_ns), self.at_s(ended_ns or self.end_ns), tone, more)


def packed(name: str, bars: Iterable[Bar]) -> tuple[Lane, ...]:
    """Bars in as few lanes as have none over another; the first lane has the name of all."""
    lanes: list[list[Bar]] = []
    for bar in sorted(bars, key=lambda bar: (bar.from_s, -bar.to_s)):
        free = next((lane for lane in lanes if lane[-1].to_s <= bar.from_s), None)
        if free is None:
            lanes.append(free := [])
        free.append(bar)
    return tuple(Lane("" if number else name, tuple(lane)) for number, lane in enumerate(lanes))
