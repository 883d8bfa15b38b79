"""The archive: what was recorded is read back as it was, and what is damaged or foreign is refused."""

import gzip
import resource
import shutil
from pathlib import Path

import msgspec
import pytest

from brownout.archive import Archive, open_run
from brownout.errors import FileError
from brownout.history import Outcome
from brownout.recording import FORMAT, OLDEST_FORMAT, Recording, Series, Span
from brownout.verdict import Ruling, Verdict


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    (tmp_path / "contract.toml").write_text("# promises")
    (tmp_path / "topology.toml").write_text("# services")
    return Archive.create(tmp_path / "runs", tmp_path / "contract.toml", tmp_path / "topology.toml", ("breaker",))


def record(archive: Archive) -> Recording:
    clock = iter(range(100))
    with archive.recorder("breaker", lambda: next(clock)) as recorder:
        begun = recorder.begin("calls", "refused", trace_id="ab" * 16, due_ns=1)
        recorder.end(begun, Outcome.FAILED, status=503, body={"type": "breaker-open"})
        recorder.note("bytes", "orders -> users", upstream=0)
    span = Span("ab" * 16, "cd" * 8, "", "orders", "POST /orders", "server", 5, 9, {"http.status_code": 503})
    series = Series({"__name__": "up", "cell": "breaker"}, [(1.5, 1.0)])
    recording = Recording("breaker", "breaker", recorder.history, [span], [series], {"up": [series]})
    archive.add_telemetry(recording)
    return recording


def test_a_recording_is_read_back_as_it_was(archive: Archive) -> None:
    written = record(archive)
    read = open_run(archive.folder).recording("breaker")
    assert read is not None
    assert read.history.events == written.history.events
    assert (read.spans, read.series, read.cell) == (written.spans, written.series, written.cell)
    assert read.queried == written.queried


def test_a_scenario_that_was_run_again_keeps_both_recordings(archive: Archive) -> None:
    first = record(archive)
    with archive.recorder("breaker", lambda: 7, attempt=2) as recorder:
        recorder.note("engine", "clean")
    archive.add_telemetry(msgspec.structs.replace(first, history=recorder.history, cell="breaker_2"), attempt=2)
    with archive.recorder("breaker", lambda: 8, attempt=3) as recorder:
        recorder.note("engine", "late")
    read = list(open_run(archive.folder).recordings("breaker"))
    assert [each and (each.cell, len(each.history)) for each in read] == [("breaker", 3), ("breaker_2", 1), None]
    assert (archive.folder / "recordings" / "breaker.2" / "history.jsonl").exists()


def test_a_run_of_the_format_before_is_read(archive: Archive) -> None:
    page = archive.folder / "run.json"
    page.write_text(page.read_text().replace(f'"format": {FORMAT}', f'"format": {OLDEST_FORMAT}'))
    record(archive)
    assert [each is not None for each in open_run(archive.folder).recordings("breaker")] == [True]


def test_what_a_system_does_not_show_is_kept_apart_from_what_was_not_there(archive: Archive) -> None:
    blind = msgspec.structs.replace(record(archive), spans=None, series=[])
    archive.add_telemetry(blind)
    read = open_run(archive.folder).recording("breaker")
    assert read is not None
    assert (read.traced, read.spans, read.series) == (False, None, [])


def test_the_run_keeps_its_contract_topology_and_promises(archive: Archive) -> None:
    opened = open_run(archive.folder)
    assert opened.contract.read_text() == "# promises"
    assert opened.topology.read_text() == "# services"
    assert opened.promises == ("breaker",)


def test_latest_points_at_the_newest_run(archive: Archive) -> None:
    assert (archive.folder.parent / "latest").resolve() == archive.folder.resolve()
    assert open_run(archive.folder.parent / "latest").promises == ("breaker",)


def test_events_are_on_disk_before_the_run_has_ended(archive: Archive) -> None:
    with archive.recorder("breaker", lambda: 7) as recorder:
        recorder.note("engine", "clean")
        lines = (archive.folder / "recordings" / "breaker" / "history.jsonl").read_text().splitlines()
    assert len(lines) == 1


def test_a_recording_that_was_cut_short_is_none(archive: Archive) -> None:
    with archive.recorder("breaker", lambda: 7) as recorder:
        recorder.note("engine", "clean")
    assert open_run(archive.folder).recording("breaker") is None


def test_a_damaged_recording_is_refused(archive: Archive) -> None:
    record(archive)
    path = archive.folder / "recordings" / "breaker" / "history.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileError, match="damaged recording"):
        archive.recording("breaker")


def test_another_format_is_refused(archive: Archive) -> None:
    page = archive.folder / "run.json"
    page.write_text(page.read_text().replace(f'"format": {FORMAT}', '"format": 99'))
    with pytest.raises(FileError, match=f"written in format 99, this version reads {OLDEST_FORMAT} to {FORMAT}"):
        open_run(archive.folder)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"run\.json: no such file"):
        open_run(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match="cannot be written: Not a directory"):
        Archive.create(tmp_path / "file" / "runs", tmp_path / "file", tmp_path / "file", ())


def test_a_full_disk_is_told_in_one_line(archive: Archive) -> None:
    folder = archive.folder / "recordings" / "breaker"
    folder.mkdir()
    (folder / "history.jsonl").symlink_to("/dev/full")
    with archive.recorder("breaker", lambda: 7) as recorder, pytest.raises(FileError, match="No space left on device"):
        recorder.note("engine", "clean")


def test_verdicts_are_kept_beside_the_recordings(archive: Archive) -> None:
    archive.add_verdicts((Verdict("breaker", "6.2", Ruling.PASS, "tripped by call 5"),))
    assert '"tripped by call 5"' in (archive.folder / "verdicts.json").read_text()


def test_a_line_that_the_disk_takes_only_in_part_is_told(archive: Archive) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with archive.recorder("breaker", lambda: 7) as recorder:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30, limits[1]))  # a write beyond is cut short, and the next refused
        try:
            with pytest.raises(FileError, match=r"history\.jsonl: cannot be written: File too large"):
                recorder.note("engine", "clean")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (archive.folder / "recordings" / "breaker" / "history.jsonl").stat().st_size == 30


@pytest.mark.parametrize("damage", [b"no gzip", gzip.compress(b"{}")[:-3], b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 20])
def test_damaged_telemetry_is_refused(archive: Archive, damage: bytes) -> None:
    record(archive)
    (archive.folder / "recordings" / "breaker" / "telemetry.json.gz").write_bytes(damage)
    with pytest.raises(FileError, match="damaged recording"):
        archive.recording("breaker")


def test_a_folder_that_has_gone_is_told(archive: Archive) -> None:
    shutil.rmtree(archive.folder)
    with pytest.raises(FileError, match=r"verdicts\.json: cannot be written: No such file or directory"):
        archive.add_verdicts(())
    with (
        pytest.raises(FileError, match=r"history\.jsonl: cannot be written: No such file or directory"),
        archive.recorder("breaker", lambda: 7),
    ):
        pass


def test_the_latest_run_is_opened_under_its_own_name(archive: Archive) -> None:
    assert open_run(archive.folder.with_name("latest")).folder == archive.folder
