"""JSON for other programs: all that a report has, under the names that `Report` and `Found` document."""

import msgspec

from brownout.reports.report import Report

__all__ = ["json"]


def json(report: Report) -> bytes:
    """The report; ``format`` is the version of its keys."""
    return msgspec.json.format(msgspec.json.encode(report)) + b"\n"
