"""The workflows of continuous integration: what they call, keep and hand over is there under these names."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml

from brownout.cli import RUNS, app
from brownout.servers.cache import cache_folder

ROOT = Path(__file__).parents[2]
OURS = ROOT / ".github" / "workflows" / "gate.yml"
THEIRS = ROOT / "docs" / "ci" / "github-actions.yml"
GITLAB = ROOT / "docs" / "ci" / "gitlab-ci.yml"
TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)
PATTERN = re.compile(r"hashFiles\((.*?)\)")


def parsed(path: Path) -> dict[Any, Any]:
    document = yaml.safe_load(path.read_text())
    assert isinstance(document, dict)
    return document


def job(path: Path) -> dict[str, Any]:
    document = parsed(path)
    (only,) = document["jobs"].values() if "jobs" in document else [document["gate"]]
    assert isinstance(only, dict)
    return only


def steps(path: Path) -> list[dict[str, Any]]:
    return list(job(path)["steps"])


def commands(path: Path) -> Iterator[list[str]]:
    lines = job(path)["script"] if path == GITLAB else [step["run"] for step in steps(path) if "run" in step]
    return (shlex.split(line) for text in lines for line in text.splitlines())


def gate_call(path: Path) -> list[str]:
    (call,) = [words for words in commands(path) if words[0].endswith("brownout")]
    return call


def kept(path: Path, action: str, key: str) -> list[str]:
    """A key of every step that uses an action, its lines in one list."""
    found = [step["with"][key] for step in steps(path) if step.get("uses", "").startswith(action)]
    assert found
    return [line for text in found for line in str(text).splitlines()]


@pytest.mark.parametrize("path", [OURS, THEIRS, GITLAB], ids=lambda path: path.name)
def test_every_command_is_one_of_these_with_options_that_it_has(path: Path) -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    called = list(commands(path))
    assert called
    for words in called:
        match words:
            case ["make", target]:
                assert target in targets
            case ["pip", "install", _]:
                pass
            case [program, "gate", *options] if program in (".venv/bin/brownout", "brownout"):
                context = click.Context(typer.main.get_command(app))
                command = context.command.get_command(context, "gate")  # type: ignore[attr-defined]  # a group's
                given = command.make_context("gate", options).params
                assert given["junit"] == Path("gate.xml")
            case _:
                pytest.fail(f"unknown: {words}")


def test_this_repository_is_checked_tested_and_gated() -> None:
    assert [words[:2] for words in commands(OURS)] == [
        ["make", "check"],
        ["make", "test"],
        [".venv/bin/brownout", "gate"],
    ]
    assert {"push", "pull_request"} == set(parsed(OURS)[True])  # YAML 1.1 takes `on` for a truth


@pytest.mark.parametrize("path", [OURS, THEIRS], ids=lambda path: path.name)
def test_the_servers_are_kept_where_brownout_looks_for_them(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BROWNOUT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 1001)  # the runner's user
    assert set(kept(path, "actions/cache/", "path")) == {f"~/{cache_folder().relative_to(Path.home())}"}


def test_gitlab_keeps_the_servers_where_it_tells_brownout_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWNOUT_CACHE", job(GITLAB)["variables"]["BROWNOUT_CACHE"].replace("$CI_PROJECT_DIR", "/it"))
    assert [Path("/it") / path for path in job(GITLAB)["cache"]["paths"]] == [cache_folder()]


def test_the_virtual_environment_is_kept_where_the_makefile_makes_it() -> None:
    assert kept(OURS, "actions/cache@", "path") == [".venv"]
    assert "VENV := .venv\n" in (ROOT / "Makefile").read_text()


def test_what_is_kept_is_keyed_by_files_that_are_there() -> None:
    lists = PATTERN.findall(OURS.read_text())
    patterns = [pattern.strip().strip("'") for found in lists for pattern in found.split(",")]
    assert {"requirements.lock", "chaos/brownout/servers/**"} <= set(patterns)
    assert [pattern for pattern in patterns if not any(ROOT.glob(pattern))] == []


@pytest.mark.parametrize("path", [OURS, THEIRS], ids=lambda path: path.name)
def test_recordings_and_reports_are_handed_over_whatever_was_found(path: Path) -> None:
    call = gate_call(path)
    reports = [word for word in call if word.startswith("gate.")]
    assert kept(path, "actions/upload-artifact", "path") == [*reports, str(RUNS), f"!{RUNS}/latest/**"]
    assert [step["if"] for step in steps(path) if "upload-artifact" in step.get("uses", "")] == ["always()"]
    assert call[call.index("--markdown") + 1] == "$GITHUB_STEP_SUMMARY"


def test_gitlab_reads_the_report_that_is_written() -> None:
    call = gate_call(GITLAB)
    assert job(GITLAB)["artifacts"]["reports"]["junit"] == call[call.index("--junit") + 1]
    assert job(GITLAB)["artifacts"]["paths"] == [str(RUNS)]


@pytest.mark.parametrize("path", [OURS, THEIRS], ids=lambda path: path.name)
def test_actions_are_pinned_and_a_run_is_bounded(path: Path) -> None:
    uses = [step["uses"] for step in steps(path) if "uses" in step]
    assert [use for use in uses if not re.fullmatch(r"actions/[a-z/-]+@v\d+", use)] == []
    assert 0 < job(path)["timeout-minutes"] <= 60
    assert parsed(path)["concurrency"]["cancel-in-progress"] is True
    assert parsed(path)["permissions"] == {"contents": "read"}
