"""Scripts: stories that are done first and judged afterwards."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brownout.errors import FileError
from brownout.promises.promise import BrokenError, NoEvidenceError
from brownout.recording import Recording
from brownout.scenario import Hold, Wait
from brownout.scripts import Seen, Story, hold, load, outage, script, script_files, scripts_in, wait
from brownout.suite import fitted_scripts
from brownout.topology import parse_topology, read_topology
from brownout.verdict import Ruling
from brownout.written import Written

ROOT = Path(__file__).parents[2]
SHOP = read_topology(ROOT / "system" / "topology.toml")
TOPOLOGY = parse_topology(
    """
    entry = "orders"
    [services.orders]
    command = ["orders"]
    calls = ["users"]
    [services.users]
    command = ["users"]
    """,
    "topology.toml",
)


@pytest.mark.parametrize(("name", "told"), [("a" * 39, "length <= 38"), ("Capital", "matching regex")])
def test_a_name_that_no_cell_can_have_is_refused(tmp_path: Path, name: str, told: str) -> None:
    path = tmp_path / "story.py"
    path.write_text(
        f'from brownout.scripts import script\n@script(steady="order")\ndef {name}():\n    yield ()\n',
    )
    wrong = rf"story\.py: cannot be loaded: line 2: ValidationError: Expected `str` .*{told}"
    with pytest.raises(FileError, match=wrong):
        scripts_in(path)


@script(steady="order", clause="3.3")
def everybody_is_served() -> Story:
    """Whoever orders is served."""
    seen = yield (hold(load("ordering", "order", rate=2), hold(outage("orders -> users"), wait(1))),)
    seen.none_failed("ordering", within_s=1)
    assert seen.rows("orders") == [{"id": "7"}], "an order was lost"


@script(steady="order")
def looks_at_nothing() -> Story:
    """Nothing is looked at."""
    yield (wait(1),)


def recorded(*, status: int = 201, took_s: float = 0.1, rows: list[dict[str, Any]] | None = None) -> Recording:
    story = Written()
    story.call("ordering", actor="load")
    story.call("ordering", actor="load", status=status, took_s=took_s)
    if rows is not None:
        story.read("select", "orders", rows)
    return story.recording()


def test_a_story_whose_second_half_holds_is_kept_and_told_by_its_docstring() -> None:
    verdict = everybody_is_served.check(recorded(rows=[{"id": "7"}]))
    assert (verdict.ruling, verdict.reason) == (Ruling.PASS, "Whoever orders is served.")
    assert [str(figure) for figure in verdict.figures] == ["ordering answered 2xx 2 of 2", "orders 1 rows"]


@pytest.mark.parametrize(
    ("recording", "ruling", "reason"),
    [
        (recorded(status=503), Ruling.FAIL, "1 of 2 requests in 'ordering'; the first, "),
        (recorded(took_s=1.5), Ruling.FAIL, "after 1.50 s"),
        (recorded(rows=[]), Ruling.FAIL, "an order was lost"),
        (recorded(), Ruling.INCONCLUSIVE, "select 'orders' was not read"),
        (Written().recording(), Ruling.INCONCLUSIVE, "no requests in the phase 'ordering'"),
    ],
)
def test_a_story_that_does_not_hold_says_why(recording: Recording, ruling: Ruling, reason: str) -> None:
    verdict = everybody_is_served.check(recording)
    assert verdict.ruling is ruling
    assert reason in verdict.reason


def looked(requests: int, failed: int = 0, slow: int = 0) -> Seen:
    story = Written()
    for number in range(requests):
        status, took_s = (503, 0.001) if number < failed else (201, 2.0 if number < failed + slow else 0.1)
        story.call("buying", actor="load", status=status, took_s=took_s)
    return Seen(story.recording())


def test_a_share_that_clearly_keeps_its_bound_holds_and_is_told_with_its_interval() -> None:
    seen = looked(200, failed=1)
    seen.share_failed("buying", at_most=0.05)
    assert str(seen.figures[-1]) == "buying requests failed 0.50 % of 200 (interval 0.00 to 3.66; at most 5 %)"


def test_a_share_that_clearly_breaks_its_bound_is_broken() -> None:
    with pytest.raises(BrokenError, match="40 of 200 buying requests failed, at most 5 % may"):
        looked(200, failed=40).share_failed("buying", at_most=0.05)


def test_a_share_at_its_bound_is_not_known() -> None:
    with pytest.raises(NoEvidenceError, match="too near to the bound"):
        looked(200, failed=10).share_failed("buying", at_most=0.05)


def test_a_percentile_holds_when_the_sample_shows_it() -> None:
    seen = looked(1000, slow=1)
    seen.p99("buying", at_most_s=1.0)
    seen.quantile("buying", of=0.5, at_most_s=1.0)
    assert str(seen.figures[1]).startswith("buying p99 0.10 s (interval 0.10 to ")


def test_a_request_that_failed_at_once_does_not_make_a_percentile_better() -> None:
    with pytest.raises(BrokenError, match="buying p90 inf s"):
        looked(200, failed=100).quantile("buying", of=0.9, at_most_s=1.0)


def test_a_percentile_of_few_requests_says_how_many_would_show_it() -> None:
    with pytest.raises(NoEvidenceError, match="about 528 like them would decide"):
        looked(50).p99("buying", at_most_s=1.0)


def test_a_story_that_looks_at_nothing_shows_nothing() -> None:
    assert looks_at_nothing.check(recorded()).ruling is Ruling.INCONCLUSIVE


def test_a_storys_scenario_is_what_its_first_half_yields_in_the_whole_system() -> None:
    scenario = everybody_is_served.scenario(TOPOLOGY)
    assert (scenario.name, scenario.steady, scenario.services) == ("everybody-is-served", "order", ("orders", "users"))
    assert [type(step) for step in scenario.every_step()] == [Hold, Hold, Wait]


def test_an_edge_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "story.py"
    path.write_text(
        "from brownout.scripts import hold, outage, script, wait\n"
        '@script(steady="order")\ndef lost():\n    yield (hold(outage("orders -> user"), wait(1)),)\n'
    )
    with pytest.raises(FileError, match=r"story\.py: lost\..*no edge 'orders -> user'; the topology has"):
        fitted_scripts(path, TOPOLOGY, {"order"})


RESTARTING = """
from brownout.scripts import hold, restarted, script, wait
@script(steady="order", private={private})
def gone():
    yield (hold(restarted("postgres"), wait(1)),)
