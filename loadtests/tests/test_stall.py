"""A system that stands still for 2 s of 10: what each way to load it says of that, beside what arithmetic does."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from brownout.clock import steady_clock
from brownout.history import Recorder
from brownout.journeys import Request, requests_journey
from brownout.scenario import Load
from brownout.workload.driver import HttpDriver
from brownout.workload.traffic import Traffic
from shop_stand_in import begun, locust, percentile, stalled_s, written_down
from tally import quantile

RATE, SECONDS, STALL_AT_S, STALL_S = 50.0, 10.0, 4.0, 2.0
"""At 150 a second what is answered at the stall's end, by one processor all at once, takes it up to 0.16 s: 8 %."""

SHARES = (0.5, 0.8, 0.9, 0.99, 0.999)
TRUTH_S = stalled_s(RATE, SECONDS, STALL_AT_S, STALL_AT_S + STALL_S)

PLAIN = """
from locust import FastHttpUser, constant, task

class Plain(FastHttpUser):
    host = "{host}"
    wait_time = constant(0)

    @task
    def browse(self):
        self.client.get("/api/products")
"""


def told(who: str, at_s: Callable[[float], float]) -> None:
    figures = ", ".join(f"p{100 * share:g} {at_s(share):.3f} s" for share in SHARES)
    print(f"\n{who}: {figures}")  # noqa: T201 - the figures are what the test is run for


def truth_s(share: float) -> float:
    return percentile(TRUTH_S, share)


def assert_true(at_s: Callable[[float], float]) -> None:
    for share in (0.99, 0.999):
        assert at_s(share) == pytest.approx(truth_s(share), rel=0.05)


def test_arithmetic_says_that_one_in_five_waited_for_up_to_two_seconds() -> None:
    told("truth", truth_s)
    assert sum(each > 0 for each in TRUTH_S) == RATE * STALL_S
    assert truth_s(0.8) == 0
    assert truth_s(0.99) == pytest.approx(2 - 5.5 / 50)
    assert truth_s(0.999) == pytest.approx(2 - 0.5 / 50)


def test_the_open_model_says_so_too(tmp_path: Path) -> None:
    with begun(stall_at_s=STALL_AT_S, stall_s=STALL_S) as stand_in:
        written_down(tmp_path, stand_in.addresses)
        run = locust(tmp_path, "-u", "4", "-r", "4", "--rate", f"{RATE}", "-t", f"{SECONDS:g}s", "OpenBrowse")
    row = run.statistics["GET gateway /api/products"]
    counts = {float(took_ms): count for took_ms, count in row["response_times"].items()}
    told("open model", lambda share: quantile(counts, share) / 1000)
    assert run.code == 0, run.log
    assert run.summary["arrivals"] == run.summary["requests"] == RATE * SECONDS
    assert_true(lambda share: run.summary["took_ms"][f"p{100 * share:g}"] / 1000)


async def test_the_harnesss_own_driver_says_so_too() -> None:
    recorder = Recorder(steady_clock())
    journeys = {"browse": requests_journey((Request("gateway", "GET", "/api/products"),))}
    with begun(stall_at_s=STALL_AT_S, stall_s=STALL_S) as stand_in:
        async with HttpDriver() as driver:
            url = stand_in.addresses.__getitem__
            traffic = Traffic(journeys, url, driver, recorder, deadline_header="", seed=1)
            async with traffic.load(Load("load", "browse", RATE)):
                await asyncio.sleep(SECONDS)
    requests = recorder.history.requests("load")
    took_s = [((one.answered_ns or 0) - one.invoked.detail["due_ns"]) / 1e9 for one in requests]
    told("the harness's driver", lambda share: percentile(took_s, share))
    assert all(one.ok for one in requests)
    assert len(requests) == pytest.approx(RATE * SECONDS, abs=2)
    assert_true(lambda share: percentile(took_s, share))


@pytest.mark.parametrize("users", [10, 50])
def test_the_closed_model_says_that_fewer_waited(tmp_path: Path, users: int) -> None:
    with begun(stall_at_s=STALL_AT_S, stall_s=STALL_S) as stand_in:
        written_down(tmp_path, stand_in.addresses)
        size = ("-u", f"{users}", "-r", f"{users}")
        run = locust(tmp_path, *size, "-t", f"{SECONDS:g}s", "ClosedBrowse", file="locustfile.py")
    waited = share_waited(f"closed model, {users} users", run.statistics["GET gateway /api/products"])
    assert waited < 0.75 * STALL_S / SECONDS


def test_the_closed_model_without_a_pause_hardly_sees_the_stall(tmp_path: Path) -> None:
    with begun(stall_at_s=STALL_AT_S, stall_s=STALL_S) as stand_in:
        (tmp_path / "plain.py").write_text(PLAIN.format(host=stand_in.addresses["gateway"]))
        run = locust(tmp_path, "-u", "10", "-r", "10", "-t", f"{SECONDS:g}s", file="./plain.py")
    waited = share_waited("closed model, 10 users without a pause", run.statistics["GET /api/products"])
    assert waited < 0.1 * STALL_S / SECONDS


def share_waited(who: str, row: dict[str, dict[str, int]]) -> float:
    """The share of requests that took longer than 0.2 s."""
    counts = {float(took_ms): count for took_ms, count in row["response_times"].items()}
    told(who, lambda share: quantile(counts, share) / 1000)
    return sum(count for took_ms, count in counts.items() if took_ms > 200) / sum(counts.values())
