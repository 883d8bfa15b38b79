"""The interface of a promise, and what all kinds share."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from brownout.history import Operation
from brownout.recording import Recording
from brownout.scenario import Scenario
from brownout.topology import Topology
from brownout.verdict import Figure, Ruling, Verdict

__all__ = [
    "BrokenError",
    "Count",
    "NoEvidenceError",
    "Positive",
    "Promise",
    "Share",
    "Stated",
    "Status",
    "WrongKeyError",
    "key",
]

Count = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(gt=0, le=1)]
Status = Annotated[int, Meta(ge=100, le=599)]


class Promise(Protocol):
    """A clause with its numbers: it knows how to put itself to the test, and how to read the outcome."""

    @property
    def name(self) -> str:
        """Unique in the contract."""

    @property
    def clause(self) -> str:
        """Where it is documented."""

    def scenario(self, topology: Topology) -> Scenario:
        """What has to be run.

        Raises:
            ValueError: the topology has no such edge or service; the message says which it has.
        """

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
    """The recording does not show whether the promise was kept; the message says what is missing."""


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


class Stated(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """What every promise in a contract says of itself.

    A kind adds its numbers, `Promise.scenario`, and `examine`.

    Attributes:
        name: unique in the contract; the scenario's name as well.
        clause: where the documents state it.
        journey: what exercises it and has to succeed before and after.
        environment: settings of services in the run that tests it.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    clause: Annotated[str, Meta(min_length=1)]
    journey: Annotated[str, Meta(min_length=1)]
    environment: dict[str, dict[str, str]] = {}

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
            return self.unshown(str(gap))
        except BrokenError as breach:
            return self._broken(breach)

    def kept(self, reason: str, *figures: Figure) -> Verdict:
        """The promise was kept."""
        return Verdict(self.name, self.clause, Ruling.PASS, reason, figures)

    def unshown(self, reason: str) -> Verdict:
        """Nobody knows whether it was kept."""
        return Verdict(self.name, self.clause, Ruling.INCONCLUSIVE, reason)

    def _broken(self, breach: BrokenError) -> Verdict:
        ends = [(operation.completed or operation.invoked).index for operation in breach.offenders]
        traces = [operation.trace_id for operation in breach.offenders if operation.trace_id]
        return Verdict(self.name, self.clause, Ruling.FAIL, str(breach), breach.figures, tuple(ends), tuple(traces))
