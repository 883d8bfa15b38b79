"""Puts gates into a Prometheus, for the dashboard "Gate history": one point each, at the time that it began.

    brownout gate --json gate.json
    python dashboards/push.py gate.json
    python dashboards/push.py --to http://prometheus:9090 gates/*.json

It is sent by OTLP over HTTP, which Prometheus takes where it is started with ``--web.enable-otlp-receiver``; a gate
older than the last is taken within its ``out_of_order_time_window``. The same gate again changes nothing.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import requests

__all__ = ["Report", "document", "main"]

HERE = "http://127.0.0.1:9090"
PATH = "/api/v1/otlp/v1/metrics"
TIMEOUT_S = 10.0

MOST_TOLD = 240
"""Characters of a refusal that are told."""

Ruling = Literal["PASS", "INCONCLUSIVE", "FAIL"]
NUMBERS: Mapping[Ruling, int] = {"PASS": 0, "INCONCLUSIVE": 1, "FAIL": 2}
"""What a ruling is as a number: the worse, the more."""

Point = tuple[str, float, Mapping[str, str]]
"""A metric's name, its value and its labels."""


class Figure(msgspec.Struct, frozen=True):
    """What was measured."""

    name: str
    value: float | None
    unit: str


class Found(msgspec.Struct, frozen=True):
    """A verdict."""

    promise: str
    kind: str
    clause: str
    ruling: Ruling
    took_s: float | None
    figures: tuple[Figure, ...] = ()


class Timing(msgspec.Struct, frozen=True):
    """How long a gate took."""

    whole_s: float


class Report(msgspec.Struct, frozen=True):
    """What is read of the JSON that ``brownout gate`` and ``judge`` write; docs/ci has all of its keys."""

    format: Literal[1]
    ruling: Ruling | None
    unfinished: str
    started_at: str
    timing: Timing | None
    promises: tuple[Found, ...]


def document(report: Report, ruling: Ruling) -> dict[str, Any]:
    """Return a gate as OTLP's JSON has it.

    Args:
        report: of the gate.
        ruling: what it came to.
    """
    at_ns = int(datetime.fromisoformat(report.started_at).timestamp()) * 10**9
    metrics = [
        {"name": name, "gauge": {"dataPoints": [{"timeUnixNano": str(at_ns), "asDouble": value, **_labelled(labels)}]}}
        for name, value, labels in _points(report, ruling)
    ]
    resource = _labelled({"service.name": "brownout"})
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]}


def _points(report: Report, ruling: Ruling) -> Iterator[Point]:
    yield "brownout_gate_ruling", NUMBERS[ruling], {}
    for each in NUMBERS:
        yield "brownout_gate_promises", sum(found.ruling == each for found in report.promises), {"ruling": each}
    if report.timing:  # one that was judged again has none
        yield "brownout_gate_duration_seconds", report.timing.whole_s, {}
    for found in report.promises:
        labels = {"promise": found.promise, "kind": found.kind, "clause": found.clause}
        yield "brownout_promise_ruling", NUMBERS[found.ruling], labels
        if found.took_s is not None:
            yield "brownout_promise_duration_seconds", found.took_s, labels
        for figure in found.figures:
            if figure.value is not None:  # it had no end
                yield "brownout_promise_figure", figure.value, {**labels, "figure": figure.name, "unit": figure.unit}


def _labelled(labels: Mapping[str, str]) -> dict[str, Any]:
    return {"attributes": [{"key": key, "value": {"stringValue": value}} for key, value in labels.items()]}


def main() -> None:
    """Send what is named on the command line; exit code 1 where one was not taken."""
    parser = argparse.ArgumentParser(description="Put gates into a Prometheus.")
    parser.add_argument("--to", default=HERE, help="its address; by default %(default)s")
    parser.add_argument("reports", nargs="+", type=Path, metavar="REPORT", help="what `brownout gate --json` wrote")
    asked = parser.parse_args()
    failures = list(_failures(asked.reports, asked.to))
    for failure in failures:
        sys.stderr.write(f"{failure}\n")
    sys.exit(1 if failures else 0)


def _failures(paths: Iterable[Path], to: str) -> Iterator[str]:
    """Send the reports, and tell what was not taken; where nobody answers, that is told once."""
    with requests.Session() as session:
        session.trust_env = False  # it is reached directly, whatever proxy the shell names
        for path in paths:
            try:
                gate = _read(path)
                answer = session.post(to.rstrip("/") + PATH, json=gate, timeout=TIMEOUT_S)
            except (requests.ConnectionError, requests.Timeout):
                yield f"{to}: no Prometheus answers there; nothing more was sent"
                return
            except (OSError, ValueError) as error:  # msgspec's own are among them
                yield f"{path}: {error}"
            else:
                if not answer.ok:  # with its own words: the receiver is off, or the gate too old
                    yield f"{path}: {to} answered {answer.status_code}: {' '.join(answer.text.split())[:MOST_TOLD]}"


def _read(path: Path) -> dict[str, Any]:
    """Read a report.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no report, or has no ruling.
    """
    report = msgspec.json.decode(path.read_bytes(), type=Report)
    if report.ruling is None:
        raise ValueError(f"no ruling: {report.unfinished}")
    return document(report, report.ruling)


if __name__ == "__main__":
    main()
