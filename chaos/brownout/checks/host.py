"""Whether the host was fit to measure on; what it cannot do is to excuse everything, for a gate keeps it busy."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from brownout.history import Event, History
from brownout.recording import Recording

__all__ = ["AROUND_S", "LATE_S", "SATURATED", "STARVED_S", "STOLEN", "WAITED_S", "WAITED_SHARE", "check"]

SATURATED = 0.98
"""A second with so much of the processors' time in use left nothing over; a gate on two uses 0.75 to 0.9."""

LATE_S = 0.1
"""The harness came late by so much: what its pulse notes."""

STARVED_S = 10
"""Seconds in a row. In gates of 39 promises on two processors that could be judged there were up to seven in which the
harness was late in each, in those that could not twenty and more."""

STOLEN = 0.1
"""Of the processors' time, given to other machines by the hypervisor: all that was measured took longer by as much."""

WAITED_S = 0.5
"""A process of the system that had to wait so long for a processor may have been late by as much: promises of 3 s and
less do not outlast that. In gates of 52 promises on two processors that were judged 2 to 6 % of all seconds had one."""

WAITED_SHARE = 0.05
"""Of what took long it is at least so much: what has not come in 15 s is not missing for half a second's
wait. The longest promise about a single answer, 10 s give or take 0.5, is where the two meet."""

AROUND_S = 1.0
"""From so long before what broke a promise to so long after it a wait counts; one sample is as long."""


def check(recording: Recording, broke: Sequence[int] = ()) -> str | None:
    """How the machine may have broken a promise; None when it was fit.

    It takes a FAIL away, and never a PASS: a system that kept its times on a starved machine kept them. Busy alone
    excuses nothing. Starved is a stretch of seconds in each of which nothing of the processors was left over *and* the
    harness itself came late: what was late then need not be the system's doing. Shorter hold-ups are `punctual`'s.
    And a service that was ready to run and got no processor, while what broke the promise first happened, is no fault
    of its own.

    Args:
        recording: what happened.
        broke: indexes of the events that a FAIL names, the first offender first.
    """
    samples = recording.history.alone("engine", "host")
    told = _stolen(samples) or _starved(recording, samples) or _kept_waiting(recording.history, samples, broke)
    return f"the machine was starved: {told}" if told else None


def _stolen(samples: list[Event]) -> str:
    whole_s = sum(event.detail["sampled_s"] for event in samples)
    stolen_s = sum(event.detail["sampled_s"] * event.detail["stolen"] for event in samples)
    if stolen_s <= STOLEN * whole_s:
        return ""
    return f"{100 * stolen_s / whole_s:.0f} % of its processors' time was given to others"


def _starved(recording: Recording, samples: list[Event]) -> str:
    longest_s = max(_starved_s(recording, samples), default=0.0)
    if longest_s < STARVED_S:
        return ""
    return f"for {longest_s:.0f} s nothing of its processors was left, and the harness was late"


def _kept_waiting(history: History, samples: list[Event], broke: Sequence[int]) -> str:
    if not broke:
        return ""
    begun, ended = _around(history, broke[0])
    waits = _waited_s(samples, begun, ended)
    in_a_row = (first + second for first, second in pairwise([Counter[str](), *waits]))  # a wait may lie in two samples
    longest = ((name, waited_s) for both in in_a_row for name, waited_s in both.items())
    name, longest_s = max(longest, key=lambda each: each[1], default=("", 0.0))
    if longest_s < max(WAITED_S, WAITED_SHARE * (ended.at_ns - begun.at_ns) / 1e9):
        return ""
    return f"{name} waited {longest_s:.2f} s for a processor at that time"


def _around(history: History, index: int) -> tuple[Event, Event]:
    """An event twice, or where what it belongs to begins and ends."""
    event = history.events[index]
    begun = history.events[event.of] if event.of >= 0 else event
    return begun, next((one for one in history if one.of == begun.index), event)


def _waited_s(samples: list[Event], begun: Event, ended: Event) -> list[Counter[str]]:
    """How long each process waited in each sample around what begins and ends so, by its name."""
    waits = []
    for sample in samples:
        sampled_s = sample.detail["sampled_s"]
        begins_ns = sample.at_ns - sampled_s * 1e9
        if begins_ns <= ended.at_ns + AROUND_S * 1e9 and sample.at_ns >= begun.at_ns - AROUND_S * 1e9:
            kept = sample.detail.get("kept_waiting", {})
            waits.append(Counter({name: min(waited_s, sampled_s) for name, waited_s in kept.items()}))
    return waits


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
