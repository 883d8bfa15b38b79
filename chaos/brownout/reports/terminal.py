"""The terminal: what is happening while it happens, then a row a promise."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from brownout.servers import Finding
from brownout.verdict import Ruling, Verdict, overall

__all__ = ["Board", "print_findings", "print_verdicts"]

_STYLE = {Ruling.PASS: "green", Ruling.INCONCLUSIVE: "yellow", Ruling.FAIL: "bold red"}


class Board:
    """A line for each thing under way: servers being built, cells, scenarios with their phase.

    On a terminal the lines are drawn in place, and what is done moves up and stays; elsewhere each phase is a line of
    its own.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[subject]}", style="bold"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=console,
        )

    @contextmanager
    def shown(self) -> Iterator["Board"]:
        """Draw while the work goes on."""
        if not self._console.is_terminal:
            yield self
            return
        with self._progress:
            yield self

    def say(self, subject: str, phase: str, fraction: float | None = None) -> None:
        """Tell what a subject is doing; ``fraction`` of 1 means that it is done."""
        if not self._console.is_terminal:
            if self._said.get(subject) != phase:
                self._said[subject] = phase
                self._console.print(f"{subject}: {phase}", markup=False, highlight=False, soft_wrap=True)
            return
        if fraction == 1.0:
            if subject in self._lines:
                self._progress.remove_task(self._lines.pop(subject))
            self._console.print(f"  [bold]{escape(subject)}[/bold] {escape(phase)}")
            return
        if subject not in self._lines:
            self._lines[subject] = self._progress.add_task("", total=None, subject=escape(subject))
        total = None if fraction is None else 1.0
        self._progress.update(self._lines[subject], description=escape(phase), total=total, completed=fraction or 0.0)


def print_verdicts(console: Console, verdicts: tuple[Verdict, ...]) -> None:
    """A row a promise: ruling, reason, figures; then the ruling on all of them."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("ruling", "promise", "clause", "what was found"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("ruling", "clause"))
    for verdict in verdicts:
        style = _STYLE[verdict.ruling]
        found = escape(verdict.reason)
        if verdict.figures:
            found += f"\n[dim]{escape('; '.join(map(str, verdict.figures)))}[/dim]"
        table.add_row(f"[{style}]{verdict.ruling}[/{style}]", escape(verdict.promise), escape(verdict.clause), found)
    console.print(table)
    ruling = overall(verdict.ruling for verdict in verdicts)
    kept = sum(verdict.ruling is Ruling.PASS for verdict in verdicts)
    style = _STYLE[ruling]
    console.print(f"\n[{style}]{ruling}[/{style}]: {kept} of {len(verdicts)} promises kept")


def print_findings(console: Console, findings: tuple[Finding, ...]) -> None:
    """A row a server: where it was found and its version, or what is missing and the command that would help."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("server", "version", "from", "where"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        style = "green" if finding.path else "yellow"
        where = [str(finding.path) if finding.path else finding.missing]
        where += [f"try: {finding.remedy}"] if finding.remedy else []
        where += [f"({finding.note})"] if finding.note else []
        source = finding.source if finding.path else f"will be: {finding.source}"
        cells = (finding.name, finding.version, source, "\n".join(where))
        table.add_row(*(escape(cell) for cell in cells), style="" if finding.path else style)
    console.print(table)
