"""An old recording, judged again: offline, with the same verdicts for years; what is not whole is never a PASS."""

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import msgspec
import pytest

from brownout.archive import open_run
from brownout.cli import main
from brownout.judge import judged
from brownout.recording import FORMAT, OLDEST_FORMAT
from brownout.suite import read_suite
from brownout.topology import read_topology
from brownout.verdict import Ruling, Verdict

RECORDED = Path(__file__).parent / "recordings" / "shop"
LIMIT, TRACING = (Path("recordings") / name for name in ("rate-limit-users", "tracing-create-order"))

OFFLINE = """
import sys
def refuse(event, _):
    if event.startswith("socket."):
        raise AssertionError(f"{event}: judging asks nobody")
sys.addaudithook(refuse)
from brownout.cli import main
main()
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the recorded run, to be damaged."""
    return Path(shutil.copytree(RECORDED, tmp_path / "run"))


@pytest.fixture
def judge(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], tuple[int, str]]:
    """Judge the copy; returns the exit code, and the table or what was refused."""

    def call() -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["brownout", "judge", str(run)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(str(ended.value.code)), said.err or said.out

    return call


def test_a_recording_of_the_shop_is_judged_as_it_was_without_a_socket(run: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    subprocess.run(
        [sys.executable, "-c", OFFLINE, "judge", str(run), "--json", str(report)],
        check=True,
        capture_output=True,
        timeout=60,
        env={"HOME": str(tmp_path)},
    )
    was = msgspec.json.decode((RECORDED / "verdicts.json").read_bytes(), type=tuple[Verdict, ...])
    told = json.loads(report.read_text())["promises"]
    assert msgspec.convert(told, tuple[Verdict, ...]) == was
    assert {verdict.ruling for verdict in was} == {Ruling.PASS}


def test_a_recording_of_the_shop_fails_a_contract_that_the_shop_did_not_keep(
    run: Path, judge: Callable[[], tuple[int, str]]
) -> None:
    contract = run / "scenarios" / "contract.toml"
    contract.write_text(contract.read_text().replace('name = "SaveOrder"', 'name = "KeepOrder"'))
    code, said = judge()
    assert code == 1
    assert "FAIL: 2 of 3 promises kept" in said


@pytest.mark.parametrize("other", [-1, 0, 1, OLDEST_FORMAT - 1, FORMAT + 1, 99])
def test_every_other_format_is_refused_in_one_line(run: Path, judge: Callable[[], tuple[int, str]], other: int) -> None:
    page = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({"format": other, "brownout": "7.0.1", "trials": page["promises"]}))
    code, line = judge()
    assert code == 3
    assert line.endswith(
        f"written in format {other}, this version reads {OLDEST_FORMAT} to {FORMAT}; brownout 7.0.1 reads it\n"
    )
    assert line.count("\n") == 1


def put(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda run: (run / name).write_bytes(data)


def changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda run: (run / name).write_bytes(change((run / name).read_bytes()))


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], object]:
    return changed(f"{LIMIT}/history.jsonl", lambda raw: b"".join(change(raw.splitlines(keepends=True))))


def telemetry(**change: object) -> Callable[[Path], object]:
    def unpacked(raw: bytes) -> bytes:
        return gzip.compress(json.dumps(json.loads(gzip.decompress(raw)) | change).encode())

    return changed(f"{LIMIT}/telemetry.json.gz", unpacked)


def swapped(run: Path) -> None:
    (run / LIMIT).rename(run / "aside")
    (run / TRACING).rename(run / LIMIT)
    (run / "aside").rename(run / TRACING)


