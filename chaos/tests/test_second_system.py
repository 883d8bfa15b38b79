"""Another system, in Go, that shows nothing of itself but its answers: its promises hold, and each is broken once.

All run at the same time, each in its own cell: about a minute and a half, and Toxiproxy is the only server.
"""

import asyncio
import os
import re
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from brownout.archive import Archive
from brownout.gate import run_gate
from brownout.promises.contract import Kind, read_contract, read_journeys
from brownout.promises.promise import Stated
from brownout.servers.cache import Cache, cache_folder
from brownout.servers.program import GoModule, Recipe
from brownout.servers.provision import provision
from brownout.servers.releases import Releases
from brownout.topology import read_topology
from brownout.verdict import Ruling, Verdict

pytestmark = pytest.mark.servers

SECOND = Path(__file__).parent / "second"
CONTRACT = SECOND / "contract.toml"
TOPOLOGY = SECOND / "topology.toml"

KEPT = ("breaker", "deadline", "limit", "health", "shutdown", "isolation", "recovery", "mild-trouble")

BROKEN = {
    "never-opens": ("breaker", r"3 failures in 3 calls over 4\.\d s did not trip it: the next call was answered 200"),
    "opens-too-soon": ("breaker", r"10 failures in 17 calls: the next call, on the healthy edge, ended with 503"),
    "opens-for-half-the-time": ("breaker", r"call \d was answered 200 [2-4]\.\d s after the trip, promised 5 s"),
    "calls-while-open": ("breaker", r"front -> stock carried \d+ bytes while all of \d calls were refused"),
    "lets-all-through-on-trial": ("breaker", r"half-open let 20 of 20 calls reach stock, 20 succeeded; promised"),
    "waits-too-long": ("deadline", r"call 1 ended with 200 after 4\.\d+ s, promised 504 after 3 s"),
    "bursts-twice-as-much": ("limit", r"\d+ calls were sent and answered within \d\.\d\d s, promised at most \d+\.\d"),
    "says-up-whatever-is-broken": ("health", r"stock silent: front said 200 .* promised 200 .*DEGRADED"),
    "exits-at-once": ("shutdown", r"\d+ of \d+ requests in flight were cut, the first"),
    "asks-for-more-than-it-needs": ("isolation", r"front -> stock cut: price ended with 50[23], promised to go on"),
    "stays-open": ("recovery", r"front -> stock: stock ended with 503 \d+\.\d s after the heal, promised .* 8 s"),
    "is-impatient": ("mild-trouble", r"1000 ms of latency on front -> prices: front GET /price ended with 504"),
}
"""What is done to the program: the promise that it breaks, and how that is told."""

BREAKS_STOCK = ("bursts-twice-as-much",)
"""Where it is not done to the front."""


def recipe() -> Recipe:
    """The program as if it were a server: built once for what its sources are."""
    sources = b"".join(path.read_bytes() for path in sorted(SECOND.glob("*.go*")))
    return Recipe(
        name="second",
        binary="second",
        version=f"0.{zlib.crc32(sources)}",
        version_argv=(),
        at_least=(0,),
        origin=GoModule(".", SECOND, version_variable="main.version"),
        cost="seconds",
    )


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Verdict]:
    topology, journeys = read_topology(TOPOLOGY), read_journeys(CONTRACT)
    kept = {promise.name: promise for promise in read_contract(CONTRACT, topology, journeys).promises}
    promises = [kept[name] for name in KEPT] + [broken(kept[name], done) for done, (name, _) in BROKEN.items()]
    archive = Archive.create(
        tmp_path_factory.mktemp("runs"), CONTRACT, TOPOLOGY, tuple(promise.name for promise in promises)
    )

    def say(subject: str, phase: str, _: float | None = None) -> None:
        sys.stderr.write(f"{subject}: {phase}\n")

    async def everything() -> tuple[Verdict, ...]:
        made = await provision((recipe(),), Cache(cache_folder()), Releases(""), say)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", f"{made['second'].path.parent}{os.pathsep}{os.environ['PATH']}")
            return (await run_gate(tuple(promises), topology, journeys, archive, asyncio.Event(), say))[0]

    return {verdict.promise: verdict for verdict in asyncio.run(everything())}


def broken(promise: Kind, done: str) -> Stated:
    assert isinstance(promise, Stated)
    service = "stock" if done in BREAKS_STOCK else "front"
    environment = {**promise.environment, service: {**promise.environment.get(service, {}), "BROKEN": done}}
    return msgspec.structs.replace(promise, name=done, environment=environment)


def test_the_topology_needs_no_server() -> None:
    assert read_topology(TOPOLOGY).servers() == set()


@pytest.mark.parametrize("name", KEPT)
def test_a_promise_that_is_kept_passes(verdicts: Mapping[str, Verdict], name: str) -> None:
    assert verdicts[name].ruling is Ruling.PASS, verdicts[name].reason


def test_a_black_hole_is_silent_to_a_caller_of_one_connection_a_request(verdicts: Mapping[str, Verdict]) -> None:
    slowest = next(figure for figure in verdicts["health"].figures if figure.name == "slowest answer")
    assert slowest.value >= 2  # the patience of the front's own check


@pytest.mark.parametrize("done", BROKEN)
def test_a_promise_that_is_broken_fails_for_the_right_reason(verdicts: Mapping[str, Verdict], done: str) -> None:
    verdict, (_, offence) = verdicts[done], BROKEN[done]
    assert verdict.ruling is Ruling.FAIL, verdict.reason
    assert re.match(offence, verdict.reason), verdict.reason
    assert verdict.events
