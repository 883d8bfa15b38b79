"""A contract: what a system promises, read from TOML and held against its topology."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from brownout.errors import FileError
from brownout.faults import Restarted
from brownout.files import parse_toml, read_text
from brownout.journeys import Journey, Request, requests_journey
from brownout.programs import values_of
from brownout.promises.breaker import CircuitBreaker
from brownout.promises.configuration import Configuration
from brownout.promises.consumer import ConsumerShutdown
from brownout.promises.deadline import Deadline
from brownout.promises.discovery import Discovery
from brownout.promises.events import Events
from brownout.promises.half_open import HalfOpen
from brownout.promises.health import Health
from brownout.promises.isolation import Isolation
from brownout.promises.metric import Metric
from brownout.promises.mild import MildTrouble
from brownout.promises.mistakes import CallerMistakes
from brownout.promises.promise import Stated, WrongKeyError, key
from brownout.promises.rate_limit import RateLimit
from brownout.promises.recovery import Recovery
from brownout.promises.registration import Registration
from brownout.promises.shutdown import GracefulShutdown
from brownout.promises.state import StateMetric
from brownout.promises.tracing import Tracing
from brownout.scenario import LONGEST_S, Hold, Scenario
from brownout.topology import PRIVATE_SERVERS, Topology

__all__ = [
    "JOURNEYS_FILE",
    "Contract",
    "Kind",
    "fitted",
    "parse_contract",
    "read_contract",
    "read_journeys",
    "read_states",
]

Kind: TypeAlias = (
    CallerMistakes
    | CircuitBreaker
    | Configuration
    | ConsumerShutdown
    | Deadline
    | Discovery
    | Events
    | GracefulShutdown
    | HalfOpen
    | Health
    | Isolation
    | Metric
    | MildTrouble
    | RateLimit
    | Recovery
    | Registration
    | Tracing
)
"""Every kind of promise. A new one is a file beside this one, and a word here."""

Requests = Annotated[tuple[Request, ...], Meta(min_length=1)]

JOURNEYS_FILE = "journeys.py"
"""Where the journeys of a contract are, beside it; a function's ``_`` is a ``-`` in the contract."""


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a system promises.

    Attributes:
        promises: the tables ``[[promise]]``; names are unique.
        journeys: lists of requests by name, for journeys that need no program.
        states: the tables ``[[state]]``: what a report shows of what the system says of itself.
    """

    promises: Annotated[tuple[Kind, ...], Meta(min_length=1)] = msgspec.field(name="promise")
    journeys: dict[str, Requests] = {}
    states: tuple[StateMetric, ...] = msgspec.field(name="state", default=())


def read_contract(path: Path, topology: Topology, journeys: Mapping[str, Journey] | None) -> Contract:
    """The contract in a file.

    Args:
        path: the file.
        topology: what its edges and services have to be in.
        journeys: what its journeys have to be among; see `read_journeys`; None: whatever they are.

    Raises:
        FileError: it is missing, or a key in it is wrong.
    """
    return parse_contract(read_text(path), str(path), topology, journeys)


def parse_contract(text: str, name: str, topology: Topology, journeys: Mapping[str, Journey] | None = None) -> Contract:
    """The contract in a TOML text; ``name`` is the file's, for the error; no ``journeys``, no look at their names.

    Raises:
        FileError: a key is unknown or missing, a value is out of bounds, or names what is not there.
    """
    contract = parse_toml(text, name, Contract)
    known = None if journeys is None else {*journeys, *contract.journeys}
    seen: set[str] = set()
    scenarios: dict[str, Scenario] = {}
    for index, promise in enumerate(contract.promises):
        where = f"{name}: promise[{index}]"
        if promise.name in seen:
            raise FileError(f"{where}.name", f"there is another promise {promise.name!r}")
        seen.add(promise.name)
        if isinstance(promise, Stated):
            scenarios[promise.name] = fitted(promise, topology, known, where)
    for index, promise in enumerate(contract.promises):
        if isinstance(promise, Metric):
            with _told(f"{name}: promise[{index}]"):
                promise.check_fit(scenarios)
    return contract


def fitted(promise: Stated, topology: Topology, known: Collection[str] | None, where: str) -> Scenario:
    """A promise's scenario, if all that it names is there.

    Args:
        promise: what is to be put to the test.
        topology: what its edges and services have to be in.
        known: what its journeys have to be among; None: whatever they are.
        where: the file and the promise's place in it, for the error.

    Raises:
        FileError: something is not there, or the scenario would last longer than any may.
    """
    for service in promise.environment:
        if service not in topology.services:
            there = ", ".join(topology.services)
            raise FileError(f"{where}.environment.{service}", f"no service {service!r}; the topology has {there}")
    with _told(where):
        with key("services"):
            for service in promise.services:
                topology.service(service)
        scenario = promise.scenario(topology)
    _check_private(scenario, topology, where)
    for journey in scenario.journeys():
        if known is not None and journey not in known:
            raise FileError(f"{where}.journey" if journey == promise.journey else where, _unknown(journey, known))
    if (most_s := scenario.most_s()) > LONGEST_S:
        cause = f"takes {most_s:g} s where nothing comes that it waits for, and a scenario may last {LONGEST_S:g} s"
        raise FileError(where, cause, "split it")
    return scenario


def _check_private(scenario: Scenario, topology: Topology, where: str) -> None:
    """Make sure that the cell's own servers can be its own, and that no other is stopped."""
    for server in scenario.private:
        if server not in PRIVATE_SERVERS:
            there = " and ".join(PRIVATE_SERVERS)
            raise FileError(f"{where}.private", f"no cell can have a {server!r} of its own; it can have {there}")
        if server not in topology.servers():
            raise FileError(f"{where}.private", f"nobody reaches {server}: the topology does not name {{{server}}}")
    held = [step.what for step in scenario.every_step() if isinstance(step, Hold)]
    for fault in held:
        if isinstance(fault, Restarted) and fault.server not in scenario.private:
            raise FileError(where, f"{fault}: all cells share it", f'say private=["{fault.server}"]')


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Tell a wrong key by the place of its promise in the file."""
    try:
        yield
    except WrongKeyError as error:
        raise FileError(f"{where}.{error.key}", str(error)) from None


def _unknown(journey: str, known: Collection[str]) -> str:
    there = ", ".join(sorted(known)) or f"none; write them in {JOURNEYS_FILE} beside the contract"
    return f"no journey {journey!r}; there are {there}"


def read_journeys(contract: Path) -> dict[str, Journey]:
    """All journeys that a contract's promises may name: those in ``journeys.py`` beside it, and its own lists.

    Raises:
        FileError: the contract cannot be read, ``journeys.py`` cannot be loaded, or both have a journey of one name.
    """
    listed = parse_toml(read_text(contract), str(contract), Contract).journeys
    programmed = _programmed(contract.with_name(JOURNEYS_FILE))
    if twice := sorted(listed.keys() & programmed.keys()):
        raise FileError(f"{contract}: journeys.{twice[0]}", f"{JOURNEYS_FILE} has a journey of this name too")
    return programmed | {name: requests_journey(requests) for name, requests in listed.items()}


def read_states(contract: Path) -> tuple[StateMetric, ...]:
    """What a contract says of the system's own states, for whoever shows them.

    Raises:
        FileError: the contract cannot be read.
    """
    return parse_toml(read_text(contract), str(contract), Contract).states


def _programmed(path: Path) -> dict[str, Journey]:
    """The public journeys of a program, its own and those that it imports."""
    if not path.exists():
        return {}
    return {
        name.replace("_", "-"): value
        for name, value in values_of(path).items()
        if isinstance(value, Journey) and not name.startswith("_")
    }
