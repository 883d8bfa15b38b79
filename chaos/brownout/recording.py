"""A recording: all that will ever be judged of one run."""

from typing import Any

import msgspec

from brownout.history import History

__all__ = ["FORMAT", "OLDEST_FORMAT", "SCRAPE_S", "Recording", "Series", "Span"]

FORMAT = 3
"""The version of a recording on disk; a later one is refused, never misread."""

OLDEST_FORMAT = 2
"""From which on they are read; what runs had before a scenario could be run again."""

SCRAPE_S = 1.0
"""From one sample of a metric to the next: what Prometheus is configured to."""


class Span(msgspec.Struct, frozen=True):
    """One span of a trace, as the tracing server kept it; times in Unix nanoseconds."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any] = {}


class Series(msgspec.Struct, frozen=True):
    """One metric series: labels (its name is ``__name__``) and points of Unix seconds and value."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


class Recording(msgspec.Struct, frozen=True):
    """What happened in one run of a scenario.

    Attributes:
        scenario: the scenario's name.
        cell: the cell's name.
        history: every request, fault, probe and step.
        spans: the traces of the requests; None: the system sends none, and shows itself from outside only.
        series: the metrics of the cell; None: it is not scraped.
        queried: what Prometheus made of each query of the scenario, a point each `SCRAPE_S`.
    """

    scenario: str
    cell: str
    history: History
    spans: list[Span] | None
    series: list[Series] | None
    queried: dict[str, list[Series]] = {}

    def first_spans(self) -> dict[tuple[str, str], Span]:
        """The first request that each service had in each trace, by trace and service."""
        first: dict[tuple[str, str], Span] = {}
        for span in self.spans or ():
            place = (span.trace_id, span.service)
            if span.kind == "server" and (place not in first or span.start_ns < first[place].start_ns):
                first[place] = span
        return first

    @property
    def traced(self) -> bool:
        """Whether the system sends spans: only then does the absence of one mean something."""
        return self.spans is not None

    def spans_of(self, trace_ids: set[str], service: str) -> list[Span]:
        """The spans that a service has in some traces."""
        return [span for span in self.spans or () if span.service == service and span.trace_id in trace_ids]
