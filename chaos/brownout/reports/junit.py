"""JUnit's XML: a suite a gate, a test case a promise; what continuous integration shows of itself."""

from xml.etree import ElementTree as ET

from brownout.reports.report import Found, Report, printable
from brownout.verdict import Ruling

__all__ = ["junit"]

_TAG = {Ruling.FAIL: "failure", Ruling.INCONCLUSIVE: "error"}


def junit(report: Report) -> bytes:
    """A FAIL is a failure, an INCONCLUSIVE an error; a run without a ruling is one case with an error."""
    suite = ET.Element("testsuite", _counted(report))
    properties = ET.SubElement(suite, "properties")
    for name, value in (("run", report.run), *report.versions.items()):
        ET.SubElement(properties, "property", name=name, value=printable(value))
    for found in report.promises:
        _case(suite, found)
    if report.ruling is None:
        case = ET.SubElement(suite, "testcase", classname="brownout", name="gate", time=_time(0.0))
        ET.SubElement(case, "error", message=printable(report.unfinished), type="UNFINISHED")
    suites = ET.Element("testsuites", {name: suite.attrib[name] for name in ("tests", "failures", "errors", "time")})
    suites.append(suite)
    ET.indent(suites)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode").encode() + b"\n"


def _counted(report: Report) -> dict[str, str]:
    rulings = [found.ruling for found in report.promises]
    took_s = [found.took_s or 0.0 for found in report.promises]
    whole_s = report.timing.whole_s if report.timing else max(took_s, default=0.0)
    unfinished = report.ruling is None
    counted = {
        "name": "brownout gate",
        "tests": str(len(rulings) + unfinished),
        "failures": str(rulings.count(Ruling.FAIL)),
        "errors": str(rulings.count(Ruling.INCONCLUSIVE) + unfinished),
        "skipped": "0",
        "time": _time(whole_s),
        "hostname": "localhost",
    }
    if report.started_at:
        counted["timestamp"] = report.started_at.partition("+")[0]  # the schema's has no time zone
    return counted


def _case(suite: ET.Element, found: Found) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=printable(f"{found.kind} ({found.clause})"),
        name=printable(found.promise),
        time=_time(found.took_s or 0.0),
    )
    if found.ruling is Ruling.PASS:
        ET.SubElement(case, "system-out").text = printable("\n".join((found.reason, *_lines(found))))
    else:
        told = ET.SubElement(case, _TAG[found.ruling], message=printable(found.reason), type=found.ruling.value)
        told.text = printable("\n".join((found.reason, *_lines(found))))


def _lines(found: Found) -> list[str]:
    """The evidence, a line each."""
    more = len(found.events) - len(found.evidence)
    return [
        *map(str, found.figures),
        *found.evidence,
        *([f"and {more} more events: {', '.join(map(str, found.events[-more:]))}"] if more else []),
        *([f"traces: {', '.join(found.traces)}"] if found.traces else []),
        f"recorded in {found.recording}",
    ]


def _time(seconds: float) -> str:
    return f"{seconds:.3f}"
