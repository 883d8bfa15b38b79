"""The page about a run: whole, in one file, and nothing in it but what was recorded."""

import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from brownout.archive import Archive, open_run
from brownout.cli import main
from brownout.history import History
from brownout.judge import settled
from brownout.recording import Recording
from brownout.reports.html import html
from brownout.reports.outputs import PAGE
from brownout.reports.report import Found, Report, report_of, versions
from brownout.suite import read_suite
from brownout.timing import Timing
from brownout.topology import read_topology
from brownout.verdict import Figure, Ruling

RECORDED = Path(__file__).parent / "recordings" / "shop"
STYLE = Path(__file__).parents[1] / "brownout" / "reports" / "page" / "report.css"
HOSTILE = '</script><script>alert("x")</script> <img src=x onerror=alert(1)> {{ 7 * 7 }} & \x00\ud800'
VOID = {"meta", "link", "path", "br"}


class Page(HTMLParser):
    """A page, read: its elements with their attributes, and all text that is shown."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        return [own for name, own in self.elements if name == tag and attributes.items() <= own.items()]

    def of_class(self, name: str) -> list[dict[str, str]]:
        return [own for _, own in self.elements if name in own.get("class", "").split()]


def judged(archive: Archive, timing: Timing | None = None) -> Report:
    suite = read_suite(archive.contract, read_topology(archive.topology))
    verdicts = [settled(promise, archive.recordings(promise.trial)) for promise in suite]
    return report_of(archive, suite, verdicts, timing)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the recorded run."""
    return Path(shutil.copytree(RECORDED, tmp_path / "a run"))


@pytest.fixture
def broken(run: Path) -> Archive:
    """The recorded run with a contract that the shop did not keep."""
    contract = run / "scenarios" / "contract.toml"
    contract.write_text(contract.read_text().replace('name = "SaveOrder"', 'name = "KeepOrder"'))
    return open_run(run)


def shown(archive: Archive) -> Page:
    return Page(html(judged(archive), archive))


def test_the_page_of_a_run_has_every_promise_with_its_ruling_and_reason() -> None:
    archive = open_run(RECORDED)
    report = judged(archive, Timing(5.0, 60.25, 70.5))
    page = Page(html(report, archive))
    for found in report.promises:
        assert found.reason in page.text
        assert {"href": f"#s-{found.scenario}"} in page.all("a")
        assert all(figure.bound in page.text and figure.measured in page.text for figure in found.figures)
    assert "70.5 s, 5.0 s of it before the first step; the longest scenario 60.2 s" in page.text
    assert len(page.of_class("scene")) == len({found.scenario for found in report.promises}) == 2


def test_every_scenario_has_load_latency_errors_and_the_axis() -> None:
    page = shown(open_run(RECORDED))
    for kind in ("load", "latency", "errors", "axis"):
        assert len(page.of_class(kind)) == 2
    assert len(page.of_class("offered")) == 2


def test_what_was_not_kept_comes_first_and_is_open(broken: Archive) -> None:
    first, second = shown(broken).of_class("scene")
    assert first["id"] == "s-tracing-create-order"
    assert "open" in first
    assert "open" not in second


def test_the_trace_of_the_first_offender_is_a_waterfall_with_its_links(broken: Archive) -> None:
    report = judged(broken)
    (failed,) = [found for found in report.promises if found.ruling is Ruling.FAIL]
    page = shown(broken)
    assert page.of_class("waterfall")
    assert {f"trace-{failed.traces[0]}"} == {own["id"] for own in page.all("h5") if "id" in own}
    (link,) = [own for own in page.all("a") if own.get("target") == "_blank"]
    assert link["href"] == f"http://127.0.0.1:16686/trace/{failed.traces[0]}"
    (file,) = [own for own in page.all("a") if "download" in own]
    assert file["href"].startswith("data:application/json;base64,")
    assert f"@{file['download']} " in page.text


def test_where_nothing_failed_there_is_no_waterfall_no_offender_and_nothing_to_run_again() -> None:
    page = shown(open_run(RECORDED))
    assert page.of_class("waterfall") == page.of_class("offender") == page.of_class("first") == []
    assert "first offender" not in page.text
    assert "run again what was not kept" not in page.text


