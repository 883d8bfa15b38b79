"""The command line: gate and judge; up, status, inject, heal and down; doctor."""

import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from brownout.archive import Archive, open_run
from brownout.background import start_system
from brownout.control import Answer, Heal, Inject, Injected, Lifted, Look, Request, Standing, asked
from brownout.errors import BrownoutError, FaultError, FileError
from brownout.faults.spoken import FORMS, duration_s
from brownout.gate import run_gate
from brownout.holder import hold_system
from brownout.judge import settled
from brownout.live import State, end_system, is_up, running_system
from brownout.mending import held, mend_lost
from brownout.promises.contract import read_journeys
from brownout.promises.promise import Checked
from brownout.reports.live import print_standing, print_system
from brownout.reports.outputs import hold_outputs
from brownout.reports.terminal import Board, print_findings, print_verdicts
from brownout.servers import survey
from brownout.stack import hold_stack
from brownout.stopping import StoppedByError, run_until_signalled, unless_stopped
from brownout.suite import read_suite
from brownout.topology import read_topology
from brownout.undo import journals_folder
from brownout.verdict import Ruling, overall
from brownout.world import Hold, hold_world

__all__ = ["main"]

COULD_NOT_RUN = 3
"""The exit code when no ruling was reached; a wrong call is one of the reasons."""

LOG_WIDTH = 120
"""Columns where the output is no terminal but a file or a log of continuous integration."""

EXIT_CODES = (
    "Exit codes: 0 every promise kept, 1 one broken, 2 inconclusive, 3 could not run; "
    "130 and 143 when ended by Ctrl-C or SIGTERM."
)
OUTPUTS = (
    "The files of --junit, --markdown, --json and --html are written at the start, saying that there is no ruling yet, "
    "and again at the end."
)

