"""The pytest plugin: the gate's scenarios are items, and those selected are put to the test together."""

import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from brownout.suite import read_suite
from brownout.topology import read_topology

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "scenarios" / "contract.toml"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a process of its own, at the top of the repository."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)


def test_every_promise_and_script_is_an_item() -> None:
    said = run("scenarios", "--collect-only", "-q")
    suite = read_suite(CONTRACT, read_topology(ROOT / "system" / "topology.toml"))
    items = [line.rpartition("::")[2] for line in said.stdout.splitlines() if "::" in line]
    assert sorted(items) == sorted(promise.name for promise in suite)


def test_items_are_selected_by_their_names() -> None:
    said = run("scenarios", "--collect-only", "-q", "-k", "kafka-missing")
    one = "scenarios/kafka_missing_at_the_start.py::kafka-missing-at-the-start"
    assert [line for line in said.stdout.splitlines() if "::" in line] == [one]


def test_a_wrong_contract_is_an_error_of_the_collection(tmp_path: Path) -> None:
    (tmp_path / "contract.toml").write_text('[[promise]]\nkind = "breaker"\n')
    said = run(str(tmp_path / "contract.toml"))
    assert said.returncode == 2
    assert "promise[0].kind: unknown kind 'breaker'" in said.stdout


@pytest.mark.servers
def test_those_selected_are_put_to_the_test_and_reported(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    said = run("scenarios", "-k", "tracing", f"--runs={tmp_path}", f"--junitxml={report}")
    assert said.returncode == 0, said.stdout
    (case,) = ET.parse(report).iter("testcase")  # noqa: S314 - pytest's own file
    assert case.get("name") == "tracing-create-order"
    assert {each.get("name"): each.get("value") for each in case.iter("property")} == {"traces": "20"}
    assert (tmp_path / "latest" / "verdicts.json").exists()


@pytest.mark.servers
def test_what_is_not_kept_fails_with_its_reason_and_no_traceback(tmp_path: Path) -> None:
    folder = tmp_path / "scenarios"
    folder.mkdir()
    for name in ("journeys.py", "arranged.py", "mischief.py"):
        shutil.copy(ROOT / "scenarios" / name, folder)
    text = CONTRACT.read_text()
    start = text.index('kind = "deadline"')
    promise = text[start : text.index("[[promise]]", start)].replace("status = 504", "status = 418")
    (folder / "contract.toml").write_text(f"[[promise]]\n{promise}")
    said = run(str(folder), f"--runs={tmp_path}")
    assert said.returncode == 1
    assert "FAIL: " in said.stdout
    assert "promised" in said.stdout
    assert "Traceback" not in said.stdout