def test_the_first_offender_is_told_at_the_top_and_has_its_place_on_the_axis(broken: Archive) -> None:
    (failed,) = [found for found in judged(broken).promises if found.ruling is Ruling.FAIL]
    page = shown(broken)
    top = page.text.split("Scenarios")[0]
    assert failed.evidence[0] in top
    (bar,) = [own for own in page.of_class("bar") if own["title"].startswith(f"{failed.promise}, ")]
    assert bar["title"].endswith(failed.evidence[0])
    begun_s = float(re.findall(r"begun ([\d.]+) s", failed.evidence[0])[0])
    assert f"{failed.promise}, {begun_s:.2f} to " in bar["title"]
    assert len(page.of_class("offender")) == 2  # its dot, and what the dot means


def test_a_timeline_begins_at_a_time_that_logs_have_and_names_them(run: Path) -> None:
    archive = open_run(run)
    log = archive.log("rate-limit-users.users-0")
    log.parent.mkdir(exist_ok=True)
    log.write_text("INFO started")
    text = shown(archive).text
    assert re.search(r"s on one axis, from 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC on", text)
    assert text.count(str(log.with_name("rate-limit-users.*.log"))) == 1


def test_a_recording_without_an_event_a_span_or_a_series_is_a_page_all_the_same(run: Path) -> None:
    archive = open_run(run)
    history = archive.recording_folder("rate-limit-users") / "history.jsonl"
    history.write_bytes(b"")
    archive.add_telemetry(Recording("rate-limit-users", "cell", History(), None, None))
    page = shown(open_run(run))
    assert len(page.of_class("scene")) == len(page.of_class("axis")) == 2
    assert "0.0 s on one axis" in page.text


def test_the_commands_run_it_again_as_it_was(broken: Archive) -> None:
    page = shown(broken)
    commands = re.findall(r"brownout (?:gate|judge) [^\n]*", page.text)
    words = [shlex.split(command.split(" without")[0]) for command in commands]
    files = ["--contract", str(broken.contract), "--topology", str(broken.topology)]
    broke = ["brownout", "gate", "--only", "tracing-create-order", *files]
    kept = ["brownout", "gate", "--only", "rate-limit-users", "--only", "metric-limiter-users", *files]
    assert words == [broke, ["brownout", "judge", str(broken.folder)], broke, kept]


def test_states_that_the_contract_names_are_lanes(run: Path) -> None:
    contract = run / "scenarios" / "contract.toml"
    states = '[[state]]\ntitle = "draining"\nmetric = "shop_draining"\nvalues = { serving = 0, draining = 1 }\n'
    contract.write_text(f"{contract.read_text()}\n{states}")
    text = shown(open_run(run)).text
    assert "draining, as the system says" in text
    assert re.search(r"all \d+ serving all the time", text)


def test_intervals_are_told_beside_the_figures(broken: Archive) -> None:
    report = judged(broken)
    figure = Figure("p99", 0.5, "s", "at most 1 s", (0.25, 0.75))
    promises = tuple(msgspec.structs.replace(found, figures=(figure,)) for found in report.promises)
    text = Page(html(msgspec.structs.replace(report, promises=promises), broken)).text
    assert text.count("0.25 to 0.75") == len(promises)


def test_nothing_that_was_recorded_becomes_markup(broken: Archive) -> None:
    report = judged(broken)
    figure = Figure(HOSTILE, 1.0, HOSTILE, HOSTILE)
    promises = tuple(
        msgspec.structs.replace(found, reason=HOSTILE, kind=HOSTILE, figures=(figure,), evidence=(HOSTILE,))
        for found in report.promises
    )
    plain, page = shown(broken), Page(html(msgspec.structs.replace(report, promises=promises), broken))
    assert [tag for tag, _ in page.elements].count("script") == [tag for tag, _ in plain.elements].count("script")
    assert page.all("img") == []
    assert page.text.count("{{ 7 * 7 }}") >= 5 * len(promises)
    assert "\x00" not in page.text


