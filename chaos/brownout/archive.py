"""A run's folder: what was asked, what happened, and what was found, so that it can be judged again."""

import gzip
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from io import FileIO
from itertools import count
from pathlib import Path

import msgspec

from brownout.errors import FileError
from brownout.files import read_text, unwritable, write_whole
from brownout.history import Event, History, Recorder
from brownout.recording import FORMAT, OLDEST_FORMAT, Recording, Series, Span
from brownout.verdict import Verdict

__all__ = ["Archive", "open_run"]


class _Written(msgspec.Struct):
    """What every version's ``run.json`` has: the format of the rest, and the version of brownout that wrote it."""

    format: int
    brownout: str = ""


class _About(_Written, kw_only=True):
    """The run's own page, ``run.json``."""

    promises: tuple[str, ...]
    started_at: str


class _Telemetry(msgspec.Struct):
    """What the observing servers knew, and the seal on the history beside it: ``telemetry.json.gz``."""

    cell: str
    spans: list[Span] | None
    series: list[Series] | None
    queried: dict[str, list[Series]] = {}
    scenario: str = ""
    history_crc32: int | None = None


class Archive:
    """One run's folder.

    ``run.json``, ``topology.toml`` and ``scenarios/`` with the contract and what is beside it, as they were,
    ``verdicts.json``, ``logs/``, and for each scenario ``recordings/<name>/history.jsonl``, written as it happens,
    and ``telemetry.json.gz``; ``recordings/<name>.2`` is of the same scenario run again, and so on.

    Attributes:
        folder: where it is.
        contract: the contract as it was.
        topology: the topology as it was.
        promises: the names of those that were put to the test.
        started_at: when the run began, ISO 8601 in UTC.
    """

    def __init__(self, folder: Path, promises: tuple[str, ...], started_at: str) -> None:
        self.folder = folder
        self.started_at = started_at
        self.contract = folder / "scenarios" / "contract.toml"
        self.topology = folder / "topology.toml"
        self.promises = promises

    @classmethod
    def create(cls, runs: Path, contract: Path, topology: Path, promises: tuple[str, ...]) -> "Archive":
        """Begin a run's folder below ``runs`` and point ``runs/latest`` at it.

        Raises:
            FileError: the folder cannot be written.
        """
        started = datetime.now(UTC)
        folder = runs / f"{started:%Y%m%d-%H%M%S}-{os.getpid()}"
        about = _About(FORMAT, version("brownout"), promises=promises, started_at=started.isoformat(timespec="seconds"))
        archive = cls(folder, promises, about.started_at)
        try:
            (folder / "recordings").mkdir(parents=True)
            (folder / "logs").mkdir()
            (folder / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(about)))
            archive.contract.parent.mkdir()
            shutil.copyfile(contract, archive.contract)
            shutil.copyfile(topology, archive.topology)
            for program in contract.parent.glob("*.py"):
                shutil.copyfile(program, archive.contract.with_name(program.name))
            _point(runs / "latest", folder)
        except OSError as error:
            raise unwritable(folder, error) from None
        return archive

    @contextmanager
    def recorder(self, scenario: str, now_ns: Callable[[], int], attempt: int = 1) -> Iterator[Recorder]:
        """A recorder whose events are on disk as they happen: a killed run loses none.

        Args:
            scenario: its name.
            now_ns: see `Recorder`.
            attempt: from 1: which time it is that this scenario is run.

        Raises:
            FileError: the disk is full, or the folder has gone.
        """
        encoder = msgspec.json.Encoder()
        with _opened(self.recording_folder(scenario, attempt) / "history.jsonl") as lines:

            def write(event: Event) -> None:
                _write_line(lines, encoder.encode(event))

            yield Recorder(now_ns, write)

    def add_telemetry(self, recording: Recording, attempt: int = 1) -> None:
        """Write the spans and metrics of a run down, which makes its recording whole.

        Raises:
            FileError: the disk is full, or the folder has gone.
        """
        path = self.recording_folder(recording.scenario, attempt) / "telemetry.json.gz"
        try:
            seal = zlib.crc32(path.with_name("history.jsonl").read_bytes())
        except OSError as error:
            raise unwritable(path, error) from None
        telemetry = _Telemetry(
            recording.cell, recording.spans, recording.series, recording.queried, recording.scenario, seal
        )
        write_whole(path, gzip.compress(msgspec.json.encode(telemetry), compresslevel=1))

    def recordings(self, scenario: str) -> Iterator[Recording | None]:
        """The recordings of a scenario, one for each time that it was run: at least one, which may not be whole.

        Raises:
            FileError: a file of one is damaged.
        """
        yield self.recording(scenario)
        for attempt in count(2):
            if not self.recording_folder(scenario, attempt).exists():
                return
            yield self.recording(scenario, attempt)

    def recording(self, scenario: str, attempt: int = 1) -> Recording | None:
        """The recording of a scenario; None when the run ended before it was whole.

        Raises:
            FileError: a file of it is damaged, or it is another scenario's.
        """
        folder = self.recording_folder(scenario, attempt)
        if not (folder / "telemetry.json.gz").exists():
            return None
        try:
            lines = (folder / "history.jsonl").read_bytes()
            history = History(msgspec.json.Decoder(Event).decode_lines(lines))
            raw = gzip.decompress((folder / "telemetry.json.gz").read_bytes())
            telemetry = msgspec.json.decode(raw, type=_Telemetry)
        except (OSError, EOFError, zlib.error, msgspec.MsgspecError) as error:
            raise FileError(str(folder), f"damaged recording: {error}") from None
        if wrong := _not_as_written(scenario, telemetry, lines, history):
            raise FileError(str(folder), f"damaged recording: {wrong}")
        return Recording(scenario, telemetry.cell, history, telemetry.spans, telemetry.series, telemetry.queried)

    def add_verdicts(self, verdicts: tuple[Verdict, ...]) -> None:
        """Write down what was found.

        Raises:
            FileError: the disk is full, or the folder has gone.
        """
        write_whole(self.folder / "verdicts.json", msgspec.json.format(msgspec.json.encode(verdicts)))

    def log(self, name: str) -> Path:
        """Where a process of this run writes its output."""
        return self.folder / "logs" / f"{name}.log"

    def recording_folder(self, scenario: str, attempt: int = 1) -> Path:
        """Where a scenario's recording is, whole or not."""
        return self.folder / "recordings" / (scenario if attempt == 1 else f"{scenario}.{attempt}")


