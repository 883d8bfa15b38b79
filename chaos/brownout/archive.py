"""A run's folder: what was asked, what happened, and what was found, so that it can be judged again."""

import gzip
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

import msgspec

from brownout.errors import FileError
from brownout.files import read_text
from brownout.history import Event, History, Recorder
from brownout.recording import FORMAT, Recording, Series, Span
from brownout.verdict import Verdict

__all__ = ["Archive", "open_run"]


class _About(msgspec.Struct):
    """The run's own page, ``run.json``."""

    format: int
    promises: tuple[str, ...]
    started_at: str


class _Telemetry(msgspec.Struct):
    """What the observing servers knew, ``telemetry.json.gz``."""

    cell: str
    spans: list[Span] | None
    series: list[Series] | None
    queried: dict[str, list[Series]] = {}


class Archive:
    """One run's folder.

    ``run.json``, ``topology.toml`` and ``scenarios/`` with the contract and what is beside it, as they were,
    ``verdicts.json``, ``logs/``, and for each scenario ``recordings/<name>/history.jsonl``, written as it happens,
    and ``telemetry.json.gz``.

    Attributes:
        folder: where it is.
        contract: the contract as it was.
        topology: the topology as it was.
        promises: the names of those that were put to the test.
    """

    def __init__(self, folder: Path, promises: tuple[str, ...]) -> None:
        self.folder = folder
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
        about = _About(FORMAT, promises, started.isoformat(timespec="seconds"))
        archive = cls(folder, promises)
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
            raise _unwritable(folder, error) from None
        return archive

    @contextmanager
    def recorder(self, scenario: str, now_ns: Callable[[], int]) -> Iterator[Recorder]:
        """A recorder whose events are on disk as they happen: a killed run loses none.

        Raises:
            FileError: the disk is full, or the folder has gone.
        """
        encoder = msgspec.json.Encoder()
        with _opened(self._recording(scenario) / "history.jsonl") as lines:

            def write(event: Event) -> None:
                _write_line(lines, encoder.encode(event))

            yield Recorder(now_ns, write)

    def add_telemetry(self, recording: Recording) -> None:
        """Write the spans and metrics of a run down, which makes its recording whole.

        Raises:
            FileError: the disk is full, or the folder has gone.
        """
        path = self._recording(recording.scenario) / "telemetry.json.gz"
        raw = msgspec.json.encode(_Telemetry(recording.cell, recording.spans, recording.series, recording.queried))
        try:
            part = path.with_suffix(".part")
            part.write_bytes(gzip.compress(raw, compresslevel=1))
            part.rename(path)
        except OSError as error:
            raise _unwritable(path, error) from None

    def recording(self, scenario: str) -> Recording | None:
        """The recording of a scenario; None when the run ended before it was whole.

        Raises:
            FileError: a file of it is damaged.
        """
        folder = self._recording(scenario)
        if not (folder / "telemetry.json.gz").exists():
            return None
        try:
            lines = (folder / "history.jsonl").read_bytes()
            history = History(msgspec.json.Decoder(Event).decode_lines(lines))
            raw = gzip.decompress((folder / "telemetry.json.gz").read_bytes())
            telemetry = msgspec.json.decode(raw, type=_Telemetry)
        except (OSError, EOFError, zlib.error, msgspec.MsgspecError) as error:
            raise FileError(str(folder), f"damaged recording: {error}") from None
        return Recording(scenario, telemetry.cell, history, telemetry.spans, telemetry.series, telemetry.queried)

    def add_verdicts(self, verdicts: tuple[Verdict, ...]) -> None:
        """Write down what was found.

        Raises:
            FileError: the disk is full, or the folder has gone.
        """
        path = self.folder / "verdicts.json"
        try:
            path.write_bytes(msgspec.json.format(msgspec.json.encode(verdicts)))
        except OSError as error:
            raise _unwritable(path, error) from None

    def log(self, name: str) -> Path:
        """Where a process of this run writes its output."""
        return self.folder / "logs" / f"{name}.log"

    def _recording(self, scenario: str) -> Path:
        return self.folder / "recordings" / scenario


def open_run(folder: Path) -> Archive:
    """An earlier run's folder.

    Raises:
        FileError: it is no run, a part of it is missing, or its format is another version's.
    """
    try:
        about = msgspec.json.decode(read_text(folder / "run.json"), type=_About)
    except msgspec.MsgspecError as error:
        raise FileError(str(folder / "run.json"), f"damaged: {error}") from None
    if about.format != FORMAT:
        raise FileError(str(folder), f"written in format {about.format}, this version reads {FORMAT}")
    return Archive(folder, about.promises)


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
        raise _unwritable(path, error) from None


def _write_line(lines: FileIO, line: bytes) -> None:
    left = memoryview(line + b"\n")
    try:
        while left:  # a disk that is nearly full takes a part of a line, and says so only when asked to take the rest
            left = left[lines.write(left) :]
    except OSError as error:
        raise _unwritable(Path(str(lines.name)), error) from None


def _unwritable(path: Path, error: OSError) -> FileError:
    return FileError(str(path), f"cannot be written: {error.strerror}")
