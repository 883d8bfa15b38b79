"""The interface of a promise, and what all kinds share."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from brownout.errors import FileError
from brownout.history import Operation
from brownout.recording import Recording
from brownout.scenario import Scenario
from brownout.topology import Topology
from brownout.verdict import Figure, Ruling, Verdict

__all__ = [
    "BrokenError",
    "Checked",
    "Count",
    "Name",
    "NoEvidenceError",
    "Positive",
    "Promise",
    "Share",
    "Stated",
    "Status",
    "Trial",
    "WrongKeyError",
    "key",
    "trials",
]

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=38)]
"""Also that of a cell, with the number of a further attempt: with a service's it has to fit into the 63 bytes of a
database's name."""

Count = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(gt=0, le=1)]
Status = Annotated[int, Meta(ge=100, le=599)]


class Promise(Protocol):
    """A clause with its numbers, and how a recording is read for it."""

    @property
    def name(self) -> str:
        """Unique in the contract."""

    @property
    def clause(self) -> str:
        """Where it is documented."""

    def check(self, recording: Recording) -> Verdict:
        """What the recording says of the promise: a pure function."""


class WrongKeyError(ValueError):
    """A promise does not fit the topology; ``key`` is the key of the contract that is wrong."""

    def __init__(self, key: str, cause: str) -> None:
        super().__init__(cause)
        self.key = key


@contextmanager
def key(name: str) -> Iterator[None]:
    """Say which key it was when what is done inside finds it wrong."""
    try:
        yield
    except ValueError as error:
        raise WrongKeyError(name, str(error)) from None


class NoEvidenceError(Exception):
    """The recording does not show whether the promise was kept.

    Args:
        reason: what is missing.
        figures: what was measured.
    """

    def __init__(self, reason: str, figures: Iterable[Figure] = ()) -> None:
        super().__init__(reason)
        self.figures = tuple(figures)


class BrokenError(Exception):
    """The promise was broken.

    Args:
        reason: what broke it, the first offender by name, number or time.
        offenders: the operations that bear it out, the first one first.
        figures: what was measured.
    """

    def __init__(self, reason: str, offenders: Iterable[Operation] = (), figures: Iterable[Figure] = ()) -> None:
        super().__init__(reason)
        self.offenders = tuple(offenders)
        self.figures = tuple(figures)


class Checked(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """What every promise in a contract says of itself.

    A kind adds its numbers and `examine`.

    Attributes:
        name: unique in the contract.
        clause: where the documents state it.
    """

    name: Name
    clause: Annotated[str, Meta(min_length=1)]

    @property
    def trial(self) -> str:
        """The promise whose scenario is run for it: itself, unless it reads another's recording."""
        return self.name

    @property
    def queries(self) -> tuple[str, ...]:
        """What Prometheus has to be asked of the run; see `Scenario`."""
        return ()

    def examine(self, recording: Recording) -> Verdict:
        """Read the recording; returns by `kept`.

        Raises:
            BrokenError: it shows that the promise was broken.
            NoEvidenceError: it does not show either.
        """
        raise NotImplementedError

    def check(self, recording: Recording) -> Verdict:
        """What the recording says of the promise: a pure function."""
        try:
            return self.examine(recording)
        except NoEvidenceError as gap:
            return self.unshown(str(gap), *gap.figures)
        except BrokenError as breach:
            return self._broken(breach)

    def kept(self, reason: str, *figures: Figure) -> Verdict:
        """The promise was kept."""
        return Verdict(self.name, self.clause, Ruling.PASS, reason, figures)

    def unshown(self, reason: str, *figures: Figure) -> Verdict:
        """Nobody knows whether it was kept."""
        return Verdict(self.name, self.clause, Ruling.INCONCLUSIVE, reason, figures)

    def _broken(self, breach: BrokenError) -> Verdict:
        ends = [(operation.completed or operation.invoked).index for operation in breach.offenders]
        traces = [operation.trace_id for operation in breach.offenders if operation.trace_id]
        return Verdict(self.name, self.clause, Ruling.FAIL, str(breach), breach.figures, tuple(ends), tuple(traces))


class Stated(Checked, frozen=True, kw_only=True):
    """A promise that puts itself to the test; a kind adds `scenario` too.

    Attributes:
        journey: what exercises it and has to succeed before and after.
        environment: settings of services in the run that tests it.
        services: those that run, where not all that the scenario could reach are needed; empty: all of them.
    """

    journey: Annotated[str, Meta(min_length=1)]
    environment: dict[str, dict[str, str]] = {}
    services: tuple[str, ...] = ()

    def scenario(self, topology: Topology) -> Scenario:
        """What has to be run; its name is the promise's.

        Raises:
            WrongKeyError: the topology has no such edge or service; the message says which it has.
        """
        raise NotImplementedError


class Trial(msgspec.Struct, frozen=True):
    """One scenario, and the promises for which its recording is read."""

    scenario: Scenario
    promises: tuple[Checked, ...]


def trials(promises: Sequence[Checked], topology: Topology, chosen: Collection[str]) -> tuple[Trial, ...]:
    """What has to be run to judge some promises.

    Args:
        promises: all of a contract: the scenario may be that of one which is not to be judged.
        topology: what the scenarios are run on.
        chosen: the names of those that are to be judged.

    Raises:
        FileError: one of them reads the run of a promise that is not there.
    """
    together: dict[str, list[Checked]] = {}
    for promise in promises:
        if promise.name in chosen:
            together.setdefault(promise.trial, []).append(promise)
    tried = {promise.name: promise for promise in promises if isinstance(promise, Stated)}
    for name, readers in together.items():
        if name not in tried:
            raise FileError(readers[0].name, f"reads the run of {name!r}, which is not among these promises")
    return tuple(_trial(tried[name], topology, tuple(readers)) for name, readers in together.items())


def _trial(tried: Stated, topology: Topology, readers: tuple[Checked, ...]) -> Trial:
    scenario = tried.scenario(topology)
    queries = dict.fromkeys(query for promise in readers for query in promise.queries)
    services = tried.services or scenario.services
    return Trial(msgspec.structs.replace(scenario, services=services, queries=tuple(queries)), readers)
