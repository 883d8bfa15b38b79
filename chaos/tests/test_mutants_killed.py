"""The gate is red for the right reason, and no pass is empty: some of the mutants, and promises without evidence.

All run at once, each in its own cell, at the documented times: about two minutes. `make mutants` runs every one.
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
from brownout.promises.contract import read_journeys
from brownout.promises.promise import Checked, Stated
from brownout.recording import Recording
from brownout.scenario import Calls, Hold, Scenario
from brownout.suite import read_suite
from brownout.topology import Edge, Topology, read_topology
from brownout.verdict import Ruling, Verdict
from mutants.table import read_mutants

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "scenarios" / "contract.toml"
TOPOLOGY = ROOT / "system" / "topology.toml"

OFFENCES = {
    "breaker-never-opens": r"3 failures in 3 calls over 9\.\d s did not trip it: the next call reached users",
    "breaker-opens-above-the-ratio": r"15 failures in 25 calls did not trip it: the next call reached users",
    "breaker-opens-for-half-the-time": r"call \d+ reached users 3\d\.\d s after the trip, promised 60 s",
    "breaker-half-open-lets-all-through": r"half-open let 20 of 20 calls reach users, 20 succeeded; promised exactly 3",
    "client-ignores-the-callers-deadline": r"call 1 ended with \d+ after [45]\.\d+ s, promised 504 after 1\.8 s",
    "limiter-burst-one-more": r"\d+ calls were sent and answered within \d\.\d\d s, promised at most \d+\.\d",
    "health-always-up": r"database refused: .*",
    "shutdown-cuts-at-once": r"\d+ of \d+ requests in flight were cut, the first",
    "shutdown-cuts-after-three-seconds": r"\d+ of \d+ requests in flight were cut, the first [23]\.\d s after",
    "trace-dropped-at-grpc": r".*users over gRPC.*",
}
"""What the promise about each says of it."""


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
    kept = {promise.name: promise for promise in read_suite(CONTRACT, topology)}
    promises: list[Checked] = [
        promise for mutant in read_mutants().mutant if mutant.name in OFFENCES for promise in mutant.of(kept)
    ]
    promises += [Misspelt(), without_traffic(kept["breaker-orders-users"])]
    names = tuple(promise.name for promise in promises)
    archive = Archive.create(tmp_path_factory.mktemp("runs"), CONTRACT, TOPOLOGY, names)

    def say(subject: str, phase: str, _: float | None = None) -> None:
        sys.stderr.write(f"{subject}: {phase}\n")

    async def everything() -> tuple[Verdict, ...]:
        journeys = read_journeys(CONTRACT)
        return (await run_gate(tuple(promises), topology, journeys, archive, asyncio.Event(), say))[0]

    return {verdict.promise: verdict for verdict in asyncio.run(everything())}


def without_traffic(promise: Checked) -> Stated:
    assert isinstance(promise, Stated)
    return msgspec.structs.replace(promise, name="without-traffic", journey="list-orders")


@pytest.mark.parametrize("mutant", OFFENCES)
def test_a_mutant_fails_the_promise_that_is_about_it_and_the_first_offence_is_named(
    verdicts: Mapping[str, Verdict], mutant: str
) -> None:
    verdict = verdicts[mutant]
    assert verdict.ruling is Ruling.FAIL, verdict.reason
    assert re.match(OFFENCES[mutant], verdict.reason), verdict.reason
    assert verdict.events


def test_a_fault_with_a_misspelt_attribute_is_no_pass(verdicts: Mapping[str, Verdict]) -> None:
    verdict = verdicts["misspelt"]
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert "latncy" in verdict.reason


def test_a_promise_without_traffic_is_no_pass(verdicts: Mapping[str, Verdict]) -> None:
    verdict = verdicts["without-traffic"]
    assert verdict.ruling is Ruling.INCONCLUSIVE, verdict.reason
    assert "the journey does not use the edge" in verdict.reason
