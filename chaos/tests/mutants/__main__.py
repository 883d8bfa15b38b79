"""The mutation score: every mutant in a cell of one gate, beside the unbroken shop, and which promise kills which.

``python -m mutants [--table FILE] [MUTANT ...]``; exit code 0: all are killed, and the unbroken shop is not;
1: one survived; 2: inconclusive.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from rich.console import Console

from brownout.archive import Archive
from brownout.gate import Timing, run_gate
from brownout.promises.contract import read_journeys
from brownout.promises.promise import Checked
from brownout.reports.terminal import Board
from brownout.stopping import run_until_signalled
from brownout.suite import read_suite
from brownout.topology import Topology, read_topology
from brownout.verdict import Ruling, Verdict
from mutants.table import Equivalent, Mutant, read_mutants

ROOT = Path(__file__).parents[3]
CONTRACT = ROOT / "scenarios" / "contract.toml"
TOPOLOGY = ROOT / "system" / "topology.toml"
RUNS = ROOT / "runs" / "mutants"
RETRIES = 2
"""Of what is INCONCLUSIVE: two hundred short cells one after another keep a machine busier than a gate does."""


def main() -> int:
    """Run, print, and write the table."""
    chosen, table = _arguments()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    topology = read_topology(TOPOLOGY)
    kept = {promise.name: promise for promise in read_suite(CONTRACT, topology)}
    baseline = [kept[name] for name in dict.fromkeys(mutant.promise for mutant in chosen)]
    found, timing = _gate(console, chosen, baseline, kept, topology)
    page = _page(chosen, read_mutants().equivalent, found, timing)
    print(page)  # noqa: T201 - the result
    if table:
        table.write_text(page)
    killed = {found[mutant.name].ruling for mutant in chosen}
    unbroken = {found[promise.name].ruling for promise in baseline}
    if Ruling.PASS in killed or Ruling.FAIL in unbroken:
        return 1
    return 2 if Ruling.INCONCLUSIVE in killed | unbroken else 0


def _arguments() -> tuple[list[Mutant], Path | None]:
    known = {mutant.name: mutant for mutant in read_mutants().mutant}
    parser = argparse.ArgumentParser("mutants", description="Which promise kills which broken shop.")
    parser.add_argument("mutant", nargs="*", choices=[[], *known], help="run these only")
    parser.add_argument("--table", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    return [known[name] for name in arguments.mutant or known], arguments.table


def _gate(
    console: Console, chosen: list[Mutant], baseline: list[Checked], kept: dict[str, Checked], topology: Topology
) -> tuple[dict[str, Verdict], Timing]:
    promises = {promise.name: promise for promise in (*kept.values(), *(p for m in chosen for p in m.of(kept)))}
    judged = tuple(each.name for each in (*baseline, *chosen))
    archive = Archive.create(RUNS, CONTRACT, TOPOLOGY, judged)
    board = Board(console)

    async def everything(stop: asyncio.Event) -> tuple[tuple[Verdict, ...], Timing]:
        suite, journeys = tuple(promises.values()), read_journeys(CONTRACT)
        return await run_gate(suite, topology, journeys, archive, stop, board.say, RETRIES)

    with board.shown():
        verdicts, timing = run_until_signalled(everything)
    return {verdict.promise: verdict for verdict in verdicts}, timing


def _page(chosen: list[Mutant], equivalent: tuple[Equivalent, ...], found: dict[str, Verdict], timing: Timing) -> str:
    """The score as Markdown."""
    rows = [_row(mutant, found[mutant.name]) for mutant in sorted(chosen, key=lambda mutant: _clause(mutant, found))]
    page = ["# Mutants", "", _score(chosen, found, timing), "", "| mutant | clause | it | killed by | because |"]
    page += ["|---|---|---|---|---|", *rows]
    if equivalent:
        page += ["", "Not to be told from the unbroken shop:", "", "| mutant | it | proof |", "|---|---|---|"]
        page += [f"| {each.name} | {each.does} | {each.proof} |" for each in equivalent]
    return "\n".join(page) + "\n"


def _score(chosen: list[Mutant], found: dict[str, Verdict], timing: Timing) -> str:
    killed = sum(found[mutant.name].ruling is Ruling.FAIL for mutant in chosen)
    unbroken = dict.fromkeys(mutant.promise for mutant in chosen)
    again = sum(verdict.attempt > 1 for verdict in found.values())
    passed = sum(found[name].ruling is Ruling.PASS for name in unbroken)
    return (
        f"`make mutants` runs each of these broken shops against the promise that is about it: {killed} of "
        f"{len(chosen)} are killed, in {timing.whole_s:.0f} s; the unbroken shop, in the same run, keeps {passed} of "
        f"{len(unbroken)} of these promises. A kill is a FAIL by the promise of the mutant's own clause, after the "
        f"steady journey has succeeded. {again} were INCONCLUSIVE at first, and run again in the same world."
    )


def _clause(mutant: Mutant, found: dict[str, Verdict]) -> list[int]:
    return [int(part) for part in found[mutant.name].clause.split(".") if part.isdigit()]


def _row(mutant: Mutant, verdict: Verdict) -> str:
    by = f"`{mutant.promise}`" if verdict.ruling is Ruling.FAIL else f"**{verdict.ruling}** of `{mutant.promise}`"
    because = verdict.reason.replace("|", "\\|")
    return f"| {mutant.name} | {verdict.clause} | {mutant.does} | {by} | {because} |"


if __name__ == "__main__":
    sys.exit(main())
