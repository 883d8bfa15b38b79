"""A run's folder: what was asked, what happened, and what was found, so that it can be judged again."""

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

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
    contract: str
    topology: str
    promises: tuple[str, ...]
    started_at: str


class _Telemetry(msgspec.Struct):
    """What the observing servers knew, ``telemetry.json.gz``."""

    cell: str
    spans: list[Span]
    series: list[Series]


class Archive:
    """One run's folder.

    ``run.json``, the contract and topology as they were, ``verdicts.json``, ``logs/``, and for each scenario
    ``recordings/<name>/history.jsonl``, written as it happens, and ``telemetry.json.gz``.

    Attributes:
        folder: where it is.
        contract: the contract's file name and text, as it was.
        topology: the topology's file name and text, as it was.
        promises: the names of those that were put to the test.
    """

    def __init__(
        self, folder: Path, contract: tuple[str, str], topology: tuple[str, str], promises: tuple[str, ...]
    ) -> None:
        self.folder = folder
        self.contract = contract
        self.topology = topology
        self.promises = promises

    @classmethod
    def create(cls, runs: Path, contract: Path, topology: Path, promises: tuple[str, ...]) -> "Archive":
        """Begin a run's folder below ``runs`` and point ``runs/latest`` at it.

        Raises:
            FileError: the folder cannot be written.
        """
        started = datetime.now(UTC)
        folder = runs / f"{started:%Y%m%d-%H%M%S}-{os.getpid()}"
        texts = read_text(contract), read_text(topology)
        about = _About(FORMAT, str(contract), str(topology), promises, started.isoformat(timespec="seconds"))
        try:
            (folder / "recordings").mkdir(parents=True)
            (folder / "logs").mkdir()
            (folder / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(about)))
            (folder / "contract.toml").write_text(texts[0], encoding="utf-8")
            (folder / "topology.toml").write_text(texts[1], encoding="utf-8")
            _point(runs / "latest", folder)
        except OSError as error:
            raise FileError(str(folder), f"cannot be written: {error.strerror}") from None
        return cls(folder, (str(contract), texts[0]), (str(topology), texts[1]), promises)

    @contextmanager
    def recorder(self, scenario: str, now_ns: Callable[[], int]) -> Iterator[Recorder]:
        """A recorder whose events are on disk as they happen: a killed run loses none.

        Raises:
            FileError: the disk is full, or the folder has gone.
        """
        folder = self._recording(scenario)
        folder.mkdir(exist_ok=True)
        encoder = msgspec.json.Encoder()
        with (folder / "history.jsonl").open("wb", buffering=0) as lines:

            def write(event: Event) -> None:
                _write_line(lines, encoder.encode(event))

            yield Recorder(now_ns, write)

    def add_telemetry(self, recording: Recording) -> None:
        """Write the spans and metrics of a run down, which makes its recording whole.

        Raises:
            FileError: the disk is full, or the folder has gone.
        """
        path = self._recording(recording.scenario) / "telemetry.json.gz"
        raw = msgspec.json.encode(_Telemetry(recording.cell, recording.spans, recording.series))
        try:
            part = path.with_suffix(".part")
            part.write_bytes(gzip.compress(raw, compresslevel=1))
            part.rename(path)
        except OSError as error:
            raise FileError(str(path), f"cannot be written: {error.strerror}") from None

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
        except (OSError, EOFError, msgspec.MsgspecError) as error:
            raise FileError(str(folder), f"damaged recording: {error}") from None
        return Recording(scenario, telemetry.cell, history, telemetry.spans, telemetry.series)

    def add_verdicts(self, verdicts: tuple[Verdict, ...]) -> None:
        """Write down what was found."""
        path = self.folder / "verdicts.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(verdicts)))

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
    contract, topology = read_text(folder / "contract.toml"), read_text(folder / "topology.toml")
    return Archive(folder, (about.contract, contract), (about.topology, topology), about.promises)


def _point(link: Path, folder: Path) -> None:
    fresh = link.with_name(f".latest-{os.getpid()}")
    fresh.symlink_to(folder.name)
    fresh.replace(link)


def _write_line(lines: IO[bytes], line: bytes) -> None:
    try:
        lines.write(line + b"\n")
    except OSError as error:
        raise FileError(str(lines.name), f"cannot be written: {error.strerror}") from None
