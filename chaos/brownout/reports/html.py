"""A page for people: every promise with its evidence, and each scenario as a timeline; one file, nothing else needed.

What is drawn is SVG made here; the page's few lines of JavaScript open what a link leads to, and tell what a dot is.
Without them nothing is missing but that. Its policy forbids it to load anything.
"""

import base64
import shlex
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from brownout.archive import Archive
from brownout.promises.contract import read_states
from brownout.promises.state import StateMetric
from brownout.recording import Recording
from brownout.reports.otlp import otlp
from brownout.reports.phases import Phase, phases
from brownout.reports.plot import HEIGHT, WIDTH, Panel, Tick, bands, panels, seconds_ticks
from brownout.reports.report import Found, Report, printable
from brownout.reports.timeline import Timeline, timeline
from brownout.reports.waterfall import Waterfall, waterfall
from brownout.verdict import Ruling, overall

__all__ = ["JAEGER", "html"]

JAEGER = "http://127.0.0.1:16686"
"""The web page of a Jaeger that was started with its own defaults, as in containers."""

OTLP = "http://127.0.0.1:4318/v1/traces"
"""Where such a Jaeger takes spans."""

_PAGE = Path(__file__).parent / "page"
_ORDER = (Ruling.FAIL, Ruling.INCONCLUSIVE, Ruling.PASS)


class _Drawn(msgspec.Struct, frozen=True):
    """A whole recording, as it is drawn; it began at a time in UTC, as logs have it."""

    begun_at: str
    timeline: Timeline
    panels: tuple[Panel, ...]
    bands: str
    ticks: tuple[Tick, ...]
    phases: tuple[Phase, ...]


class _Trace(msgspec.Struct, frozen=True):
    """A trace, where to look at it, and its spans as a file in a link."""

    drawn: Waterfall
    jaeger: str
    file: str


class _Scene(msgspec.Struct, frozen=True):
    """A recording, and all promises that were judged by it.

    Attributes:
        name: its place in the page.
        ruling: on all of its promises.
        found: their verdicts, each with the trace of its first offending request where there is one.
        drawn: None where there is no whole recording.
        again: the command that runs it again.
        logs: which files its processes wrote; empty where there is none.
    """

    name: str
    ruling: Ruling
    found: tuple[tuple[Found, _Trace | None], ...]
    drawn: _Drawn | None
    again: str
    logs: str


def html(report: Report, archive: Archive | None = None) -> bytes:
    """The page, UTF-8.

    Args:
        report: what was found.
        archive: its recordings; None: there was no run.

    Raises:
        FileError: a recording is damaged.
    """
    scenes = tuple(_scenes(report, archive)) if archive else ()
    in_order = sorted(report.promises, key=lambda found: _ORDER.index(found.ruling))
    broken = [found for found in in_order if found.ruling is not Ruling.PASS]
    page = _environment().get_template("report.html")
    return printable(
        page.render(
            report=report,
            promises=in_order,
            scenes=sorted(scenes, key=lambda scene: _ORDER.index(scene.ruling)),
            counts=[(ruling, sum(found.ruling is ruling for found in in_order)) for ruling in _ORDER],
            again=_again(archive, broken) if archive and broken else "",
            judge=f"brownout judge {shlex.quote(report.run)}",
            name_of=_name,
            dots=_dots,
            otlp=OTLP,
            width=WIDTH,
            height=HEIGHT,
        )
    ).encode()


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_PAGE),
        autoescape=True,  # reasons and answers may contain anything
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _scenes(report: Report, archive: Archive) -> Iterator[_Scene]:
    """A scene for each recording, in the order of the first promise that was judged by it."""
    metrics = read_states(archive.contract)
    by_recording: dict[str, list[Found]] = {}
    for found in report.promises:
        by_recording.setdefault(_name(found), []).append(found)
    for name, founds in by_recording.items():
        recording = archive.recording(founds[0].scenario, founds[0].attempt)
        yield _Scene(
            name=name,
            ruling=overall(found.ruling for found in founds),
            found=tuple((found, _trace(recording, found)) for found in founds),
            drawn=_drawn(recording, founds, metrics) if recording else None,
            again=_again(archive, founds),
            logs=_logs(archive, recording.cell if recording else name),
        )


def _name(found: Found) -> str:
    """The name of the recording that a verdict is about; a link leads there."""
    return found.scenario if found.attempt == 1 else f"{found.scenario}.{found.attempt}"


def _drawn(recording: Recording, founds: list[Found], metrics: tuple[StateMetric, ...]) -> _Drawn:
    shown = timeline(recording, metrics, founds)
    offenders = frozenset(index for found in founds for index in found.events)
    return _Drawn(
        begun_at=_begun_at(recording),
        timeline=shown,
        panels=panels(shown, offenders),
        bands=bands(shown),
        ticks=seconds_ticks(shown.length_s),
        phases=phases(shown),
    )


def _begun_at(recording: Recording) -> str:
    first_ns = next((event.at_ns for event in recording.history), 0)
    return f"{datetime.fromtimestamp(first_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _logs(archive: Archive, cell: str) -> str:
    files = archive.log(f"{cell}.*")
    return str(files) if any(files.parent.glob(files.name)) else ""


def _trace(recording: Recording | None, found: Found) -> _Trace | None:
    """The trace of the first offending request that has one."""
    if recording is None or not found.traces:
        return None
    drawn = waterfall(recording, found.traces[0])
    file = f"data:application/json;base64,{base64.b64encode(otlp(drawn.spans)).decode()}" if drawn.spans else ""
    return _Trace(drawn, f"{JAEGER}/trace/{drawn.trace_id}", file)


def _again(archive: Archive, founds: Iterable[Found]) -> str:
    """How promises are put to the test again, as they were: with the run's own copies of the files."""
    names = " ".join(f"--only {shlex.quote(found.promise)}" for found in founds)
    files = f"--contract {shlex.quote(str(archive.contract))} --topology {shlex.quote(str(archive.topology))}"
    return f"brownout gate {names} {files}"


def _dots(panel: Panel, length_s: float) -> dict[str, object]:
    """What the page's script needs to tell what a dot is: texts once, and a row a dot."""
    names = list(dict.fromkeys(dot.phase for dot in panel.dots))
    answers = list(dict.fromkeys(dot.answer for dot in panel.dots))
    return {
        "length": length_s,
        "decades": panel.decades,
        "phases": names,
        "answers": answers,
        "dots": [
            (
                round(dot.at_s, 3),
                round(dot.took_s, 4),
                names.index(dot.phase),
                answers.index(dot.answer),
                dot.event,
            )
            for dot in panel.dots
        ],
    }
