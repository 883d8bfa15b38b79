"""Load by hand, in an open model: journeys arrive at a rate, whatever becomes of those before.

    brownout up
    locust -f loadtests/open_model.py --headless --rate 20 -u 20 -r 20 -t 30s
    locust -f loadtests/open_model.py --headless --shape spike --rate 10 --peak 100 --poisson -u 20 -r 20 OpenBrowse
    locust -f loadtests/open_model.py --headless --fault "latency orders->users 2s @10s for 10s" -u 20 -r 20 -t 30s

A response time counts from when the journey was due, so a system that stands still makes all that came due meanwhile
late. Users (``-u``) are who the journeys are done by, any number at the same time by each; how many arrive is
``--rate``. Exit codes: 0 all thresholds were kept, 1 one was not, or no request has ended, 2 the load was not offered
as it should have been and for as long, or a fault did not act, 3 it could not be run, or not be written down.
"""

import logging
import signal
import sys
from argparse import ArgumentDefaultsHelpFormatter
from pathlib import Path
from typing import Any

import gevent
import locust.stats
from geventhttpclient.url import URL
from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import STATE_INIT, STATE_RUNNING, STATE_SPAWNING, LocalRunner, MasterRunner, WorkerRunner

from arrivals import SHAPES
from brownout.clock import steady_clock
from brownout.errors import BrownoutError
from generator import Generator, Runner
from load_run import LoadRun
from open_user import OpenUser
from page import show
from tally import bucket_ms
from target import COULD_NOT_RUN, could_not_run, find_system, offer_runs
from thresholds import EXIT, Thresholds

sys.path.extend(str(Path(__file__).resolve().parents[1] / folder) for folder in ("scenarios", "loadtests"))
import journeys

__all__ = ["OpenBrowse", "OpenBuy", "OpenMe", "OpenModel", "OpenReadOrder"]

CONTRACT = Path(journeys.__file__).with_name("contract.toml")

log = logging.getLogger(__name__)

locust.stats.bucket_response_time = bucket_ms  # type: ignore[assignment]  # Locust's own is wrong by up to five per cent


class OpenBrowse(OpenUser):
    """Looks at the catalogue."""

    kind, journey = "browse", journeys.browse
    weight = 4


class OpenBuy(OpenUser):
    """Browses, orders and pays."""

    kind, journey = "buy", journeys.buy
    weight = 2


class OpenMe(OpenUser):
    """Reads the own data."""

    kind, journey = "me", journeys.me
    weight = 2


class OpenReadOrder(OpenUser):
    """Reads an order that was placed before."""

    kind, journey = "read-order", journeys.read_order
    weight = 2


class OpenModel(LoadTestShape):
    """Ends a run when all is known of its arrivals; meanwhile all users are there."""

    use_common_options = True
    load: LoadRun

    def reset_time(self) -> None:
        """Begin anew."""
        super().reset_time()  # type: ignore[no-untyped-call]  # Locust's
        self.load.dispatcher.over = False

    def tick(self) -> tuple[int, float] | None:
        """Return how many users there have to be, at least one of each kind, and how fast they come."""
        if self.load.dispatcher.over or self.runner is None:
            return None
        options: Any = self.runner.environment.parsed_options
        return max(options.num_users or 1, len(self.load.kinds)), float(options.spawn_rate or 1)


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # Locust's
def _offer_options(parser: LocustArgumentParser) -> None:
    offer_runs(parser)
    add, kept = parser.add_argument, Thresholds()
    add("--shape", choices=list(SHAPES), default="constant", help="How the rate of arrivals changes.")
    add("--rate", type=float, default=10.0, help="Journeys arriving a second.")
    add("--peak", type=float, default=50.0, help="Journeys a second at the peak.")
    add("--poisson", action="store_true", help="Arrivals at random, not evenly spaced.")
    add("--seed", type=int, default=1, help="Draws kinds of journeys and random arrivals.")
    add("--in-flight", type=int, default=2_000, help="Most journeys under way in a process.")
    add("--keep-alive", action="store_true", help="Keep connections, instead of one for each request.")

    def bound(option: str, default: float, told: str) -> None:
        add(option, type=float, default=default, help=told, include_in_web_ui=False)

    bound("--max-errors", kept.errors, "Largest share of requests that may fail, 0 to 1.")
    bound("--max-p95-ms", kept.p95_ms, "Longest that the p95 of requests may be, since due.")
    bound("--max-p99-ms", kept.p99_ms, "Longest that the p99 may be.")
    bound("--max-late-ms", kept.late_ms, "Most by which the p99 of arrivals may begin late.")
    bound("--max-dropped", kept.dropped, "Largest share of arrivals not offered, 0 to 1.")
    hidden: dict[str, Any] = {"include_in_web_ui": False}
    add("--fault", action="append", default=[], help='"latency orders->users 2s @30s for 20s"; repeated.', **hidden)
    add("--record", default="", help="Write the run down as one of this file's script, for brownout judge.", **hidden)
    add("--contract", default=str(CONTRACT), help="Beside which the journeys are.", **hidden)
    add("--summary", default="", help="Write what the run came to here, as JSON.", **hidden)


