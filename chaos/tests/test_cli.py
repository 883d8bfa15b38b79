"""The command line: what is wrong is told in one line with exit code 3, before anything is started."""

import errno
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from brownout.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def brownout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The program in a copy of the two files that the shop brings; returns exit code, output and errors."""
    shutil.copytree(ROOT / "scenarios", tmp_path / "scenarios")
    (tmp_path / "system").mkdir()
    shutil.copy(ROOT / "system" / "topology.toml", tmp_path / "system")
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["brownout", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(str(ended.value.code)), said.out, said.err

    return call


def change(path: str, right: str, wrong: str) -> None:
    text = Path(path).read_text()
    assert right in text
    Path(path).write_text(text.replace(right, wrong, 1))


CONTRACT, TOPOLOGY = "scenarios/contract.toml", "system/topology.toml"


@pytest.mark.parametrize(
    ("path", "right", "wrong", "told"),
    [
        (
            CONTRACT,
            "open_s = 60",
            "opens_s = 60",
            f"{CONTRACT}: promise[0].opens_s: unknown key; allowed are kind, name",
        ),
        (CONTRACT, '"orders -> users"', '"orders -> usres"', "no edge 'orders -> usres'; the topology has "),
        (CONTRACT, "open_s = 60", "open_s = -60", f"{CONTRACT}: promise[0].open_s: expected `float` > 0"),
        (
            CONTRACT,
            '"circuit-breaker"',
            '"circuit-braker"',
            f"{CONTRACT}: promise[0].kind: unknown kind 'circuit-braker'",
        ),
        (CONTRACT, 'journey = "order"', 'journey = "odrer"', "no journey 'odrer'; there are "),
        (TOPOLOGY, 'entry = "gateway"', 'entyr = "gateway"', f"{TOPOLOGY}: entyr: unknown key; allowed are entry, "),
        (TOPOLOGY, 'calls = ["users", "products"]', 'calls = ["usres"]', "services.orders.calls: no service 'usres'"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_and_nothing_is_started(
    brownout: Callable[..., tuple[int, str, str]], path: str, right: str, wrong: str, told: str
) -> None:
    change(path, right, wrong)
    code, said, line = brownout("gate")
    assert code == 3
    assert line.startswith("brownout: ")
    assert told in line
    assert line.count("\n") == 1
    assert said == ""
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("gate", "--contract", "nowhere.toml"), "nowhere.toml: no such file"),
        (("gate", "--topology", "nowhere.toml"), "nowhere.toml: no such file"),
        (("gate", "--only", "nothing"), "--only nothing: no such promise; the contract has breaker-orders-users, "),
        (("gate", "--onyl", "nothing"), "No such option: --onyl"),
        (("gaet",), "No such command 'gaet'"),
        (("judge",), "runs/latest/run.json: no such file"),
        (("up", "--topology", "nowhere.toml"), "nowhere.toml: no such file"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_3(
    brownout: Callable[..., tuple[int, str, str]], words: tuple[str, ...], told: str
) -> None:
    code, _, line = brownout(*words)
    assert code == 3
    assert line.startswith(f"brownout: {told}")
    assert line.count("\n") == 1


@pytest.mark.parametrize("command", ["gate", "up", "judge", "doctor"])
def test_each_command_tells_what_it_does(brownout: Callable[..., tuple[int, str, str]], command: str) -> None:
    code, said, _ = brownout(command, "--help")
    assert code == 0
    assert f"brownout {command}" in said.replace("main ", "")


def test_the_gate_tells_its_exit_codes_and_outputs(brownout: Callable[..., tuple[int, str, str]]) -> None:
    said = " ".join(brownout("gate", "--help")[1].split())
    assert "Exit codes: 0 every promise kept, 1 one broken, 2 inconclusive, 3 could not run; 130 and 143 " in said
    assert all(option in said for option in ("--junit", "--markdown", "--json"))


def test_the_version_is_told(brownout: Callable[..., tuple[int, str, str]]) -> None:
    assert brownout("--version") == (0, f"brownout {version('brownout')}\n", "")


def test_a_bare_call_prints_the_help_and_is_no_pass(brownout: Callable[..., tuple[int, str, str]]) -> None:
    code, said, line = brownout()
    assert code == 3  # an empty variable where the command should be must not make a job green
    assert "Commands" in said
    assert line == ""


def test_a_crash_is_one_line_and_not_the_exit_code_of_a_broken_promise(
    brownout: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash() -> None:
        raise KeyError("nowhere")

    monkeypatch.setattr("brownout.cli.survey", crash)
    code, _, line = brownout("doctor")
    assert code == 3
    assert line.startswith("brownout: crashed: KeyError: 'nowhere' (")
    assert line.count("\n") == 1


def test_output_that_nobody_reads_is_not_the_exit_code_of_a_broken_promise(
    brownout: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_pipe() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("brownout.cli.survey", broken_pipe)
    monkeypatch.setattr("sys.stdout", sys.stdout)  # typer puts others in their place
    monkeypatch.setattr("sys.stderr", sys.stderr)
    assert brownout("doctor")[0] == 3