"""
STORED = parse_topology(
    """
    entry = "orders"
    [services.orders]
    command = ["orders"]
    env = { DATABASE_URL = "{postgres}" }
    """,
    "topology.toml",
)


def test_a_server_that_a_story_restarts_is_its_cells_own(tmp_path: Path) -> None:
    path = tmp_path / "story.py"
    path.write_text(RESTARTING.format(private=["postgres"]))
    (gone,) = fitted_scripts(path, STORED, {"order"})
    assert gone.scenario(STORED).private == ("postgres",)


@pytest.mark.parametrize(
    ("private", "told"),
    [
        ([], r'gone: restart of postgres: all cells share it; say private=\["postgres"\]'),
        (
            ["kafka", "postgres"],
            r"gone\.private: no cell can have a 'kafka' of its own; it can have consul and postgres",
        ),
        (["consul", "postgres"], r"gone\.private: nobody reaches consul: the topology does not name {consul}"),
    ],
)
def test_what_no_cell_can_have_of_its_own_is_refused_before_anything_starts(
    tmp_path: Path, private: list[str], told: str
) -> None:
    path = tmp_path / "story.py"
    path.write_text(RESTARTING.format(private=private))
    with pytest.raises(FileError, match=told):
        fitted_scripts(path, STORED, {"order"})


def test_every_story_of_the_repository_is_short_and_reads_its_books_where_somebody_buys() -> None:
    for path in script_files(ROOT / "scenarios" / "contract.toml"):
        for story in scripts_in(path):
            lines = inspect.getsource(story.story).strip().splitlines()
            assert len(lines) <= 16, path
            buys = any("buy" in journey for journey in story.scenario(SHOP).journeys())
            assert buys == ("    balanced(seen)" in lines), path


def test_where_assertions_are_left_out_no_script_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "story.py"
    path.write_text("")
    told = f"import pathlib, brownout.scripts as s\ns.scripts_in(pathlib.Path({str(path)!r}))"
    done = subprocess.run([sys.executable, "-O", "-c", told], capture_output=True, text=True, timeout=30, check=False)
    assert "Python was told to leave out assertions, which scripts judge by" in done.stderr
