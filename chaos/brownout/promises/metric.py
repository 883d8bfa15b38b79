"""A metric that has to agree with what was seen: a query over another promise's run, held against what it says."""

from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from brownout.history import Operation
from brownout.promises.evidence import seconds
from brownout.promises.promise import BrokenError, Checked, NoEvidenceError, key
from brownout.recording import SCRAPE_S, Recording, Series
from brownout.scenario import Scenario, name_of
from brownout.verdict import Figure, Verdict

__all__ = ["Expectation", "Metric"]

SETTLING_S = 2 * SCRAPE_S
"""From the beginning of a step until every sample is one of it: a scrape may have been under way, the next has not."""


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every point of the query has to be while something was done.

    Attributes:
        during: a step of the run, by its name: a phase, a fault in words.
        equals: exactly this.
        at_least: not less.
        at_most: not more.
    """

    during: Annotated[str, Meta(min_length=1)]
    equals: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a value is as promised."""
        return (
            (self.equals is None or value == self.equals)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
        )

    def __str__(self) -> str:
        bounds = {"": self.equals, "at least ": self.at_least, "at most ": self.at_most}
        return ", ".join(f"{word}{bound:g}" for word, bound in bounds.items() if bound is not None)


class Metric(Checked, frozen=True, kw_only=True, tag="metric"):
    """What the system says of itself agrees with what it was seen to do.

    It is a promise of its own: it never decides another's ruling.

    Attributes:
        of: the promise in whose run the query is asked.
        query: in PromQL; ``$cell`` is the cell's name.
        expect: what its points have to be, and when.
    """

    of: str
    query: Annotated[str, Meta(min_length=1)]
    expect: Annotated[tuple[Expectation, ...], Meta(min_length=1)]

    @property
    def trial(self) -> str:
        """The promise whose run is read."""
        return self.of

    @property
    def queries(self) -> tuple[str, ...]:
        """The one query."""
        return (self.query,)

    def check_fit(self, scenarios: Mapping[str, Scenario]) -> None:
        """Make sure that there are such a promise and such steps.

        Args:
            scenarios: of the promises that have one, by name.

        Raises:
            WrongKeyError: there are not; the message says which there are.
        """
        with key("of"):
            if self.of not in scenarios:
                raise ValueError(f"no promise {self.of!r} that has a run; there are {', '.join(scenarios)}")
        steps = list(dict.fromkeys(map(name_of, scenarios[self.of].every_step())))
        for index, expectation in enumerate(self.expect):
            with key(f"expect[{index}].during"):
                if expectation.during not in steps:
                    raise ValueError(f"no step {expectation.during!r} in {self.of}; it has {', '.join(steps)}")
            with key(f"expect[{index}]"):
                if not str(expectation):
                    raise ValueError("nothing is expected; give equals, at_least or at_most")

    def examine(self, recording: Recording) -> Verdict:
        """One expectation after another, over all series that the query has."""
        series = recording.queried.get(self.query, [])
        if failed := recording.history.alone("query", self.query):
            raise NoEvidenceError(f"the query was not answered: {failed[0].detail.get('why')}")
        if not series:
            raise NoEvidenceError(f"{self.query} has no samples")
        figures = [_held(recording, series, expectation) for expectation in self.expect]
        phases = ", ".join(repr(expectation.during) for expectation in self.expect)
        return self.kept(f"{self.query} agreed during {phases}", *figures)


def _held(recording: Recording, series: list[Series], expectation: Expectation) -> Figure:
    """Hold every point of the time against the expectation; returns how many there were.

    Raises:
        BrokenError: one was otherwise.
        NoEvidenceError: there was none.
    """
    count = 0
    for step in recording.history.operations("step", expectation.during):
        for each, at_ns, value in _points(series, step):
            count += 1
            if not expectation.holds(value):
                raise BrokenError(
                    f"{_labels(each)} said {value:g} {seconds(step.sent_ns, at_ns):.1f} s into "
                    f"{expectation.during!r}, promised {expectation}",
                    [step],
                )
    if not count:
        raise NoEvidenceError(f"no samples during {expectation.during!r}")
    return Figure(f"during {expectation.during!r}", count, "samples", str(expectation))


def _points(series: list[Series], step: Operation) -> Iterator[tuple[Series, int, float]]:
    """The points of a step's time, without its beginning; a step that has no end has none."""
    from_ns, to_ns = step.sent_ns + int(SETTLING_S * 1e9), step.answered_ns or 0
    for each in series:
        for at_s, value in each.points:
            if from_ns <= at_s * 1e9 <= to_ns:
                yield each, int(at_s * 1e9), value


def _labels(series: Series) -> str:
    """A series as Prometheus writes it, without what is the same in all of a run."""
    name = series.labels.get("__name__", "")
    told = [f'{label}="{value}"' for label, value in series.labels.items() if label not in ("__name__", "cell", "job")]
    return f"{name}{{{', '.join(told)}}}" if told else name or "the query"
