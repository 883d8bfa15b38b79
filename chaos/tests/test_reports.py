"""What a job's page, a test report and other programs are told of a run."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from brownout.archive import Archive, open_run
from brownout.history import Event, Outcome
from brownout.judge import judged
from brownout.reports.json import json
from brownout.reports.junit import junit
from brownout.reports.markdown import markdown
from brownout.reports.report import FORMAT, Found, Report, report_of, versions
from brownout.suite import read_suite
from brownout.timing import Timing
from brownout.topology import read_topology
from brownout.verdict import Figure, Ruling, Verdict
from brownout.written import Written

DOCUMENT = Path(__file__).parents[2] / "docs" / "ci" / "README.md"
RECORDED = Path(__file__).parent / "recordings" / "shop"
TRACE = "ab" * 16


def found(promise: str, ruling: Ruling, reason: str = "as it was", **more: object) -> Found:
    return Found(
        promise=promise,
        clause="6.2",
        ruling=ruling,
        reason=reason,
        kind="circuit-breaker",
        scenario=promise,
        recording=f"runs/1/recordings/{promise}",
        **{"took_s": 98.25, "evidence": (), **more},
    )


BROKEN = found(
    "broken",
    Ruling.FAIL,
    "call 31 reached users",
    figures=(Figure("refused", 58, "calls", "all of 59"),),
    events=tuple(range(40, 52)),
    traces=(TRACE,),
    evidence=tuple(f"event {index}, begun" for index in range(40, 50)),
)
REPORT = Report(
    ruling=Ruling.FAIL,
    run="runs/1",
    started_at="2026-11-23T15:29:01+00:00",
    timing=Timing(5.0, 98.25, 120.5),
    versions=versions(),
    promises=(
        found("kept", Ruling.PASS, figures=(Figure("open", 60.0, "s"),)),
        found("unknown", Ruling.INCONCLUSIVE, "no traces were collected", took_s=None),
        BROKEN,
    ),
)
UNFINISHED = Report(unfinished="toxiproxy: did not start", versions=versions())
HOSTILE = 'a|b <script>alert("x")</script>\nc **d** `e` [f](g) $h$ \\| _i_ & \x00\x1b[31m\ud800\ufffe ~j~'

REQUIRED = {"testsuite": {"name", "tests", "failures", "errors", "time"}, "testcase": {"name", "classname"}}
KNOWN = {
    "testsuites": {"name", "time", "tests", "failures", "disabled", "errors"},
    "testsuite": {
        "name",
        "tests",
        "failures",
        "errors",
        "time",
        "disabled",
        "skipped",
        "timestamp",
        "hostname",
        "id",
        "package",
    },
    "testcase": {"name", "assertions", "time", "classname", "status"},
    "failure": {"type", "message"},
    "error": {"type", "message"},
    "property": {"name", "value"},
}
CHILDREN = {
    "testsuites": ["testsuite"],
    "testsuite": ["properties", "testcase", "system-out", "system-err"],
    "testcase": ["skipped", "error", "failure", "system-out", "system-err"],
    "properties": ["property"],
}


def valid(document: bytes) -> ET.Element:
    """The suite of a document that keeps the rules of Jenkins' junit-10.xsd, which the others are read by as well."""
    root = ET.fromstring(document)  # noqa: S314  our own
    assert root.tag == "testsuites"
    for element in root.iter():
        names = set(element.attrib)
        assert REQUIRED.get(element.tag, set()) <= names <= KNOWN.get(element.tag, set()), element.tag
        places = [CHILDREN[element.tag].index(child.tag) for child in element]
        assert places == sorted(places), "a sequence in the schema"
    (suite,) = root
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", "2026-01-01T00:00:00"))
    cases = suite.findall("testcase")
    for counted, tag in (("tests", "testcase"), ("failures", "testcase/failure"), ("errors", "testcase/error")):
        assert int(suite.attrib[counted]) == int(root.attrib[counted]) == len(suite.findall(tag))
    for element in (root, suite, *cases):
        assert re.fullmatch(r"\d+\.\d{3}", element.attrib["time"])
    return suite


def test_junit_has_a_case_a_promise_with_kind_clause_and_time() -> None:
    cases = valid(junit(REPORT)).findall("testcase")
    assert [case.get("name") for case in cases] == ["kept", "unknown", "broken"]
    assert {case.get("classname") for case in cases} == {"circuit-breaker (6.2)"}
    assert [case.get("time") for case in cases] == ["98.250", "0.000", "98.250"]


def test_junit_tells_a_fail_as_a_failure_with_all_its_evidence() -> None:
    failure = valid(junit(REPORT)).find("testcase[@name='broken']/failure")
    assert failure is not None
    assert failure.get("message") == "call 31 reached users"
    assert failure.text is not None
    assert failure.text.splitlines() == [
        "call 31 reached users",
        "refused 58 calls (all of 59)",
        *BROKEN.evidence,
        "and 2 more events: 50, 51",
        f"traces: {TRACE}",
        "recorded in runs/1/recordings/broken",
    ]


def test_junit_tells_an_inconclusive_as_an_error_with_its_reason() -> None:
    error = valid(junit(REPORT)).find("testcase[@name='unknown']/error")
    assert error is not None
    assert error.attrib == {"message": "no traces were collected", "type": "INCONCLUSIVE"}


