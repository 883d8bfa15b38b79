"""The pytest plugin: each promise and script of a contract is a test; those selected run at the same time.

pytest scenarios                      # the whole gate
pytest scenarios -k "users and not breaker" --junitxml=gate.xml
pytest scenarios --collect-only -q
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brownout.promises.promise import Checked
    from brownout.verdict import Verdict

__all__ = ["GateItem"]

CONTRACT = "contract.toml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where the system is described, and where recordings go."""
    group = parser.getgroup("brownout", "promises of a system, put to the test")
    group.addoption("--topology", type=Path, default=Path("system/topology.toml"), help="How the system is wired.")
    group.addoption("--runs", type=Path, default=Path("runs"), help="Where recordings are kept.")
    retries = "So many times more, what is INCONCLUSIVE is run again; a FAIL never is."
    group.addoption("--retry-inconclusive", type=int, choices=range(10), default=0, metavar="N", help=retries)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.File | None:
    """Collect a contract, and the scripts beside it."""
    if file_path.name == CONTRACT:
        return ContractFile.from_parent(parent, path=file_path)
    if file_path.suffix == ".py" and file_path.with_name(CONTRACT).is_file():
        return ScriptFile.from_parent(parent, path=file_path)
    return None


class GateError(Exception):
    """A promise was not kept, or nobody knows."""


class _File(pytest.File):
    """A file of promises."""

    def collect(self) -> Iterator[GateItem]:
        """An item for each."""
        from brownout.errors import BrownoutError

        try:
            promises = self.promises()
        except BrownoutError as error:
            raise self.CollectError(str(error)) from None
        for promise in promises:
            yield GateItem.from_parent(self, name=promise.name, promise=promise)

    def promises(self) -> tuple[Checked, ...]:
        """What the file has."""
        raise NotImplementedError


class ContractFile(_File):
    """A contract: its promises are tests."""

    def promises(self) -> tuple[Checked, ...]:
        """Those of the contract."""
        from brownout.promises.contract import read_contract, read_journeys
        from brownout.topology import read_topology

        topology = read_topology(self.config.getoption("topology"))
        return read_contract(self.path, topology, read_journeys(self.path)).promises


class ScriptFile(_File):
    """A file beside a contract: its scripts are tests."""

    def promises(self) -> tuple[Checked, ...]:
        """The scripts; a file may well have none."""
        from brownout.promises.contract import read_journeys
        from brownout.suite import fitted_scripts
        from brownout.topology import read_topology

        topology = read_topology(self.config.getoption("topology"))
        return fitted_scripts(self.path, topology, read_journeys(self.path.with_name(CONTRACT)).keys())


class GateItem(pytest.Item):
    """One promise; all that are selected are put to the test before the first is reported."""

    def __init__(self, *, promise: Checked, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]  # pytest's own
        self.promise = promise
        self.verdict: Verdict | None = None

    def runtest(self) -> None:
        """Report the verdict."""
        from brownout.verdict import Ruling

        assert self.verdict is not None, "the gate did not come to a verdict"  # noqa: S101 - for pytest
        self.user_properties += [(figure.name, figure.value) for figure in self.verdict.figures]
        figures = "; ".join(map(str, self.verdict.figures))
        self.add_report_section("call", "gate", f"{self.verdict.reason}\n{figures}")
        if self.verdict.ruling is not Ruling.PASS:
            raise GateError(f"{self.verdict.ruling}: {self.verdict.reason}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:  # noqa: ARG002
        """The ruling and its reason, without a traceback: nothing of it would be the reader's."""
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it is stated."""
        return self.path, None, f"{self.name} ({self.promise.clause})"


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Put all selected promises to the test at the same time, before pytest reports one after another."""
    items = [item for item in session.items if isinstance(item, GateItem)]
    if not items or session.config.option.collectonly or session.testsfailed:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        verdicts = _judged(session.config, tuple(item.name for item in items), items[0].path.with_name(CONTRACT))
    for item in items:
        item.verdict = verdicts[item.promise.name]


def _judged(config: pytest.Config, names: tuple[str, ...], contract: Path) -> dict[str, Verdict]:
    from rich.console import Console

    from brownout.archive import Archive
    from brownout.errors import BrownoutError
    from brownout.gate import run_gate
    from brownout.promises.contract import read_journeys
    from brownout.reports.terminal import Board
    from brownout.stopping import StoppedByError, run_until_signalled
    from brownout.suite import read_suite
    from brownout.topology import read_topology

    path = config.getoption("topology")
    topology = read_topology(path)
    journeys = read_journeys(contract)
    suite = read_suite(contract, topology, journeys)
    archive = Archive.create(config.getoption("runs"), contract, path, names)
    board, retries = Board(Console(highlight=False)), config.getoption("retry_inconclusive")
    try:
        with board.shown():
            verdicts, _ = run_until_signalled(
                lambda stop: run_gate(suite, topology, journeys, archive, stop, board.say, retries)
            )
    except StoppedByError as stopped:
        pytest.exit(f"{stopped}; everything that was started has been ended", returncode=stopped.exit_code)
    except BrownoutError as error:
        pytest.exit(str(error), returncode=3)
    return {verdict.promise: verdict for verdict in verdicts}
