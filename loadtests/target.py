"""The system under load: where it is, and what its answers mean."""

import logging
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from brownout.errors import BrownoutError
from brownout.live import State, running_system

__all__ = [
    "ARRANGED",
    "COULD_NOT_RUN",
    "complain",
    "could_not_run",
    "find_system",
    "offer_runs",
    "problem",
    "route",
    "well",
]

COULD_NOT_RUN = 3
"""The exit code when nothing is up, as that of ``brownout``."""

RUNS = "runs"
"""Where ``brownout up`` keeps its state if it is not told."""

ARRANGED = " (arrange)"
"""Marks the statistics of what is done once a user and is no part of the load."""

_ID = re.compile(r"/[0-9a-f]{32}(?=/|$)")

_told: set[tuple[str, str]] = set()

log = logging.getLogger(__name__)


def offer_runs(parser: LocustArgumentParser) -> None:
    """Offer the option that says where the system's state is; a mistyped option ends as one of ``brownout`` does."""
    told: Any = parser.error

    def refuse(message: str) -> NoReturn:
        try:
            told(message)
        finally:  # Locust ends with 2 itself, which would mean that the run was inconclusive
            sys.exit(COULD_NOT_RUN)

    parser.error = refuse  # type: ignore[method-assign]  # Locust makes the parser
    parser.add_argument("--runs", default=RUNS, help="The folder of `brownout up --runs`.", include_in_web_ui=False)


def find_system(environment: Environment) -> State:
    """Find the system that is up; without one the process ends."""
    try:
        return running_system(Path(getattr(environment.parsed_options, "runs", RUNS)))
    except BrownoutError as error:
        could_not_run(error)


def could_not_run(error: BrownoutError) -> NoReturn:
    """End the process: the run cannot be what was asked for."""
    log.error("%s", error)
    sys.exit(COULD_NOT_RUN)


def well(status: int) -> bool:
    """Whether an answer is a success."""
    return 200 <= status < 300  # noqa: PLR2004 - HTTP's own numbers


def route(path: str) -> str:
    """A path without ids and query, by which requests are counted."""
    return _ID.sub("/{id}", path.partition("?")[0])


def problem(status: int, body: Any) -> str:
    """What a failed answer says, without what differs between two of a kind, so that Locust counts them together."""
    kind = str(body.get("type", "")) if isinstance(body, dict) else ""
    return f"{status} {kind.rpartition(':')[2]}".strip()


def complain(what: str, failure: str, trace_id: str) -> str:
    """Tell the trace of a failure that is the first of its kind; Locust's own report only counts them."""
    if (what, failure) not in _told:
        _told.add((what, failure))
        log.warning("%s: %s, first in trace %s", what, failure, trace_id)
    return failure