@events.init.add_listener  # type: ignore[untyped-decorator]  # same
def _prepare(environment: Environment, runner: Runner, **_: object) -> None:
    state = find_system(environment)
    OpenUser.host = state.addresses[state.entry]
    OpenUser.addresses = {name: URL(address) for name, address in state.addresses.items()}
    generator = OpenUser.generator = Generator(runner, steady_clock())
    hooks: Any = environment.events

    def begin(**_: object) -> None:
        options: Any = environment.parsed_options
        generator.begin(most=options.in_flight, keep_alive=options.keep_alive, recorded=bool(options.record))

    hooks.test_start.add_listener(begin)
    if isinstance(runner, WorkerRunner):
        if runner.worker_state != STATE_INIT:  # one that comes while a run goes on begins before it is asked to prepare
            begin()
        _prepare_worker(environment, runner, generator)
        return
    try:
        _prepare_master(environment, runner, LoadRun(environment, runner, generator, state))
    except BrownoutError as error:
        could_not_run(error)


def _prepare_worker(environment: Environment, runner: WorkerRunner, generator: Generator) -> None:
    """A worker reports with Locust's own statistics, in one message; one that goes takes nothing with it."""
    hooks: Any = environment.events

    def leave(**_: object) -> None:
        if runner.state in (STATE_RUNNING, STATE_SPAWNING):
            generator.leave()
            last: dict[str, Any] = {}
            hooks.report_to_master.fire(client_id=runner.client_id, data=last)
            runner.send_message("stats", last)

    hooks.report_to_master.add_listener(lambda data, **_: data.update(open=generator.report()))
    hooks.test_stopping.add_listener(lambda **_: generator.stop())
    hooks.quitting.add_listener(leave)


def _prepare_master(environment: Environment, runner: LocalRunner | MasterRunner, load: LoadRun) -> None:
    """The master or the only process; its listeners come before Locust's own ones, which end what they need."""

    def begin(**_: object) -> None:
        try:
            load.begin()
        except BrownoutError as error:  # the page may have changed what was well when Locust started
            log.error("%s", error)  # noqa: TRY400 - one line, no traceback
            load.dispatcher.refuse(str(error))
            runner.greenlet.spawn(runner.stop)

    if isinstance(environment.shape_class, OpenModel):
        environment.shape_class.load = load
    hooks: Any = environment.events
    hooks.test_start.add_listener(begin)
    hooks.test_stopping.add_listener(lambda **_: load.stop())
    hooks.quitting.add_listener(lambda **_: load.stop())
    hooks.worker_report.add_listener(lambda client_id, data, **_: load.dispatcher.add(client_id, data["open"]))
    if environment.web_ui:
        show(environment.web_ui, load)
    else:
        for number in (signal.SIGINT, signal.SIGTERM):
            gevent.signal_handler(number, _end, runner, number)
        log.info("open model is ready")


def _end(runner: LocalRunner | MasterRunner, number: int) -> None:
    """End a headless run in order: Locust heeds a signal only after the run, and no more while it waits for workers."""
    begun = runner.state != STATE_INIT
    runner.quit()
    if not begun:
        log.error("ended by %s before there was any load", signal.Signals(number).name)
        sys.exit(128 + number)


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # same
def _rule(environment: Environment, **_: object) -> None:
    """Rule on the run by its exit code, after all of Locust's own listeners: these wait for the last reports."""
    if isinstance(environment.shape_class, OpenModel) and hasattr(environment.shape_class, "load"):
        load = environment.shape_class.load
        environment.process_exit_code = EXIT[load.ruling()]
        for write in (load.write_summary, load.write_record):
            try:
                write()
            except BrownoutError as error:  # what else there is to write is written
                log.error("%s", error)  # noqa: TRY400 - same
                environment.process_exit_code = COULD_NOT_RUN


if __name__ == "__main__":  # what this file adds: Locust prints its own help before it has read it
    usage = "locust -f loadtests/open_model.py [option ...] [class ...]"
    helping = LocustArgumentParser(usage=usage, add_help=False, formatter_class=ArgumentDefaultsHelpFormatter)
    _offer_options(helping)
    helping.print_help()