REFUSED = {
    "run.json is missing": (lambda run: (run / "run.json").unlink(), "run.json: no such file"),
    "run.json is empty": (put("run.json", b""), "run.json: damaged: "),
    "run.json is a list": (put("run.json", b"[2]"), "run.json: damaged: "),
    "run.json has no format": (
        put("run.json", b'{"promises": [], "started_at": ""}'),
        "missing required field `format`",
    ),
    "the format is a word": (put("run.json", b'{"format": "2"}'), "run.json: damaged: Expected `int`, got `str`"),
    "run.json has no promises": (put("run.json", b'{"format": 2, "started_at": ""}'), "missing required field"),
    "the contract is missing": (lambda run: (run / "scenarios/contract.toml").unlink(), "contract.toml: no such file"),
    "the topology is missing": (lambda run: (run / "topology.toml").unlink(), "topology.toml: no such file"),
    "a promise was renamed": (
        changed("scenarios/contract.toml", lambda raw: raw.replace(b'"tracing-create-order"', b'"tracing"')),
        "run.json tracing-create-order: no such promise; the contract has rate-limit-users, tracing, ",
    ),
    "a line is no JSON": (lines(lambda all_: [*all_[:7], b"{]\n", *all_[8:]]), "damaged recording: "),
    "the last line was half written": (lines(lambda all_: [*all_[:-1], all_[-1][:-20]]), "damaged recording: "),
    "the last line has no end": (
        lines(lambda all_: [*all_[:-1], all_[-1][:-1]]),
        "damaged recording: the history has ",
    ),
    "the last line is missing": (lines(lambda all_: all_[:-1]), "damaged recording: the history has been changed"),
    "a line in the midst is missing": (
        lines(lambda all_: [*all_[:7], *all_[8:]]),
        "damaged recording: line 8 of the history is not event 7",
    ),
    "two lines changed places": (
        lines(lambda all_: [*all_[:7], all_[8], all_[7], *all_[9:]]),
        "damaged recording: line 8 of the history is not event 7",
    ),
    "a figure was changed": (
        lines(lambda all_: [line.replace(b'"status":429', b'"status":200') for line in all_]),
        "damaged recording: the history has been changed since it was written",
    ),
    "the history is missing": (lambda run: (run / LIMIT / "history.jsonl").unlink(), "damaged recording: [Errno 2] "),
    "the telemetry was half written": (
        changed(f"{LIMIT}/telemetry.json.gz", lambda raw: raw[: len(raw) // 2]),
        "damaged recording: ",
    ),
    "the telemetry has no spans": (telemetry(spans="none"), "damaged recording: Expected `array"),
    "two recordings changed places": (swapped, "damaged recording: it is that of 'tracing-create-order'"),
}


@pytest.mark.parametrize("damage", REFUSED)
def test_a_damaged_run_is_refused_in_one_line(run: Path, judge: Callable[[], tuple[int, str]], damage: str) -> None:
    do, told = REFUSED[damage]
    do(run)
    code, line = judge()
    assert code == 3
    assert told in line
    assert line.startswith("brownout: ")
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("lose", "unknown"),
    [
        (lambda run: (run / LIMIT / "telemetry.json.gz").unlink(), 2),
        (lambda run: (run / LIMIT).rename((run / LIMIT).with_name("rate-limit")), 2),
        (lambda run: shutil.rmtree(run / TRACING), 1),
        (telemetry(series=[]), 2),
        (telemetry(spans=[]), 2),
        (telemetry(queried={}), 1),
    ],
    ids=["no telemetry", "a renamed scenario", "no recording", "no metrics", "no traces", "no answers to queries"],
)
def test_what_is_not_there_is_inconclusive_and_the_rest_is_judged(
    run: Path, judge: Callable[[], tuple[int, str]], lose: Callable[[Path], object], unknown: int
) -> None:
    lose(run)
    code, said = judge()
    assert code == 2
    assert f"INCONCLUSIVE: {3 - unknown} of 3 promises kept" in said


def test_verdicts_do_not_depend_on_what_was_judged_before() -> None:
    archive = open_run(RECORDED)
    suite = read_suite(archive.contract, read_topology(archive.topology))
    recordings = {promise.trial: archive.recording(promise.trial) for promise in suite}
    orders = [{one.name: judged(one, recordings[one.trial]) for one in order} for order in permutations(suite)]
    assert len(orders) == 6
    assert all(order == orders[0] for order in orders)


def test_a_run_of_no_promises_kept_none(run: Path, judge: Callable[[], tuple[int, str]]) -> None:
    page = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(page | {"promises": []}))
    shutil.rmtree(run / "recordings")
    assert judge()[0] == 2


def test_a_run_from_before_histories_were_sealed_is_judged(run: Path, judge: Callable[[], tuple[int, str]]) -> None:
    telemetry(history_crc32=None, scenario="")(run)
    assert judge()[0] == 0
