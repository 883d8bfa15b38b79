"""The gate is red for the right reason: each sabotage breaks the promise that is about it, and no pass is empty.

All run at the same time, each in its own cell, at the documented times: about two minutes.
"""

import asyncio
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from brownout.archive import Archive
from brownout.cell import Toxic
from brownout.faults import AnyToxic
from brownout.gate import run_gate
from brownout.journeys import Request, requests_journey
from brownout.promises.breaker import CircuitBreaker
from brownout.promises.contract import Kind, read_contract, read_journeys
from brownout.promises.promise import Stated
from brownout.recording import Recording
from brownout.scenario import Calls, Hold, Scenario
from brownout.topology import Edge, Topology, read_topology
from brownout.verdict import Ruling, Verdict

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "scenarios" / "contract.toml"
TOPOLOGY = ROOT / "system" / "topology.toml"
SABOTAGE = Path(__file__).parent / "sabotage"

SABOTAGES = {
    "opens_at_nine_tenths": ("breaker-orders-users", "orders"),
    "opens_at_five_requests": ("breaker-orders-users", "orders"),
    "opens_at_any_three_failures": ("breaker-orders-users", "orders"),
    "forgets_after_half_the_window": ("breaker-orders-users", "orders"),
    "opens_for_half_the_time": ("breaker-orders-users", "orders"),
    "half_open_admits_thirty": ("breaker-orders-users", "orders"),
    "health_is_stuck_at_up": ("health-orders", "orders"),
    "exits_at_once": ("shutdown-users-of-two", "users"),
    "exits_at_once_alone": ("shutdown-users-alone", "users"),
    "cuts_after_three_seconds": ("shutdown-users-alone", "users"),
    "bursts_twice_as_long": ("rate-limit-users", "users"),
}
"""What is done to the shop: the promise that it breaks, and the service that it is done to."""

OFFENCES = {
    "opens_at_nine_tenths": r"15 failures in 25 calls did not trip it: the next call reached users",
    "opens_at_five_requests": r"3 failures in 3 calls over 9\.\d s did not trip it: the next call reached users",
    "opens_at_any_three_failures": r"10 failures in 17 calls: the next call, on the healthy edge, ended with 503",
    "forgets_after_half_the_window": r"3 failures in 3 calls over 9\.\d s did not trip it: the next call reached users",
    "opens_for_half_the_time": r"call \d+ reached users 3\d\.\d s after the trip, promised 60 s",
    "half_open_admits_thirty": r"half-open let 20 of 20 calls reach users, 20 succeeded; promised exactly 3",
    "health_is_stuck_at_up": r"database refused: .*",
    "exits_at_once": r"\d+ of \d+ requests in flight were cut, the first",
    "exits_at_once_alone": r"\d+ of \d+ requests in flight were cut, the first",
    "cuts_after_three_seconds": r"\d+ of \d+ requests in flight were cut, the first [23]\.\d s after the signal",
    "bursts_twice_as_long": r"\d+ calls were sent and answered within \d\.\d\d s, promised at most \d+\.\d",
}


class Misspelt(Stated, frozen=True, kw_only=True):
    """A promise whose author wrote ``latncy``: Toxiproxy takes it, and does nothing."""

    name: str = "misspelt"
    clause: str = "none"
    journey: str = "order"

    def scenario(self, topology: Topology) -> Scenario:
        nothing = AnyToxic(Edge("orders", "users"), Toxic("latency", {"latncy": 5000}))
        steps = (Hold(nothing, (Calls("slow", self.journey, 3),)),)
        return Scenario(self.name, self.journey, steps, topology.reached_from({"orders"}))

    def examine(self, recording: Recording) -> Verdict:
        return self.kept(f"nothing was broken in {recording.cell}")


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Verdict]:
    topology = read_topology(TOPOLOGY)
    listing = Request("orders", "GET", "/orders", headers={"X-User-Id": "00000000-0000-4000-8000-000000000000"})
    journeys = read_journeys(CONTRACT) | {"list-orders": requests_journey((listing,))}
    kept = {promise.name: promise for promise in read_contract(CONTRACT, topology, journeys).promises}
    promises: list[Stated] = [sabotaged(kept[name], done, service) for done, (name, service) in SABOTAGES.items()]
    promises += [Misspelt(), without_traffic(kept["breaker-orders-users"])]
    archive = Archive.create(
        tmp_path_factory.mktemp("runs"), CONTRACT, TOPOLOGY, tuple(promise.name for promise in promises)
    )

    def say(subject: str, phase: str, _: float | None = None) -> None:
        sys.stderr.write(f"{subject}: {phase}\n")

    async def everything() -> tuple[Verdict, ...]:
        return (await run_gate(tuple(promises), topology, journeys, archive, asyncio.Event(), say))[0]

    return {verdict.promise: verdict for verdict in asyncio.run(everything())}


def cell_of(sabotage: str) -> str:
    return sabotage.replace("_", "-")


def sabotaged(promise: Kind, sabotage: str, service: str) -> Stated:
    assert isinstance(promise, Stated)
    settings = {"PYTHONPATH": str(SABOTAGE), "SABOTAGE": sabotage.removesuffix("_alone")}
    environment = {**promise.environment, service: {**promise.environment.get(service, {}), **settings}}
    return msgspec.structs.replace(promise, name=cell_of(sabotage), environment=environment)


def without_traffic(promise: Kind) -> Stated:
    assert isinstance(promise, CircuitBreaker)
    return msgspec.structs.replace(promise, name="without-traffic", journey="list-orders")


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_a_sabotage_fails_the_promise_that_is_about_it(verdicts: Mapping[str, Verdict], sabotage: str) -> None:
    verdict = verdicts[cell_of(sabotage)]
    assert verdict.ruling is Ruling.FAIL, verdict.reason


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_the_first_event_that_broke_the_promise_is_named(verdicts: Mapping[str, Verdict], sabotage: str) -> None:
    verdict = verdicts[cell_of(sabotage)]
    assert re.match(OFFENCES[sabotage], verdict.reason), verdict.reason
    assert verdict.events


def test_a_fault_with_a_misspelt_attribute_is_no_pass(verdicts: Mapping[str, Verdict]) -> None:
    verdict = verdicts["misspelt"]
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert "latncy" in verdict.reason


def test_a_promise_without_traffic_is_no_pass(verdicts: Mapping[str, Verdict]) -> None:
    verdict = verdicts["without-traffic"]
    assert verdict.ruling is Ruling.INCONCLUSIVE, verdict.reason
    assert "the journey does not use the edge" in verdict.reason
