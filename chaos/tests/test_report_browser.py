"""The page in a real browser: it draws, loads nothing, complains of nothing, and can be used without a mouse."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from brownout.archive import open_run
from brownout.judge import settled
from brownout.reports.html import html
from brownout.reports.report import report_of
from brownout.suite import read_suite
from brownout.topology import read_topology

RECORDED = Path(__file__).parent / "recordings" / "shop"
NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = {"wide": 1440, "narrow": 360}

Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(NAMES)} is on PATH; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])  # root has no sandbox
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the recorded run, judged by a contract that the shop did not keep."""
    run = Path(shutil.copytree(RECORDED, tmp_path_factory.mktemp("page") / "run"))
    contract = run / "scenarios" / "contract.toml"
    contract.write_text(contract.read_text().replace('name = "SaveOrder"', 'name = "KeepOrder"'))
    archive = open_run(run)
    suite = read_suite(archive.contract, read_topology(archive.topology))
    verdicts = [settled(promise, archive.recordings(promise.trial)) for promise in suite]
    page = run / "report.html"
    page.write_bytes(html(report_of(archive, suite, verdicts), archive))
    return page


@pytest.fixture
def opened(browser: Browser, file: Path) -> Iterator[Callable[..., Page]]:
    """Open the page; whatever it complains of or asks for fails the test."""
    contexts, complaints, asked = [], [], []

    def go(width: str = "wide", scheme: Scheme = "light", *, script: bool = True, place: str = "") -> Page:
        size = {"width": WIDTHS[width], "height": 900}
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme, java_script_enabled=script))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{file.as_uri()}{place}")
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []
    assert {url.partition("#")[0] for url in asked if not url.startswith("data:")} == {file.as_uri()}


def numbers(page: Page, expression: str) -> list[float]:
    found = page.evaluate(expression)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_chart_is_drawn_and_nothing_is_wider_than_the_page(
    opened: Callable[..., Page], width: str, scheme: Scheme
) -> None:
    page = opened(width, scheme)
    page.get_by_role("button", name="open all").click()
    page.evaluate("document.querySelectorAll('.numbers').forEach((one) => { one.open = true; })")
    drawn = numbers(page, "[...document.querySelectorAll('.plot svg')].map((svg) => svg.getBoundingClientRect().width)")
    assert len(drawn) == 7  # two of load, latency and errors, and what the limiter was asked
    assert min(drawn) > 250
    shapes = numbers(page, "[...document.querySelectorAll('.latency .ok')].map((path) => path.getBBox().width)")
    assert min(shapes) > 100
    wide, seen = numbers(page, "[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= seen
    tables = "[...document.querySelectorAll('.numbers')].filter((one) => one.scrollWidth > one.clientWidth)"
    assert page.evaluate(f"{tables}.map((one) => `${{one.scrollWidth}} > ${{one.clientWidth}}`)") == []


@pytest.mark.parametrize("width", WIDTHS)
def test_all_panels_of_a_timeline_are_on_one_axis(opened: Callable[..., Page], width: str) -> None:
    page = opened(width)
    edges = page.evaluate(
        "[...document.querySelector('.timeline').querySelectorAll('.plot, .lane, .axis')]"
        ".map((one) => one.getBoundingClientRect()).map(({left, right}) => `${left} ${right}`)"
    )
    assert len(edges) == 6  # the first offender, phases, load, latency, errors and the axis
    assert len(set(edges)) == 1


@pytest.mark.parametrize("width", WIDTHS)
def test_no_label_of_an_axis_covers_a_dot_or_is_cut(opened: Callable[..., Page], width: str) -> None:
    page = opened(width)
    page.get_by_role("button", name="open all").click()
    beside = "(y) => y.getBoundingClientRect().right <= y.parentElement.getBoundingClientRect().left"
    within = "(x) => x.getBoundingClientRect().right <= x.parentElement.getBoundingClientRect().right + 1"
    assert page.evaluate(f"[...document.querySelectorAll('.y')].every({beside})")
    assert page.evaluate(f"[...document.querySelectorAll('.x')].every({within})")
    assert page.locator(".y").count() > page.locator(".x").count() / 2 > 1


def test_the_colours_follow_the_readers_scheme(opened: Callable[..., Page]) -> None:
    ask = "getComputedStyle(document.body).backgroundColor"
    assert opened(scheme="light").evaluate(ask) == "rgb(255, 255, 255)"
    assert opened(scheme="dark").evaluate(ask) == "rgb(13, 17, 23)"


def test_what_was_kept_is_closed_and_a_link_opens_it(opened: Callable[..., Page]) -> None:
    page = opened()
    scene = page.locator("#s-rate-limit-users")
    assert scene.get_attribute("open") is None
    page.get_by_role("link", name="rate-limit-users", exact=True).click()
    scene.locator(".timeline").wait_for()
    assert scene.get_attribute("open") is not None


def test_an_address_with_a_scenario_opens_it(opened: Callable[..., Page]) -> None:
    opened(place="#s-rate-limit-users").locator("#s-rate-limit-users .timeline").wait_for()


def test_every_link_within_the_page_leads_somewhere(opened: Callable[..., Page]) -> None:
    page = opened()
    links = page.locator("a[href^='#']")
    assert links.count() == 3
    for link in links.all():
        assert page.locator(f"[id='{str(link.get_attribute('href'))[1:]}']").count() == 1


def test_the_spans_of_the_trace_are_handed_over_as_a_file(opened: Callable[..., Page]) -> None:
    page = opened()
    link = page.locator("a[download]")
    with page.expect_download() as download:
        link.click()
    saved = json.loads(download.value.path().read_text())
    spans = [one for each in saved["resourceSpans"] for scope in each["scopeSpans"] for one in scope["spans"]]
    assert download.value.suggested_filename == f"{spans[0]['traceId']}.json"
    assert len(spans) + 1 == page.locator(".waterfall tbody tr").count()


def test_a_dot_says_what_it_is_to_the_mouse(opened: Callable[..., Page]) -> None:
    page = opened()
    plot = page.locator(".plot.latency").first
    plot.hover()
    tip = page.locator("#tip")
    tip.wait_for()
    assert "due at" in (tip.text_content() or "")
    page.locator("h1").hover()
    tip.wait_for(state="hidden")


def test_dots_are_gone_through_in_their_order_by_the_keyboard(opened: Callable[..., Page]) -> None:
    page = opened()
    plot, tip = page.locator(".plot.latency").first, page.locator("#tip")
    plot.focus()
    told = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft"):
        plot.press(key)
        told.append(tip.text_content())
    assert told[0] == told[2] == told[3] != told[1]
    plot.press("Escape")
    tip.wait_for(state="hidden")


def test_the_keyboard_opens_a_scenario(opened: Callable[..., Page]) -> None:
    page = opened()
    page.locator("#s-rate-limit-users > summary").focus()
    page.keyboard.press("Enter")
    page.locator("#s-rate-limit-users .timeline").wait_for()


def test_without_javascript_everything_is_there_but_what_a_dot_says(opened: Callable[..., Page]) -> None:
    page = opened(script=False)
    assert page.locator("#s-tracing-create-order .plot svg").first.is_visible()
    assert page.locator(".waterfall").is_visible()
    page.locator("#s-rate-limit-users > summary").click()
    page.locator("#s-rate-limit-users .plot.load").wait_for()
    page.locator("#s-rate-limit-users .numbers > summary").click()
    page.locator("#s-rate-limit-users .numbers table").first.wait_for()
