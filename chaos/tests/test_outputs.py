"""The files that continuous integration reads: whole, of this run, and refused before it starts when they cannot be."""

import asyncio
import json
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from brownout.cli import main
from brownout.errors import ServerError
from brownout.reports.outputs import UNDER_WAY, hold_outputs
from brownout.stopping import Stopped

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).parent / "recordings" / "shop"
FILES = ("--junit", "ci/gate.xml", "--markdown", "ci/gate.md", "--json", "ci/gate.json", "--html", "ci/gate.html")
STALE = "the run before"


@pytest.fixture
def brownout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """The program in a folder with the shop's two files and a recorded run; returns its exit code and errors."""
    shutil.copytree(RECORDED, tmp_path / "recorded")
    shutil.copytree(ROOT / "scenarios", tmp_path / "scenarios")
    (tmp_path / "system").mkdir()
    shutil.copy(ROOT / "system" / "topology.toml", tmp_path / "system")
    (tmp_path / "ci").mkdir()
    for name in FILES[1::2]:
        (tmp_path / name).write_text(STALE)
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["brownout", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(str(ended.value.code)), capsys.readouterr().err

    return call


def texts() -> list[str]:
    return [Path(name).read_text() for name in FILES[1::2]]


def test_judging_again_writes_every_file_and_leaves_no_part(brownout: Callable[..., tuple[int, str]]) -> None:
    assert brownout("judge", "recorded", *FILES)[0] == 0
    junit, markdown, told, page = texts()
    assert 'tests="3" failures="0" errors="0"' in junit
    assert "3 of 3 promises kept" in markdown
    assert json.loads(told)["ruling"] == "PASS"
    assert page.startswith("<!doctype html>")
    assert sorted(path.name for path in Path("ci").iterdir()) == ["gate.html", "gate.json", "gate.md", "gate.xml"]


def test_folders_above_a_file_are_made_and_a_link_stays_a_link(brownout: Callable[..., tuple[int, str]]) -> None:
    Path("ci/latest.json").symlink_to("gate.json")
    assert brownout("judge", "recorded", "--junit", "new/of/it.xml", "--json", "ci/latest.json")[0] == 0
    assert Path("new/of/it.xml").exists()
    assert Path("ci/latest.json").is_symlink()
    assert json.loads(Path("ci/gate.json").read_text())["ruling"] == "PASS"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("ci", "--json ci: is there, and is no file"),
        ("/dev/null", "--json /dev/null: is there, and is no file"),
        ("-", "--json -: standard output has the table; name a file"),
        ("ci/gate.xml/in/it.json", "it.json: cannot be written: Not a directory"),
        ("ci/gate.xml/it.json", "it.json: cannot be written: Not a directory"),
        ("/proc/it.json", "/proc/it.json: cannot be written: "),
    ],
)
@pytest.mark.parametrize("command", ["gate", "judge"])
def test_a_file_that_cannot_be_written_is_refused_before_the_run_starts(
    brownout: Callable[..., tuple[int, str]], command: str, path: str, told: str
) -> None:
    code, line = brownout(command, "--json", path)
    assert code == 3
    assert line.startswith("brownout: ")
    assert told in line
    assert line.count("\n") == 1
    assert not Path("runs").exists()


def test_one_file_is_not_written_in_two_forms(brownout: Callable[..., tuple[int, str]]) -> None:
    code, line = brownout("judge", "recorded", "--junit", "ci/gate", "--json", "./ci/gate")
    assert code == 3
    assert line.endswith("ci/gate: is the file of --json too\n")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("gate", "--only", "nothing"), "--only nothing: no such promise"),
        (("gate", "--contract", "nowhere.toml"), "nowhere.toml: no such file"),
        (("judge", "nowhere"), "nowhere/run.json: no such file"),
    ],
)
def test_a_run_that_could_not_be_leaves_no_file_of_the_run_before(
    brownout: Callable[..., tuple[int, str]], words: tuple[str, ...], why: str
) -> None:
    code, _ = brownout(*words, *FILES)
    assert code == 3
    assert all(why in text and STALE not in text for text in texts())
    assert json.loads(texts()[2])["ruling"] is None


async def refused(*_: object) -> None:
    raise ServerError("toxiproxy", "did not start")


async def crashed(*_: object) -> None:
    raise ZeroDivisionError("of nothing")


async def interrupted(*given: object) -> None:
    (stop,) = [each for each in given if isinstance(each, asyncio.Event)]
    signal.raise_signal(signal.SIGINT)
    await asyncio.wait_for(stop.wait(), 10)
    raise Stopped


@pytest.mark.parametrize(
    ("ended", "code", "why"),
    [
        (refused, 3, "toxiproxy: did not start"),
        (crashed, 3, "ZeroDivisionError: of nothing"),
        (interrupted, 130, "stopped by SIGINT"),
    ],
)
def test_a_run_that_is_not_finished_says_why_in_every_file(
    brownout: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    ended: Callable[..., Awaitable[None]],
    code: int,
    why: str,
) -> None:
    monkeypatch.setattr("brownout.cli.run_gate", ended)
    assert brownout("gate", *FILES)[0] == code
    assert all(why in text and STALE not in text for text in texts())
    assert json.loads(texts()[2])["ruling"] is None


def test_while_a_run_is_under_way_its_files_say_so(tmp_path: Path) -> None:
    path = tmp_path / "gate.json"
    path.write_text(STALE)
    with hold_outputs(html=None, junit=None, markdown=None, json=path):
        assert json.loads(path.read_text())["unfinished"] == UNDER_WAY


def test_without_files_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with hold_outputs(html=None, junit=None, markdown=None, json=None):
        pass
    assert list(tmp_path.iterdir()) == []