_EXIT = {Ruling.PASS: 0, Ruling.FAIL: 1, Ruling.INCONCLUSIVE: 2}

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
)
console = Console(highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

T = TypeVar("T")

ContractFile = Annotated[Path, typer.Option("--contract", help="What the system promises.")]
TopologyFile = Annotated[Path, typer.Option("--topology", help="How the system is wired.")]
RunsFolder = Annotated[Path, typer.Option("--runs", help="Where recordings are kept.")]
Names = Annotated[list[str] | None, typer.Option("--only", help="A promise's name; may be repeated.")]
Retries = Annotated[
    int,
    typer.Option(min=0, max=9, help="So many times more, what is INCONCLUSIVE is run again; a FAIL never is."),
]

JunitFile = Annotated[Path | None, typer.Option("--junit", help="Write the verdicts here as JUnit XML.")]
MarkdownFile = Annotated[Path | None, typer.Option("--markdown", help="Write them here as a page for a job's summary.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write them here as JSON.")]
HtmlFile = Annotated[Path | None, typer.Option("--html", help="Write them here as a page with timelines and traces.")]


class On(StrEnum):
    """Where the cells of a gate are."""

    LOCAL = "local"
    COMPOSE = "compose"


HOLDS: Mapping[On, Hold] = {On.LOCAL: hold_world, On.COMPOSE: hold_stack}

Place = Annotated[
    On,
    typer.Option("--on", help="Processes of this machine, or containers: copies of the Compose project's that is up."),
]
GrafanaAddress = Annotated[
    str, typer.Option("--grafana", help="host:port of a Grafana that is told what was broken when.")
]

CONTRACT = Path("scenarios/contract.toml")
TOPOLOGY = Path("system/topology.toml")
RUNS = Path("runs")


def _tell_version(asked: bool) -> None:  # noqa: FBT001  typer gives it so
    if asked:
        console.print(f"brownout {version('brownout')}")
        raise typer.Exit


VersionFlag = Annotated[bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print it.")]


@app.callback()
def brownout(_version: VersionFlag = False) -> None:  # noqa: FBT002  an option
    """Prove that a system of services fails the way its authors promised."""


@app.command(epilog=f"{EXIT_CODES} {OUTPUTS}")
def gate(
    contract: ContractFile = CONTRACT,
    topology: TopologyFile = TOPOLOGY,
    runs: RunsFolder = RUNS,
    only: Names = None,
    retry_inconclusive: Retries = 0,
    on: Place = On.LOCAL,
    grafana: GrafanaAddress = "",
    junit: JunitFile = None,
    markdown: MarkdownFile = None,
    json: JsonFile = None,
    html: HtmlFile = None,
) -> None:
    """Break the system as the contract says, all promises at the same time, and judge what happened.

    The recording is kept below runs/, where `brownout judge` reads it again.
    """
    with hold_outputs(junit=junit, markdown=markdown, json=json, html=html) as outputs:
        system = read_topology(topology)
        journeys = read_journeys(contract)
        suite = read_suite(contract, system, journeys)
        archive = Archive.create(runs, contract, topology, _chosen(suite, only or []))
        board = Board(console)
        with board.shown():
            verdicts, timing = _run(
                lambda stop: run_gate(
                    suite,
                    system,
                    journeys,
                    archive,
                    stop,
                    board.say,
                    retry_inconclusive,
                    HOLDS[on],
                    grafana,
                )
            )
        page = outputs.tell(archive, suite, verdicts, timing)
    console.print()
    print_verdicts(console, verdicts)
    console.print(
        f"{timing.whole_s:.1f} s in all, {timing.prepared_s:.1f} s of it before the first step; "
        f"the longest scenario took {timing.longest_s:.1f} s ({timing.whole_s / timing.longest_s:.2f} times)"
    )
    console.print(f"recorded in {archive.folder}; judge it again with: brownout judge {archive.folder}")
    console.print(page, markup=False, soft_wrap=True)
    raise typer.Exit(_EXIT[overall(verdict.ruling for verdict in verdicts)])


@app.command(epilog=f"{EXIT_CODES} {OUTPUTS}")
def judge(
    run: Annotated[Path, typer.Argument(help="A run's folder.")] = RUNS / "latest",
    junit: JunitFile = None,
    markdown: MarkdownFile = None,
    json: JsonFile = None,
    html: HtmlFile = None,
) -> None:
    """Judge a recorded run again; no server is needed."""
    with hold_outputs(junit=junit, markdown=markdown, json=json, html=html) as outputs:
        archive = open_run(run)
        suite = read_suite(archive.contract, read_topology(archive.topology))
        chosen = _chosen(suite, archive.promises, str(run / "run.json"))
        verdicts = tuple(
            settled(promise, archive.recordings(promise.trial)) for promise in suite if promise.name in chosen
        )
        page = outputs.tell(archive, suite, verdicts)
    print_verdicts(console, verdicts)
    console.print(page, markup=False, soft_wrap=True)
    raise typer.Exit(_EXIT[overall(verdict.ruling for verdict in verdicts)])


@app.command()
def up(
    topology: TopologyFile = TOPOLOGY,
    runs: RunsFolder = RUNS,
    hold: Annotated[bool, typer.Option("--hold", help="Stay, and end it on Ctrl-C.")] = False,  # noqa: FBT002  an option
) -> None:
    """Start the whole system behind Toxiproxy and leave it running, to be used and broken by hand."""
    read_topology(topology)
    board = Board(console)
    with ExitStack() as shown:
        shown.enter_context(board.shown())

        def ready(state: State) -> None:
            shown.close()
            print_system(console, state)
            console.print("Ctrl-C ends it" if hold else "brownout inject breaks it, brownout down ends it")

        if hold:
            _run(lambda stop: hold_system(topology, runs, stop, board.say, ready))
        else:
            ready(_run(lambda stop: start_system(topology, runs, stop, board.say)))


@app.command()
def down(runs: RunsFolder = RUNS) -> None:
    """End the system that is up; returns when nothing of it is left."""
    console.print(end_system(runs), markup=False)


@app.command()
def status(runs: RunsFolder = RUNS) -> None:
    """Say how the system that is up is: each service's own word, and every fault in force, whoever put it there.

    Exit code 0: all is UP and nothing is broken; 1: something is not.
    """
    state = running_system(runs)
    standing = _run(lambda stop: _asked(state, Look(), stop))
    assert isinstance(standing, Standing)  # noqa: S101  the answer to Look
    print_standing(console, state, standing)
    raise typer.Exit(0 if standing.well else 1)


@app.command(epilog="The faults: " + "; ".join(FORMS.values()))
def inject(
    fault: Annotated[list[str], typer.Argument(help='latency "orders -> users" 2s', metavar="FAULT")],
    lasting: Annotated[str, typer.Option("--for", help="30s: lift it then, or on Ctrl-C.")] = "",
    runs: RunsFolder = RUNS,
) -> None:
    """Break something in the system that is up, and look whether it is broken; it stays so until heal or down.

    Exit code 2: the fault is in force, and was not seen to act.
    """
    for_s = duration_s(lasting) if lasting else None
    state = running_system(runs)

    def tell(answer: Answer) -> None:
        console.print(str(answer), markup=False, soft_wrap=True)

    answer = _run(
        lambda stop: _asked(state, Inject(tuple(fault), lasting=for_s is None), stop, for_s or 0.0, tell),
        left="the fault is lifted, and the system is up",
    )
    if for_s is not None:
        console.print("lifted")
    raise typer.Exit(0 if isinstance(answer, Injected) and answer.bit else _EXIT[Ruling.INCONCLUSIVE])


@app.command()
def heal(runs: RunsFolder = RUNS) -> None:
    """Lift every fault of the system that is up, whoever put it there, and of lost runs; prove that nothing is left.

    A lost run is one whose journal is still open while its process and its watchdog are gone, as after a power cut.
    Exit code 0: nothing is left, or only what a run that goes on holds, which is named; 3: something is, it is named.
    """
    lost = mend_lost(journals_folder())
    for run in lost:
        _tell(f"of run {run.run}, which was lost: ", run.done)
    if is_up(runs):
        state = running_system(runs)
        lifted = _run(lambda stop: _asked(state, Heal(), stop))
        assert isinstance(lifted, Lifted)  # noqa: S101  the answer to Heal
        _tell("lifted: ", lifted.faults)
    if left := [fault for run in lost for fault in run.left]:
        raise FaultError("heal", f"something is left: {'; '.join(left)}")
    _tell("held: ", others := held(journals_folder()))
    console.print("nothing else is broken" if others else "nothing is broken")


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
    except Exception as error:  # noqa: BLE001  the interpreter's exit code for it means that a promise was broken
        errors.print(f"brownout: crashed: {_crash(error)}", markup=False)
        code = COULD_NOT_RUN
    except SystemExit:  # of typer, with that same code, when nobody reads what is printed any longer
        code = COULD_NOT_RUN
    sys.exit(code or 0)


def _crash(error: Exception) -> str:
    """What was raised and where, in one line."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    return f"{said} ({where.filename}:{where.lineno})"


def _tell(what: str, faults: Iterable[str]) -> None:
    for fault in faults:
        console.print(f"{what}{fault}", markup=False, soft_wrap=True)


async def _asked(
    state: State,
    request: Request,
    stop: asyncio.Event,
    for_s: float = 0.0,
    tell: Callable[[Answer], None] = lambda _: None,
) -> Answer:
    """The holder's answer, told as soon as it is there; then keep on asking for so long."""

    async def asking() -> Answer:
        async with asked(state.control, request) as answer:
            tell(answer)
            await asyncio.sleep(for_s)
        return answer

    return await unless_stopped(asking(), stop)


def _run(work: Callable[[asyncio.Event], Awaitable[T]], left: str = "everything that was started has been ended") -> T:
    """Run until done, or until a signal asks to stop; then the exit code is the shell's for that signal."""
    try:
        return run_until_signalled(work)
    except StoppedByError as stopped:
        errors.print(f"brownout: {stopped}; {left}")
        raise typer.Exit(stopped.exit_code) from stopped


def _chosen(promises: tuple[Checked, ...], only: Sequence[str], asked: str = "--only") -> tuple[str, ...]:
    """The names of the promises that are to be judged, in the contract's order; ``asked`` is where they are named."""
    names = [promise.name for promise in promises]
    for name in only:
        if name not in names:
            raise FileError(f"{asked} {name}", f"no such promise; the contract has {', '.join(names)}")
    return tuple(name for name in names if not only or name in only)