def test_what_a_request_was_answered_becomes_no_markup_in_a_chart(run: Path) -> None:
    archive = open_run(run)
    recording = archive.recording("rate-limit-users")
    assert recording is not None
    for event in recording.history.events:
        if "status" in event.detail:
            event.detail["status"] = HOSTILE.replace("\ud800", "")  # no JSON can hold it
    history = archive.recording_folder("rate-limit-users") / "history.jsonl"
    history.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in recording.history))
    archive.add_telemetry(recording)
    page = Page(html(judged(open_run(run)), archive))
    assert page.all("img") == []
    assert "onerror" in page.text


def test_the_page_loads_nothing() -> None:
    page = shown(open_run(RECORDED))
    assert page.all(
        "meta", content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    )
    assert [own for _, own in page.elements if "src" in own] == []
    assert [own["href"] for own in page.all("link")] == ["data:,"]
    assert "url(" not in STYLE.read_text()
    assert "@import" not in STYLE.read_text()


def test_the_page_of_a_run_without_a_ruling_says_why() -> None:
    page = Page(html(Report(unfinished=HOSTILE, versions=versions())))
    assert "no ruling" in page.text
    assert "alert" in page.text
    assert page.all("img") == []
    assert page.all("table") == []


def test_a_recording_that_is_not_whole_is_said_to_be_missing(run: Path) -> None:
    (run / "recordings" / "rate-limit-users" / "telemetry.json.gz").unlink()
    page = shown(open_run(run))
    assert "There is no whole recording of this scenario" in page.text
    assert len(page.of_class("timeline")) == 1


def test_a_scenario_that_was_run_again_has_a_place_of_its_own(run: Path) -> None:
    shutil.copytree(run / "recordings" / "rate-limit-users", run / "recordings" / "rate-limit-users.2")
    archive = open_run(run)
    report = judged(archive)

    def second(found: Found) -> Found:
        return msgspec.structs.replace(found, attempt=2) if found.promise == "rate-limit-users" else found

    page = Page(html(msgspec.structs.replace(report, promises=tuple(map(second, report.promises))), archive))
    assert {own["id"] for own in page.of_class("scene")} == {
        "s-rate-limit-users",
        "s-rate-limit-users.2",
        "s-tracing-create-order",
    }


def test_links_lead_to_what_is_there_and_no_id_is_there_twice(broken: Archive) -> None:
    page = shown(broken)
    ids = [own["id"] for _, own in page.elements if "id" in own]
    assert len(ids) == len(set(ids))
    for _, own in page.elements:
        targets = [own["href"][1:]] if own.get("href", "").startswith("#") else []
        assert set(targets + own.get("aria-labelledby", "").split()) <= set(ids)


def test_judging_writes_the_page_into_the_runs_folder_and_where_it_is_asked_for(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = run.parent / "asked.html"
    monkeypatch.setattr("sys.argv", ["brownout", "judge", str(run), "--html", str(asked)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert f"the page about it: {run / PAGE}" in capsys.readouterr().out
    assert (run / PAGE).read_bytes() == asked.read_bytes()
    Page(asked.read_bytes())


def test_a_run_that_cannot_be_written_to_is_judged_and_says_so(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / f"{PAGE}.part").mkdir()  # root may write to what is read-only
    monkeypatch.setattr("sys.argv", ["brownout", "judge", str(run)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert f"no page in the run's folder: {run / PAGE}: cannot be written: Is a directory" in capsys.readouterr().out


def colours(scheme: str) -> dict[str, str]:
    light, dark = STYLE.read_text().split("@media (prefers-color-scheme: dark)")
    return dict(re.findall(r"--(\w+): (#[0-9a-f]+)", light if scheme == "light" else dark.split("}")[0]))


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_that_it_should(scheme: str) -> None:
    own = colours(scheme)
    for text in ("fg", "muted", "link", "pass", "fail", "unsure"):
        for behind in ("bg", "soft"):
            bright, dim = sorted((luminance(own[text]), luminance(own[behind])), reverse=True)
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (text, behind)
