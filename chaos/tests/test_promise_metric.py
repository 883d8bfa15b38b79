"""The metric's check on written recordings."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from brownout.history import Outcome
from brownout.promises.metric import Expectation, Metric
from brownout.promises.promise import WrongKeyError
from brownout.recording import SCRAPE_S, Series
from brownout.scenario import Calls, Hold, Load, Scenario, Wait
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

QUERY = 'breaker_state{cell="$cell", callee="users"}'
PROMISE = Metric(
    name="breaker-metric",
    clause="6.2",
    of="breaker",
    query=QUERY,
    expect=(Expectation("open", equals=2), Expectation("closed", equals=0)),
)
LABELS = {"__name__": "breaker_state", "callee": "users", "cell": "breaker", "job": "services"}
BREAKER = Scenario(
    "breaker",
    "order",
    (Hold(Load("load", "order", 1), (Calls("open", "order"), Wait(3))), Calls("closed", "order")),
    (),
)


class Run(msgspec.Struct, kw_only=True):
    """Open for ten seconds from 10 s on, closed for ten from 20 s on; what the metric says at each second of them."""

    promise: Metric = PROMISE
    opened: tuple[float, ...] = (0, 0, 2, 2, 2, 2, 2, 2, 2, 2)
    closed: tuple[float, ...] = (2, 2, 0, 0, 0, 0, 0, 0, 0, 0)
    queried: bool = True

    def judged(self) -> Verdict:
        story = Written()
        story.wait(10)
        for name in ("open", "closed"):
            with story.step(name):
                story.wait(10)
        if self.queried:
            points = [(10.1 + number, value) for number, value in enumerate((*self.opened, *self.closed))]
            story.queried[QUERY] = [Series(LABELS, points)]
        return self.promise.check(story.recording())


def test_a_metric_that_agrees_with_what_was_done_passes() -> None:
    verdict = Run().judged()
    assert verdict.ruling is Ruling.PASS
    assert verdict.reason == f"{QUERY} agreed during 'open', 'closed'"
    assert [str(figure) for figure in verdict.figures] == [
        "during 'open' 8 samples (2)",
        "during 'closed' 8 samples (0)",
    ]


@pytest.mark.parametrize("spoilt", [2, 5, 9])
def test_a_single_sample_that_says_otherwise_fails_and_is_named(spoilt: int) -> None:
    opened = [*Run().opened]
    opened[spoilt] = 0
    verdict = Run(opened=tuple(opened)).judged()
    assert verdict.ruling is Ruling.FAIL
    assert verdict.reason == (f"breaker_state{{callee=\"users\"}} said 0 {spoilt + 0.1:.1f} s into 'open', promised 2")
    assert verdict.events


def test_every_series_of_the_query_has_to_agree() -> None:
    story = Written()
    with story.step("open"):
        story.wait(10)
    story.queried[QUERY] = [Series({"instance": str(value)}, [(5.0, value)]) for value in (2.0, 1.0)]
    verdict = msgspec.structs.replace(PROMISE, expect=PROMISE.expect[:1]).check(story.recording())
    assert verdict.ruling is Ruling.FAIL
    assert verdict.reason.startswith('{instance="1.0"} said 1 5.0 s into')


@pytest.mark.parametrize(
    ("expectation", "value", "holds"),
    [
        (Expectation("open", at_least=2), 2, True),
        (Expectation("open", at_least=2), 1.9, False),
        (Expectation("open", at_most=2), 2, True),
        (Expectation("open", at_most=2), 2.1, False),
        (Expectation("open", at_least=1, at_most=3), 2, True),
        (Expectation("open", at_least=1, at_most=3), 4, False),
        (Expectation("open", equals=2), 2.5, False),
    ],
)
def test_a_bound_includes_its_number(expectation: Expectation, value: float, *, holds: bool) -> None:
    assert expectation.holds(value) is holds


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run(queried=False), "has no samples"),
        (Run(opened=(), closed=()), "no samples during 'open'"),
        (Run(opened=(2, 2), closed=()), "no samples during 'open'"),
        (
            Run(promise=msgspec.structs.replace(PROMISE, expect=(Expectation("half-open", equals=1),))),
            "no samples during 'half-open'",
        ),
    ],
)
def test_without_samples_it_is_inconclusive(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert reason in verdict.reason


def test_a_query_that_was_refused_is_inconclusive_and_says_why() -> None:
    story = Written()
    story.note("query", QUERY, Outcome.FAILED, why="prometheus: status 400, parse error")
    verdict = PROMISE.check(story.recording())
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert verdict.reason == "the query was not answered: prometheus: status 400, parse error"


@pytest.mark.parametrize(
    ("changes", "wrong", "said"),
    [
        ({"of": "braker"}, "of", "no promise 'braker' that has a run; there are breaker"),
        (
            {"expect": (Expectation("opened", equals=1),)},
            "expect[0].during",
            "no step 'opened' in breaker; it has load, open, wait 3 s, closed",
        ),
        ({"expect": (Expectation("open"),)}, "expect[0]", "nothing is expected"),
    ],
)
def test_what_does_not_fit_the_other_promise_is_refused_by_its_key(
    changes: dict[str, Any], wrong: str, said: str
) -> None:
    with pytest.raises(WrongKeyError) as refused:
        msgspec.structs.replace(PROMISE, **changes).check_fit({"breaker": BREAKER})
    assert refused.value.key == wrong
    assert said in str(refused.value)


def test_the_scrape_interval_is_what_prometheus_is_configured_to() -> None:
    server = Path(__file__).parents[1] / "brownout" / "servers" / "prometheus.py"
    assert f"scrape_interval: {SCRAPE_S:g}s" in server.read_text()
