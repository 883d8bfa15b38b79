"""Whether the host was fit to measure on; what it cannot do is to excuse everything, for a gate keeps it busy."""

from collections.abc import Iterator

from brownout.history import Event
from brownout.recording import Recording

__all__ = ["LATE_S", "SATURATED", "STARVED_S", "STOLEN", "check"]

SATURATED = 0.98
"""A second with so much of the processors' time in use left nothing over; a gate on two uses 0.75 to 0.9."""

LATE_S = 0.1
"""The harness came late by so much: what its pulse notes."""

STARVED_S = 10
"""Seconds in a row. In gates of 39 promises on two processors that could be judged there were up to seven in which the
harness was late in each, in those that could not twenty and more."""

STOLEN = 0.1
"""Of the processors' time, given to other machines by the hypervisor: all that was measured took longer by as much."""


def check(recording: Recording) -> str | None:
    """How the machine may have broken a promise; None when it was fit.

    It takes a FAIL away, and never a PASS: a system that kept its times on a starved machine kept them. Busy alone
    excuses nothing. Starved is a stretch of seconds in each of which nothing of the processors was left over *and* the
    harness itself came late: what was late then need not be the system's doing. Shorter hold-ups are `punctual`'s.
    """
    samples = recording.history.alone("engine", "host")
    whole_s = sum(event.detail["sampled_s"] for event in samples)
    stolen_s = sum(event.detail["sampled_s"] * event.detail["stolen"] for event in samples)
    if stolen_s > STOLEN * whole_s:
        return f"the machine was starved: {100 * stolen_s / whole_s:.0f} % of its processors' time was given to others"
    longest_s = max(_starved_s(recording, samples), default=0.0)
    if longest_s < STARVED_S:
        return None
    return (
        f"the machine was starved: for {longest_s:.0f} s nothing of its processors was left, and the harness was late"
    )


def _starved_s(recording: Recording, samples: list[Event]) -> Iterator[float]:
    """How long each stretch of starved seconds was, up to each of them."""
    late_ns = [one.at_ns for one in recording.history.alone("engine", "late") if one.detail["late_s"] > LATE_S]
    stretch_s = 0.0
    for event in samples:
        from_ns = event.at_ns - event.detail["sampled_s"] * 1e9
        held_up = any(from_ns <= at_ns <= event.at_ns for at_ns in late_ns)
        starved = event.detail["busy"] >= SATURATED and held_up
        stretch_s = stretch_s + event.detail["sampled_s"] if starved else 0.0
        yield stretch_s
