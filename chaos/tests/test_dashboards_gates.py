"""The history of gates: reports that brownout wrote, put into a real Prometheus, are on the dashboard."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import pytest_asyncio

import compose_prometheus
from boards import ROOT, Query, queries
from brownout.cells.prometheus import Prometheus
from brownout.servers import Program
from brownout.servers.stage import Stage
from brownout.undo import Supervisor

RECORDED = Path(__file__).parent / "recordings" / "shop"
HOUR_S, WEEK_S = 3_600, 7 * 86_400
HISTORY = [query for query in queries() if query.board == "gate-history"]
NOBODY = "127.0.0.1:1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(programs: Mapping[str, Program]) -> AsyncIterator[Prometheus]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        async with Supervisor(folder / "scratch") as supervisor:
            stage = Stage(supervisor, supervisor.scratch, lambda name: folder / f"{name}.log")
            address = await compose_prometheus.start(programs["prometheus"], stage, consul=NOBODY, toxiproxy=NOBODY)
            async with Prometheus(address) as opened:
                yield opened


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What brownout says of a recorded run."""
    run = shutil.copytree(RECORDED, tmp_path_factory.mktemp("judged") / "run")  # its page is written beside it
    path = run / "gate.json"
    program = "from brownout.cli import main; main()"
    subprocess.run([sys.executable, "-c", program, "judge", run, "--json", path], check=True, timeout=60)
    report: dict[str, Any] = json.loads(path.read_text())
    return report


def gate(folder: Path, report: dict[str, Any], begun_s: int, **changed: Any) -> Path:
    """A report as a gate that began then would have written it."""
    begun_at = datetime.fromtimestamp(begun_s, UTC).isoformat(timespec="seconds")
    timing = {"prepared_s": 5.0, "longest_s": 100.0, "whole_s": 120.0}
    path = folder / f"{begun_s}.json"
    path.write_text(json.dumps(report | {"started_at": begun_at, "timing": timing} | changed))
    return path


def push(to: str, *paths: Path) -> tuple[int, str]:
    command = [sys.executable, ROOT / "dashboards/push.py", "--to", f"http://{to}", *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


async def values(prometheus: Prometheus, expression: str, at_s: int) -> list[float]:
    series = await prometheus.evaluate(expression, at_s * 10**9, at_s * 10**9)
    return [value for each in series for _, value in each.points]


@pytest.mark.servers
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("query", HISTORY, ids=str)
async def test_a_gate_is_one_point_of_every_panel(
    prometheus: Prometheus, judged: dict[str, Any], tmp_path: Path, query: Query
) -> None:
    begun_s = int(time.time()) // HOUR_S * HOUR_S - HOUR_S  # again the same, where it was put there before
    assert push(prometheus.address, gate(tmp_path, judged, begun_s)) == (0, "")
    found = await prometheus.evaluate(query.about(__interval="1s"), (begun_s - 5) * 10**9, (begun_s + 5) * 10**9)
    assert found
    assert {len(series.points) for series in found} == {1}


@pytest.mark.servers
@pytest.mark.asyncio(loop_scope="module")
async def test_an_older_gate_is_taken_after_a_newer_one_and_the_same_gate_twice_is_one(
    prometheus: Prometheus, judged: dict[str, Any], tmp_path: Path
) -> None:
    now_s = int(time.time())
    older = gate(tmp_path, judged, now_s - WEEK_S, ruling="FAIL")
    assert push(prometheus.address, gate(tmp_path, judged, now_s), older, older) == (0, "")
    assert await values(prometheus, "brownout_gate_ruling", now_s - WEEK_S) == [2]
    assert await values(prometheus, "count_over_time(brownout_gate_ruling[1d])", now_s - WEEK_S) == [1]


@pytest.mark.servers
@pytest.mark.asyncio(loop_scope="module")
async def test_the_numbers_are_those_of_the_report(
    prometheus: Prometheus, judged: dict[str, Any], tmp_path: Path
) -> None:
    begun_s = int(time.time()) - 60
    push(prometheus.address, gate(tmp_path, judged, begun_s))
    assert await values(prometheus, "brownout_gate_duration_seconds", begun_s) == [120]
    assert await values(prometheus, 'brownout_gate_promises{ruling="PASS"}', begun_s) == [len(judged["promises"])]
    for found in judged["promises"]:
        chosen = f'{{promise="{found["promise"]}"}}'
        assert await values(prometheus, f"brownout_promise_duration_seconds{chosen}", begun_s) == [found["took_s"]]
        measured = await values(prometheus, f"brownout_promise_figure{chosen}", begun_s)
        assert sorted(measured) == sorted(figure["value"] for figure in found["figures"])


def test_a_gate_without_a_ruling_is_told_and_not_sent(judged: dict[str, Any], tmp_path: Path) -> None:
    path = gate(tmp_path, judged, int(time.time()), ruling=None, unfinished="the disk is full")
    assert push(NOBODY, path) == (1, f"{path}: no ruling: the disk is full\n")


def test_a_file_that_is_no_report_and_a_prometheus_that_is_away_are_told(
    judged: dict[str, Any], tmp_path: Path
) -> None:
    wrong, now_s = tmp_path / "wrong.json", int(time.time())
    wrong.write_text("[]")
    code, said = push(NOBODY, wrong, *(gate(tmp_path, judged, now_s - number) for number in range(3)))
    first, second = said.splitlines()
    assert code == 1
    assert "wrong.json: Expected `object`" in first
    assert second == f"http://{NOBODY}: no Prometheus answers there; nothing more was sent"


@pytest.mark.servers
@pytest.mark.asyncio(loop_scope="module")
async def test_a_gate_that_prometheus_refuses_is_told_in_its_own_words(
    prometheus: Prometheus, judged: dict[str, Any], tmp_path: Path
) -> None:
    now_s = int(time.time())
    newest, too_old = gate(tmp_path, judged, now_s), gate(tmp_path, judged, now_s - 100 * 24 * HOUR_S)
    code, said = push(prometheus.address, newest, too_old)
    assert code == 1
    assert said.startswith(f"{too_old}: http://{prometheus.address} answered 400: ")
    assert "too old" in said