def test_junit_tells_a_run_without_a_ruling_as_an_error() -> None:
    suite = valid(junit(UNFINISHED))
    error = suite.find("testcase/error")
    assert error is not None
    assert error.get("message") == "toxiproxy: did not start"


def test_junit_stays_xml_whatever_a_reason_has_in_it() -> None:
    report = msgspec.structs.replace(REPORT, promises=(found("hostile", Ruling.FAIL, HOSTILE),))
    failure = valid(junit(report)).find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == re.sub("[\x00\x1b\ud800\ufffe]", "\ufffd", HOSTILE)


def test_markdown_has_the_ruling_first_then_what_was_not_kept_and_folds_the_rest() -> None:
    page = markdown(REPORT).decode()
    heading, told, *_ = (line for line in page.splitlines() if line)
    assert heading.endswith("brownout: FAIL")
    assert told == "1 of 3 promises kept. 120 s, the longest scenario 98 s."
    places = [page.index(word) for word in ("| broken |", "| unknown |", "<details>", "| kept |", "</details>")]
    assert places == sorted(places)
    assert "call 31 reached users<br>refused 58 calls (all of 59)<br>event 40, begun<br>" in page
    assert page.endswith("    brownout judge runs/1\n")


def test_markdown_of_a_run_without_a_ruling_says_why() -> None:
    assert markdown(UNFINISHED).decode() == "## ❔ brownout: no ruling\n\ntoxiproxy: did not start\n"


def test_markdown_keeps_its_table_whatever_a_reason_has_in_it() -> None:
    report = msgspec.structs.replace(REPORT, promises=(found("hostile", Ruling.FAIL, HOSTILE),))
    (row,) = [line for line in markdown(report).decode().split("\n") if "hostile" in line and "|" in line]
    assert row.count("|") == 5
    assert "<" not in row.replace("<br>", "")
    assert not set("*`[]$\\_~\x00\x1b") & set(row)


def test_json_is_read_back_as_the_report_that_was_written() -> None:
    assert msgspec.json.decode(json(REPORT), type=Report) == REPORT
    assert msgspec.json.decode(json(UNFINISHED), type=Report) == UNFINISHED
    assert msgspec.json.decode(json(REPORT))["format"] == FORMAT


def test_every_key_of_the_json_is_documented() -> None:
    document = DOCUMENT.read_text()
    fields = {name for kind in (Report, Found, Timing, Figure) for name in kind.__struct_fields__}
    assert {name for name in fields if f"`{name}`" not in document} == set()


def test_a_report_on_a_recorded_run_has_kind_time_and_place_of_each_verdict() -> None:
    archive = open_run(RECORDED)
    suite = read_suite(archive.contract, read_topology(archive.topology))
    verdicts = [judged(promise, archive.recording(promise.trial)) for promise in suite]
    report = report_of(archive, suite, verdicts)
    assert report.ruling is Ruling.PASS
    assert [one.kind for one in report.promises] == ["rate-limit", "tracing", "metric"]
    assert [one.scenario for one in report.promises][2] == "rate-limit-users"
    assert all(one.took_s is not None and 5 < one.took_s < 60 for one in report.promises)
    assert all((Path(one.recording) / "history.jsonl").exists() for one in report.promises)


def test_the_events_of_a_verdict_are_told_in_words(tmp_path: Path) -> None:
    story = Written()
    story.note("engine", "begun")
    story.wait(2.5)
    story.call("burst", status=503, took_s=0.25)
    recording = msgspec.structs.replace(story.recording(), scenario="rate-limit-users")
    archive = recorded(tmp_path, recording.history.events)
    archive.add_telemetry(recording)
    last = len(recording.history) - 1
    assert recording.history.events[last].outcome is Outcome.FAILED
    suite = read_suite(RECORDED / "scenarios" / "contract.toml", read_topology(RECORDED / "topology.toml"))
    verdict = Verdict("rate-limit-users", "6.3", Ruling.FAIL, "refused", (), (last,))
    (told,) = report_of(archive, suite, [verdict]).promises[0].evidence
    assert told.startswith(f"event {last}, begun 2.500 s after the start: calls burst")
    assert told.endswith(f": 503 after 0.250 s, trace {recording.history.events[last].trace_id}")


def recorded(folder: Path, events: list[Event]) -> Archive:
    archive = Archive.create(
        folder, RECORDED / "scenarios" / "contract.toml", RECORDED / "topology.toml", ("rate-limit-users",)
    )
    history = archive.recording_folder("rate-limit-users") / "history.jsonl"
    history.parent.mkdir()
    history.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
    return archive


def test_a_recording_that_is_not_whole_has_no_time_and_no_evidence(tmp_path: Path) -> None:
    archive = recorded(tmp_path, [])
    suite = read_suite(archive.contract, read_topology(archive.topology))
    verdict = judged(suite[0], archive.recording("rate-limit-users"))
    (one,) = report_of(archive, suite, [verdict]).promises
    assert (one.ruling, one.took_s, one.evidence) == (Ruling.INCONCLUSIVE, None, ())
    assert valid(junit(report_of(archive, suite, [verdict]))).get("errors") == "1"


@pytest.mark.parametrize("ruling", list(Ruling))
def test_every_form_tells_every_ruling(ruling: Ruling) -> None:
    report = msgspec.structs.replace(REPORT, ruling=ruling, promises=(found("only", ruling),))
    assert all(ruling.encode() in form(report) or form is junit for form in (junit, markdown, json))
    assert valid(junit(report)).get("tests") == "1"