def open_run(folder: Path) -> Archive:
    """An earlier run's folder.

    Raises:
        FileError: it is no run, a part of it is missing, or its format is another version's.
    """
    if folder.is_symlink():
        folder = folder.parent / folder.readlink()  # what is told of this run shall not lead to a later one
    text = read_text(folder / "run.json")
    try:
        written = msgspec.json.decode(text, type=_Written)
        if not OLDEST_FORMAT <= written.format <= FORMAT:
            other = f"written in format {written.format}, this version reads {OLDEST_FORMAT} to {FORMAT}"
            raise FileError(str(folder), other, f"brownout {written.brownout} reads it" if written.brownout else "")
        about = msgspec.json.decode(text, type=_About)
    except msgspec.MsgspecError as error:
        raise FileError(str(folder / "run.json"), f"damaged: {error}") from None
    return Archive(folder, about.promises, about.started_at)


def _not_as_written(scenario: str, telemetry: _Telemetry, lines: bytes, history: History) -> str | None:
    """How a history that can be read is not the one that was recorded; runs from before there was a seal have none."""
    if telemetry.scenario not in ("", scenario):
        return f"it is that of {telemetry.scenario!r}"
    gap = next((place for place, event in enumerate(history) if event.index != place), None)
    if gap is not None:
        return f"line {gap + 1} of the history is not event {gap}"
    if telemetry.history_crc32 not in (None, zlib.crc32(lines)):
        return "the history has been changed since it was written"
    return None


def _point(link: Path, folder: Path) -> None:
    fresh = link.with_name(f".latest-{os.getpid()}")
    fresh.symlink_to(folder.name)
    fresh.replace(link)


def _opened(path: Path) -> FileIO:
    """A file to which every write goes at once: what the process leaves unwritten when it is killed is lost."""
    try:
        path.parent.mkdir(exist_ok=True)
        return FileIO(path, "wb")
    except OSError as error:
        raise unwritable(path, error) from None


def _write_line(lines: FileIO, line: bytes) -> None:
    left = memoryview(line + b"\n")
    try:
        while left:  # a disk that is nearly full takes a part of a line, and says so only when asked to take the rest
            left = left[lines.write(left) :]
    except OSError as error:
        raise unwritable(Path(str(lines.name)), error) from None
