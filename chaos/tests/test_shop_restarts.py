"""The shop while its servers are gone: Consul and Postgres stopped and started again, each a cell's own, and Kafka cut.

All run at once, beside the mutants that each has to kill, at the documented times: about three minutes.
"""

import asyncio
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from brownout.archive import Archive, open_run
from brownout.gate import run_gate
from brownout.promises.contract import read_journeys
from brownout.suite import read_suite
from brownout.topology import read_topology
from brownout.verdict import Ruling, Verdict
from mutants.table import read_mutants

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "scenarios" / "contract.toml"
TOPOLOGY = ROOT / "system" / "topology.toml"

KEPT = (
    "discovery-after-a-restart",
    "registration-after-a-restart",
    "configuration-after-a-restart",
    "consul-restarted",
    "postgres-restarted",
    "kafka-cut-for-long",
)
OFFENCES = {
    "registry-deaf-after-a-restart": r"a request ended with 50\d 1[56]\.\d s after users-2 was killed, promised none",
    "registry-gives-a-lost-agent-up": r".*users-0 was not registered 10\.\d s after the registry was back",
    "registry-forgets-all-at-a-restart": r"\d+ of \d+ requests in 'buying'; the first, .* was answered 503",
    "watch-deaf-after-a-restart": r"users/rate_limit_rps = '15' 7 s after users -> consul had a new agent: only",
    "watch-asks-from-the-old-index": r"users/rate_limit_rps = '15' 7 s after users -> consul had a new agent: only",
    "relay-waits-ever-longer": r"\d+ of \d+ orders are not among the events, the first",
    "relay-gives-up-without-its-database": r"\d+ of \d+ orders are not among the events, the first",
}
"""What the promise about each says of it."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def verdicts(runs: Path) -> Mapping[str, Verdict]:
    topology = read_topology(TOPOLOGY)
    kept = {promise.name: promise for promise in read_suite(CONTRACT, topology)}
    broken = [promise for mutant in read_mutants().mutant if mutant.name in OFFENCES for promise in mutant.of(kept)]
    promises = (*(kept[name] for name in KEPT), *broken)
    archive = Archive.create(runs, CONTRACT, TOPOLOGY, tuple(promise.name for promise in promises))

    def say(subject: str, phase: str, _: float | None = None) -> None:
        sys.stderr.write(f"{subject}: {phase}\n")

    async def everything() -> tuple[Verdict, ...]:
        journeys = read_journeys(CONTRACT)
        return (await run_gate(promises, topology, journeys, archive, asyncio.Event(), say))[0]

    return {verdict.promise: verdict for verdict in asyncio.run(everything())}


@pytest.mark.parametrize("name", KEPT)
def test_the_shop_keeps_its_promises_while_a_server_is_gone(verdicts: Mapping[str, Verdict], name: str) -> None:
    assert verdicts[name].ruling is Ruling.PASS, verdicts[name].reason


@pytest.mark.parametrize("mutant", OFFENCES)
def test_one_that_does_not_come_back_as_it_should_is_told_so(verdicts: Mapping[str, Verdict], mutant: str) -> None:
    verdict = verdicts[mutant]
    assert verdict.ruling is Ruling.FAIL, verdict.reason
    assert re.match(OFFENCES[mutant], verdict.reason), verdict.reason


@pytest.mark.usefixtures("verdicts")
def test_a_cell_with_an_agent_of_its_own_is_scraped_as_all_others(runs: Path) -> None:
    topology = read_topology(TOPOLOGY)
    recording = open_run(runs / "latest").recording("consul-restarted")
    scraped = {series.labels["instance"] for series in recording.series or []}
    assert scraped == {f"consul-restarted-{service}-0" for service in topology.services}
