"""The open model, run by Locust itself against small real servers that stand for the shop."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from shop_stand_in import BOUND_S, LOADTESTS, OPEN, RELAY, Run, begun, command, ended, locust, shop, written_down
from tally import bucket_ms

USERS = ("-u", "4", "-r", "4")
JOURNEYS = {"browse": 1, "buy": 3, "me": 1, "read-order": 1}
"""How many requests each journey has."""

BROKEN = f"""
import sys
sys.path.append("{LOADTESTS}")
import arrivals
from open_model import *

class Broken(arrivals.Shape):
    def due_s(self, gaps):
        for number, due_s in enumerate(super().due_s(gaps)):
            yield due_s / (number < 20)

arrivals.SHAPES["constant"] = lambda rate, _, seconds: Broken(((0.0, rate), (seconds, rate)))
"""
"""A locustfile whose arrivals fail at the twenty-first."""


def run(folder: Path, *arguments: str, **how: Any) -> tuple[Run, list[tuple[str, str, float]]]:
    with begun(**how) as stand_in:
        written_down(folder, stand_in.addresses)
        return locust(folder, *USERS, *arguments), stand_in.asked


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[tuple[str, str, float]]]:
    return run(tmp_path_factory.mktemp("well"), "--rate", "40", "-t", "5s")


Well = tuple[Run, list[tuple[str, str, float]]]


def test_every_arrival_of_the_shape_is_offered_and_ends(well: Well) -> None:
    told = well[0]
    assert told.code == 0, told.log
    assert told.summary["arrivals"] == 200
    assert told.summary["lost"] == 0
    generator = told.summary["generators"]["local"]
    assert (generator["taken"], generator["ended"], generator["dropped"], generator["cut"]) == (200, 200, 0, 0)


def test_what_locust_counts_is_what_the_shop_was_asked_by_journeys(well: Well) -> None:
    told, asked = well
    journeys = [path for _, path, _ in asked if path.startswith("/api")]
    assert told.summary["requests"] == len(journeys) == sum(row["num_requests"] for row in told.statistics.values())
    assert told.summary["errors"] == 0


def test_journeys_arrive_by_their_weights(well: Well) -> None:
    rows = well[0].statistics
    bought = rows["POST gateway /api/orders"]["num_requests"]
    browsed = rows["GET gateway /api/products"]["num_requests"] - bought
    assert bought == pytest.approx(40, abs=20)  # 2 of 10
    assert browsed == pytest.approx(80, abs=28)  # 4 of 10


def test_what_is_arranged_is_no_part_of_the_statistics(well: Well) -> None:
    told, asked = well
    assert sum(path == "/users" for _, path, _ in asked) == 4
    assert not [name for name in told.statistics if "(arrange)" in name]


def test_arrivals_are_where_the_shape_has_them(tmp_path: Path) -> None:
    told, asked = run(tmp_path, "--shape", "spike", "--rate", "10", "--peak", "60", "-t", "5s", "OpenBrowse")
    came = [at_s for _, path, at_s in asked if path.startswith("/api")]
    assert told.summary["arrivals"] == len(came) == 100
    assert sum(2.0 <= at_s - came[0] <= 3.0 for at_s in came) == pytest.approx(60, abs=6)


def test_an_arrival_does_not_wait_for_those_before(tmp_path: Path) -> None:
    told, _ = run(tmp_path, "--rate", "50", "-t", "2s", "OpenMe", slow_s=1.0)
    assert told.summary["generators"]["local"]["ended"] == 100
    assert told.summary["took_ms"]["p99"] == pytest.approx(1000, rel=0.25)  # one after another it would be 100 s


def test_what_comes_due_while_too_many_are_under_way_is_dropped_and_nobody_knows(tmp_path: Path) -> None:
    told, asked = run(tmp_path, "--rate", "50", "-t", "2s", "--in-flight", "10", "OpenMe", slow_s=1.0)
    generator = told.summary["generators"]["local"]
    assert told.code == 2
    assert generator["dropped"] > 50
    assert generator["ended"] + generator["dropped"] == 100
    assert generator["ended"] == sum(path.startswith("/api") for _, path, _ in asked)
    assert f"of 100 arrivals {generator['dropped']} were dropped" in told.log


def test_a_broken_threshold_is_exit_code_1(tmp_path: Path) -> None:
    told, _ = run(tmp_path, "--rate", "20", "-t", "2s", "--max-p99-ms", "50", "OpenMe", slow_s=0.1)
    assert told.code == 1
    assert re.search(r"FAIL: the p99 of requests is \d+ ms, over 50 ms", told.log)


def test_failures_are_counted_by_their_problem_and_a_share_of_them_may_be_allowed(tmp_path: Path) -> None:
    def out_of_order(method: str, path: str) -> tuple[int, Any]:
        if path == "/api/users/me":
            return 503, {"type": "urn:brownout-shop:problem:breaker-open"}
        return shop(method, path)

    told, _ = run(tmp_path, "--rate", "20", "-t", "2s", "OpenMe", answer=out_of_order)
    assert told.code == 1
    assert "40 of 40 requests failed" in told.log
    assert re.search(r"GET gateway /api/users/me: 503 breaker-open, first in trace \w{32}", told.log)
    allowed, _ = run(tmp_path, "--rate", "20", "-t", "2s", "--max-errors", "1", "OpenMe", answer=out_of_order)
    assert allowed.code == 0, allowed.log


def test_a_run_without_a_request_fails(tmp_path: Path) -> None:
    told, _ = run(tmp_path, "--rate", "0", "-t", "1s")
    assert told.code == 1
    assert "nothing was measured" in told.log


def test_more_arrivals_are_drawn_at_random_and_all_of_them_end(tmp_path: Path) -> None:
    told, _ = run(tmp_path, "--rate", "100", "-t", "3s", "--poisson", "OpenMe")
    assert told.code == 0, told.log
    assert told.summary["arrivals"] == told.summary["requests"] == pytest.approx(300, abs=70)
    assert told.summary["arrivals"] != 300


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("latency orders->users 2s", "say it so: FAULT @DURATION for DURATION"),
        ("latency orders->nobody 2s @1s for 1s", "no edge 'orders->nobody'"),
        ("latency orders->users 2s @1s for 60s", "would outlast the load"),
        ("latency 'orders->users 2s @1s for 1s", "No closing quotation"),
    ],
)
def test_a_plan_of_faults_that_cannot_be_is_told_before_anything_is_sent(tmp_path: Path, fault: str, told: str) -> None:
    refused, asked = run(tmp_path, "-t", "10s", "--fault", fault)
    assert refused.code == 3
    assert told in refused.log
    assert not asked


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--rate", "text"), "argument --rate: invalid float value: 'text'"),
        (("--rtae", "5"), "unrecognized arguments: --rtae"),
        (("--rate", "-5"), "--rate -5: is out of bounds; let it be from 0 to 100000"),
        (("--max-p99-ms", "nan"), "--max-p99-ms nan: is out of bounds"),
        (("--max-errors", "5"), "--max-errors 5: is out of bounds; let it be from 0 to 1"),
        (("--in-flight", "0"), "--in-flight 0: is out of bounds"),
        (("--record", "nowhere.py"), "nowhere.py: cannot be loaded"),
        (("--summary", "nowhere/summary.json"), "there is no folder nowhere"),
    ],
)
def test_an_option_that_cannot_be_is_told_before_anything_is_sent(
    tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    with begun() as stand_in:
        written_down(tmp_path, stand_in.addresses)
        words = command(OPEN, *USERS, "-t", "5s", *arguments)
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert done.returncode == 3
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not stand_in.asked


def test_its_options_are_listed_by_itself() -> None:
    words = [sys.executable, str(LOADTESTS / OPEN)]
    told = subprocess.run(words, capture_output=True, text=True, timeout=BOUND_S, check=True).stdout
    offered = re.findall(r'\("(--[\w-]+)"', (LOADTESTS / OPEN).read_text())
    assert "--max-late-ms" in offered
    assert set(offered) <= set(re.findall(r"^  (--[\w-]+)", told, re.MULTILINE))


def test_a_dispatcher_that_crashes_leaves_a_run_of_which_nobody_knows(tmp_path: Path) -> None:
    (tmp_path / "relay.py").write_text(BROKEN)
    with begun() as stand_in:
        written_down(tmp_path, stand_in.addresses)
        told = locust(tmp_path, *USERS, "--rate", "20", "-t", "5s", "OpenMe", file=RELAY)
    assert told.code == 2, told.log
    assert 0 < told.summary["requests"] <= told.summary["arrivals"] <= 20
    assert "INCONCLUSIVE: the dispatcher crashed: ZeroDivisionError" in told.log


def test_a_time_is_counted_to_three_digits_by_locust_too(well: Well) -> None:
    counted = {float(took_ms) for row in well[0].statistics.values() for took_ms in row["response_times"]}
    assert any(took_ms != round(took_ms) for took_ms in counted)  # Locust itself counts in whole milliseconds
    assert all(took_ms == bucket_ms(took_ms) for took_ms in counted)


def test_with_nothing_up_it_says_so_in_one_line_with_the_remedy(tmp_path: Path) -> None:
    refused = locust(tmp_path, "-t", "1s")
    lines = [line for line in refused.log.splitlines() if "ERROR" in line]
    assert refused.code == 3
    assert len(lines) == 1
    assert "brownout up starts it" in lines[0]


@pytest.mark.parametrize("asking", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_end_does_so_in_order_and_accounts_for_every_arrival(
    tmp_path: Path, asking: signal.Signals
) -> None:
    with begun(slow_s=0.5) as stand_in:
        written_down(tmp_path, stand_in.addresses)
        arguments = command(OPEN, *USERS, "--rate", "40", "-t", "60s", "--summary", "summary.json", "OpenMe")
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(arguments, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT)
        deadline_s = time.monotonic() + BOUND_S
        while stand_in.journeys < 40:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        process.send_signal(asking)
        told = ended(tmp_path, process.wait(BOUND_S), (tmp_path / "log").read_text())
    generator = told.summary["generators"]["local"]
    assert told.code == 2, told.log
    assert "INCONCLUSIVE: the run was ended before its time" in told.log
    assert "Traceback" not in told.log
    assert told.summary["lost"] == 0
    assert generator["cut"] > 0
    assert told.summary["arrivals"] == generator["ended"] + generator["cut"] >= 40
