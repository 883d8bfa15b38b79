"""Markdown for a job's page: the ruling first, then what was not kept; what was kept is folded away."""

import re
import shlex
from collections.abc import Iterable

from brownout.reports.report import Found, Report, printable
from brownout.verdict import Ruling

__all__ = ["markdown"]

_MEANT = re.compile(r"[\\`*_\[\]<>|~&$]")
"""What Markdown, HTML or GitHub's formulas would take for more than itself."""

_SIGN = {Ruling.PASS: "✅", Ruling.INCONCLUSIVE: "❔", Ruling.FAIL: "❌"}


def markdown(report: Report) -> bytes:
    """The page, UTF-8."""
    return "\n".join(_unfinished(report) if report.ruling is None else _judged(report, report.ruling)).encode()


def _unfinished(report: Report) -> list[str]:
    return ["## ❔ brownout: no ruling", "", _cell(report.unfinished), ""]


def _judged(report: Report, ruling: Ruling) -> list[str]:
    kept = [found for found in report.promises if found.ruling is Ruling.PASS]
    broken = sorted((found for found in report.promises if found.ruling is not Ruling.PASS), key=_failed_last)
    lines = [f"## {_SIGN[ruling]} brownout: {ruling}", "", f"{len(kept)} of {len(report.promises)} promises kept."]
    if report.timing:
        lines[-1] += f" {report.timing.whole_s:.0f} s, the longest scenario {report.timing.longest_s:.0f} s."
    if broken:
        lines += ["", *_table(broken)]
    if kept:
        lines += ["", f"<details><summary>{len(kept)} kept</summary>", "", *_table(kept), "", "</details>"]
    again = f"brownout judge {shlex.quote(report.run)}"
    return [*lines, "", "Judge it again, without a server:", "", f"    {again}", ""]


def _failed_last(found: Found) -> bool:
    return found.ruling is not Ruling.FAIL


def _table(promises: Iterable[Found]) -> list[str]:
    return ["| ruling | promise | clause | what was found |", "|---|---|---|---|", *map(_row, promises)]


def _row(found: Found) -> str:
    said = [found.reason, *map(str, found.figures)]
    if found.ruling is not Ruling.PASS:
        said += [*found.evidence, f"recorded in {found.recording}"]
    cells = (f"{_SIGN[found.ruling]} {found.ruling}", found.promise, found.clause, "\n".join(said))
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """A text in one line that means nothing but itself."""
    plain = _MEANT.sub(lambda found: f"&#{ord(found[0])};", printable(text))
    return "<br>".join(plain.splitlines())
