"""The command line: gate, up, judge and doctor."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from brownout.archive import Archive, open_run
from brownout.cells.local import local_cell
from brownout.errors import BrownoutError, FileError
from brownout.gate import Stopped, hold_world, run_gate, watched
from brownout.judge import judged
from brownout.promises.contract import Contract, parse_contract, read_contract, read_journeys
from brownout.promises.promise import Promise
from brownout.reports.terminal import Board, print_findings, print_verdicts
from brownout.servers import survey
from brownout.topology import parse_topology, read_topology
from brownout.verdict import Ruling, Verdict, overall

__all__ = ["main"]

COULD_NOT_RUN = 3
"""The exit code when no ruling was reached; a wrong call is one of the reasons."""

LOG_WIDTH = 120
"""Columns where the output is no terminal but a file or a log of continuous integration."""

_EXIT = {Ruling.PASS: 0, Ruling.FAIL: 1, Ruling.INCONCLUSIVE: 2}

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Prove that a system of services fails the way its authors promised.",
    epilog="Exit codes: 0 every promise kept, 1 one broken, 2 inconclusive, 3 could not run; "
    "130 and 143 when ended by Ctrl-C or SIGTERM.",
)
console = Console(highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

T = TypeVar("T")

ContractFile = Annotated[Path, typer.Option("--contract", help="What the system promises.")]
TopologyFile = Annotated[Path, typer.Option("--topology", help="How the system is wired.")]
RunsFolder = Annotated[Path, typer.Option("--runs", help="Where recordings are kept.")]
Names = Annotated[list[str] | None, typer.Option("--only", help="A promise's name; may be repeated.")]

CONTRACT = Path("scenarios/contract.toml")
TOPOLOGY = Path("system/topology.toml")
RUNS = Path("runs")


@app.command()
def gate(
    contract: ContractFile = CONTRACT,
    topology: TopologyFile = TOPOLOGY,
    runs: RunsFolder = RUNS,
    only: Names = None,
) -> None:
    """Break the system as the contract says, all promises at the same time, and judge what happened.

    The recording is kept below runs/, where `brownout judge` reads it again.
    """
    system = read_topology(topology)
    journeys = read_journeys(contract)
    promises = _chosen(read_contract(contract, system, journeys), only or [])
    archive = Archive.create(runs, contract, topology, tuple(promise.name for promise in promises))
    board = Board(console)
    with board.shown():
        verdicts, timing = _run(lambda stop: run_gate(promises, system, journeys, archive, stop, board.say))
    console.print()
    print_verdicts(console, verdicts)
    console.print(
        f"{timing.whole_s:.1f} s in all, {timing.prepared_s:.1f} s of it before the first step; "
        f"the longest scenario took {timing.longest_s:.1f} s ({timing.whole_s / timing.longest_s:.2f} times)"
    )
    console.print(f"recorded in {archive.folder}; judge it again with: brownout judge {archive.folder}")
    raise typer.Exit(_EXIT[overall(verdict.ruling for verdict in verdicts)])


@app.command()
def judge(run: Annotated[Path, typer.Argument(help="A run's folder.")] = RUNS / "latest") -> None:
    """Judge a recorded run again; no server is needed."""
    archive = open_run(run)
    system = parse_topology(archive.topology[1], archive.topology[0])
    contract = parse_contract(archive.contract[1], archive.contract[0], system)
    verdicts = tuple(_again(archive, promise) for promise in contract.promises if promise.name in archive.promises)
    print_verdicts(console, verdicts)
    raise typer.Exit(_EXIT[overall(verdict.ruling for verdict in verdicts)])


@app.command()
def up(topology: TopologyFile = TOPOLOGY) -> None:
    """Start the whole system behind Toxiproxy, print its addresses, and hold it until Ctrl-C."""
    system = read_topology(topology)
    board = Board(console)

    async def hold(stop: asyncio.Event) -> None:
        logs = RUNS / "up"
        logs.mkdir(parents=True, exist_ok=True)
        async with hold_world(system, lambda name: logs / f"{name}.log", board.say) as world:

            async def opened() -> None:
                async with local_cell(world, "up", tuple(system.services)) as cell:
                    addresses = {name: cell.url(name) for name in system.services}
                    observers = {"jaeger": world.servers.jaeger, "prometheus": world.servers.prometheus}
                    for name, address in (addresses | {k: f"http://{v}" for k, v in observers.items()}).items():
                        console.print(f"{name:12} {address}")
                    console.print("the system is up; Ctrl-C ends it")
                    await stop.wait()

            await watched(opened(), world.supervisor, stop)

    _run(hold)


@app.command()
def doctor() -> None:
    """Say of each real server where it was found, its version, and what would help where it is missing."""
    print_findings(console, survey())


def main() -> None:
    """Run the command line; every failure is one line on standard error."""
    try:
        code = app(standalone_mode=False)
    except (BrownoutError, typer.TyperException) as error:
        if str(error):  # empty when the help that a bare command prints was all there is to say
            errors.print(f"brownout: {error}", markup=False)
        code = COULD_NOT_RUN
    sys.exit(code or 0)


def _run(work: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    """Run until done, or until a signal asks to stop; then the exit code is the shell's for that signal."""
    received: list[signal.Signals] = []

    async def guarded() -> T:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def ask(number: signal.Signals) -> None:
            received.append(number)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, ask, number)
        return await work(stop)

    try:
        return asyncio.run(guarded())
    except Stopped:
        errors.print(f"brownout: stopped by {received[0].name}; everything that was started has been ended")
        raise typer.Exit(128 + received[0]) from None


def _chosen(contract: Contract, only: list[str]) -> tuple[Promise, ...]:
    names = [promise.name for promise in contract.promises]
    for name in only:
        if name not in names:
            raise FileError(f"--only {name}", f"no such promise; the contract has {', '.join(names)}")
    return tuple(promise for promise in contract.promises if not only or promise.name in only)


def _again(archive: Archive, promise: Promise) -> Verdict:
    return judged(promise, archive.recording(promise.name))
