"""The open model in the master's or the only process: each run begun, added up, ruled on and written down."""

import logging
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from math import inf
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner

from arrivals import SHAPES, Shape, evenly, poisson
from brownout.errors import BrownoutError, FaultError, FileError
from brownout.files import write_whole
from brownout.live import State
from brownout.topology import read_topology
from brownout.verdict import Ruling
from dispatch import Dispatcher
from fault_plan import FaultPlan, planned
from generator import Generator
from open_user import OpenUser
from tally import Tally
from target import ARRANGED
from thresholds import Result, Thresholds

if TYPE_CHECKING:
    from recorded import Record

__all__ = ["LoadRun"]

RUN_S = 60.0
"""How long arrivals come where nobody says how long."""

BOUNDS: dict[str, tuple[float, float]] = {
    "rate": (0, 100_000),
    "peak": (0, 100_000),
    "in_flight": (1, 100_000),
    "max_errors": (0, 1),
    "max_dropped": (0, 1),
    "max_p95_ms": (0, inf),
    "max_p99_ms": (0, inf),
    "max_late_ms": (0, inf),
}
"""From where to where options may go; beyond it they would allow everything, or never end."""

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
"""Those that are told."""

log = logging.getLogger(__name__)


class LoadRun:
    """Runs of the open model, one after another.

    Args:
        environment: Locust's.
        runner: of the master, or of the only process.
        generator: of this process.
        state: of the system under load.

    Attributes:
        dispatcher: hands out the arrivals.

    Raises:
        BrownoutError: an option is out of bounds, or names what is not there.
    """

    def __init__(
        self, environment: Environment, runner: LocalRunner | MasterRunner, generator: Generator, state: State
    ) -> None:
        self.dispatcher = Dispatcher(runner, generator)
        self._environment = environment
        self._runner = runner
        self._generator = generator
        self._state = state
        self._begun = False
        self._check()
        self._plan = self._planned()
        self._record = self._recorded()

    @property
    def kinds(self) -> dict[str, float]:
        """The kinds of users that were chosen, and how often each arrives relative to the others."""
        return {each.kind: each.weight for each in self._environment.user_classes if issubclass(each, OpenUser)}

    def begin(self) -> None:
        """Begin a run as the options say.

        Raises:
            BrownoutError: one of them cannot be; Locust's page may have changed them.
        """
        self._check()
        self._begun = True
        options, shape = self._options, self._shape
        random = Random(options.seed)  # noqa: S311 - reproducible, not secret
        log.info("open model: %s, about %.0f arrivals in %g s", options.shape, shape.expected, shape.seconds)
        self._plan = self._planned()
        self.dispatcher.begin(
            shape.due_s(poisson(random) if options.poisson else evenly()),
            self.kinds,
            random,
            around=self._record.running(self._environment) if self._record else nullcontext(),
            during=self._plan.running,
        )

    def stop(self) -> None:
        """End a run, before its time where it is not over: nothing more arrives, what is under way is cut off."""
        self.dispatcher.stop()
        self._generator.stop()

    def result(self) -> Result:
        """What the run came to so far."""
        tally = Tally()
        for each in self.dispatcher.tallies().values():
            tally.add(each)
        took_ms: Counter[float] = Counter()
        requests, errors = 0, sum(each["count"] for each in self._runner.exceptions.values())
        for entry in self._runner.stats.entries.values():
            if not entry.name.endswith(ARRANGED):
                requests += entry.num_requests
                errors += entry.num_failures
                took_ms.update(entry.response_times)
        wrong = (*self.dispatcher.wrong, *self._plan.wrong)
        return Result(self.dispatcher.arrivals, tally, requests, errors, dict(took_ms), wrong)

    def ruling(self) -> Ruling:
        """The ruling on the run by the options' thresholds, told with what it came to."""
        options, result = self._options, self.result()
        thresholds = Thresholds(
            options.max_errors, options.max_p95_ms, options.max_p99_ms, options.max_late_ms, options.max_dropped
        )
        ruling, reasons = thresholds.ruling(result)
        for line in _told(result):
            log.info("%s", line)
        for reason in reasons:
            log.error("%s: %s", ruling, reason)
        return ruling

    def summary(self) -> dict[str, Any]:
        """What the run came to so far, for programs."""
        result = self.result()
        counts = {name: msgspec.structs.asdict(tally) for name, tally in self.dispatcher.tallies().items()}
        return {
            "arrivals": result.arrivals,
            "lost": result.lost,
            "requests": result.requests,
            "errors": result.errors,
            "took_ms": {f"p{100 * share:g}": result.took_at_ms(share) for share in QUANTILES},
            "late_ms": {f"p{100 * share:g}": result.late_at_ms(share) for share in QUANTILES},
            "wrong": result.wrong,
            "generators": {
                name: {key: count for key, count in counted.items() if key != "late_ms"}
                for name, counted in counts.items()
            },
        }

    def write_summary(self) -> None:
        """Write down what the run came to, where that was asked for.

        Raises:
            FileError: it cannot be written.
        """
        if self._options.summary:
            write_whole(Path(self._options.summary), msgspec.json.format(msgspec.json.encode(self.summary())))

    def write_record(self) -> None:
        """Write the recording of the last run, where that was asked for.

        Raises:
            FileError: it cannot be written.
        """
        if self._record and self._begun:
            told = [*self.dispatcher.lines, *(self._generator.lines or ()), *self._plan.lines]
            folder = self._record.write(told, Path(self._options.runs))
            log.info("recorded in %s; judge it with: brownout judge %s", folder, folder)

    @property
    def _options(self) -> Namespace:
        """Locust's options, as its page may have changed them."""
        options: Namespace | None = self._environment.parsed_options
        assert options is not None  # noqa: S101 - Locust was started from its command line
        return options

    @property
    def _shape(self) -> Shape:
        options = self._options
        seconds = RUN_S if options.run_time is None else float(options.run_time)
        return SHAPES[options.shape](options.rate, options.peak, seconds)

    def _check(self) -> None:
        for name, (least, most) in BOUNDS.items():
            value = getattr(self._options, name)
            if not least <= value <= most:
                option = f"--{name.replace('_', '-')} {value:g}"
                raise BrownoutError(option, "is out of bounds", f"let it be from {least:g} to {most:g}")
        folder = Path(self._options.summary).parent
        if not folder.is_dir():
            raise FileError(f"--summary {self._options.summary}", f"there is no folder {folder}")

    def _planned(self) -> FaultPlan:
        topology = read_topology(Path(self._state.topology)) if self._options.fault else None
        faults = tuple(planned(text, topology) for text in self._options.fault if topology)
        for fault in faults:
            if fault.at_s + fault.for_s > self._shape.seconds:
                raise FaultError(fault.name, f"would outlast the load, which ends after {self._shape.seconds:g} s")
        return FaultPlan(faults, self._state.control, self._generator.now_ns)

    def _recorded(self) -> "Record | None":
        if not self._options.record:
            return None
        from recorded import Record  # noqa: PLC0415 - what judges takes a second to import

        script, contract = Path(self._options.record), Path(self._options.contract)
        return Record(script, contract, self._state, self._generator.now_ns)


def _told(result: Result) -> Iterator[str]:
    """What a run came to, a line each."""
    tally = result.tally
    yield (
        f"{result.arrivals} arrivals: {tally.ended} ended, {tally.dropped} dropped, {tally.cut} cut, {result.lost} "
        f"lost; {result.requests} requests, {result.errors} failed"
    )
    for name, at_ms in (("took since due", result.took_at_ms), ("began late by", result.late_at_ms)):
        yield f"{name}: " + ", ".join(f"p{100 * share:g} {at_ms(share):g} ms" for share in QUANTILES)
