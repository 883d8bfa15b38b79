"""The report on a run: every verdict with its evidence in words, for whoever reads it without the terminal."""

import platform
import re
from collections.abc import Iterable
from importlib.metadata import version

import msgspec

from brownout.archive import Archive
from brownout.history import Event, History
from brownout.promises.promise import Checked
from brownout.recording import FORMAT as RECORDING_FORMAT
from brownout.recording import Recording
from brownout.timing import Timing
from brownout.verdict import Ruling, Verdict, overall

__all__ = ["FORMAT", "Found", "Report", "printable", "report_of", "versions"]

FORMAT = 1
"""The version of the keys below, in a file; it changes when one is taken away or comes to mean something else."""

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document may contain, not even escaped, and no page shows; what a service answers may have it."""

TOLD_EVENTS = 10
"""So many of a verdict's events are told in words; all of their indexes are in ``events``."""


class Found(Verdict, frozen=True, kw_only=True):
    """A verdict, and where it comes from.

    Attributes:
        kind: the promise's.
        scenario: the one whose recording was read.
        recording: the folder of that recording.
        took_s: from its first event to its last, seconds; None where there is no whole recording.
        evidence: the first of its events in words.
    """

    kind: str
    scenario: str
    recording: str
    took_s: float | None
    evidence: tuple[str, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate came to, or why it came to nothing.

    Attributes:
        format: the version of these keys.
        ruling: the ruling on all promises; None when there is none.
        unfinished: why there is none; empty when there is one.
        run: the run's folder, which ``brownout judge`` reads.
        started_at: when the run began, ISO 8601 in UTC.
        timing: how long the gate took; None when a recorded run was judged again.
        versions: those of brownout, Python and the format of recordings that judged.
        promises: all verdicts, in the contract's order.
    """

    format: int = FORMAT
    ruling: Ruling | None = None
    unfinished: str = ""
    run: str = ""
    started_at: str = ""
    timing: Timing | None = None
    versions: dict[str, str]
    promises: tuple[Found, ...] = ()


def printable(text: str) -> str:
    """A text with what cannot be shown replaced."""
    return _UNPRINTABLE.sub("\ufffd", text)


def versions() -> dict[str, str]:
    """What judges."""
    return {
        "brownout": version("brownout"),
        "python": platform.python_version(),
        "recordings": str(RECORDING_FORMAT),
    }


def report_of(
    archive: Archive, suite: Iterable[Checked], verdicts: Iterable[Verdict], timing: Timing | None = None
) -> Report:
    """The report on a run.

    Args:
        archive: the run's recordings.
        suite: all that its contract promises.
        verdicts: what was found of those that were put to the test.
        timing: how long it took; None when it is judged again.

    Raises:
        FileError: a recording is damaged.
    """
    promises = {promise.name: promise for promise in suite}
    found = tuple(_found(archive, promises[verdict.promise], verdict) for verdict in verdicts)
    return Report(
        ruling=overall(each.ruling for each in found),
        run=str(archive.folder),
        started_at=archive.started_at,
        timing=timing,
        versions=versions(),
        promises=found,
    )


def _found(archive: Archive, promise: Checked, verdict: Verdict) -> Found:
    recording = archive.recording(promise.trial, verdict.attempt)
    return Found(
        **msgspec.structs.asdict(verdict),
        kind=str(type(promise).__struct_config__.tag),
        scenario=promise.trial,
        recording=str(archive.recording_folder(promise.trial, verdict.attempt)),
        took_s=_took_s(recording),
        evidence=_evidence(recording, verdict.events),
    )


def _took_s(recording: Recording | None) -> float | None:
    if recording is None or not recording.history.events:
        return None
    return (recording.history.events[-1].at_ns - recording.history.events[0].at_ns) / 1e9


def _evidence(recording: Recording | None, indexes: tuple[int, ...]) -> tuple[str, ...]:
    if recording is None:
        return ()
    return tuple(_in_words(recording.history, index) for index in indexes[:TOLD_EVENTS])


def _in_words(history: History, index: int) -> str:
    event = history.events[index]
    begun = history.events[event.of] if event.of >= 0 else event
    after_s = (begun.at_ns - history.events[0].at_ns) / 1e9
    words = f"event {index}, begun {after_s:.3f} s after the start: {event.actor} {event.action}{_asked(begun)}"
    took = f" after {(event.at_ns - begun.at_ns) / 1e9:.3f} s" if event is not begun else ""
    return f"{words}: {_answered(event)}{took}" + (f", trace {begun.trace_id}" if begun.trace_id else "")


def _asked(begun: Event) -> str:
    detail = begun.detail
    return f" {detail['method']} {detail.get('path', '')}" if "method" in detail else ""


def _answered(event: Event) -> str:
    return str(event.detail.get("status") or event.detail.get("error") or event.outcome)
