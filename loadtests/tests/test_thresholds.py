"""The ruling on a load run: kept, broken, and when nobody knows."""

from math import inf

import msgspec
import pytest

from brownout.verdict import Ruling
from tally import Tally
from thresholds import Result, Thresholds

GOOD = Result(
    arrivals=1000,
    tally=Tally(taken=1000, ended=1000, late_ms={1.0: 995, 800.0: 5}),
    requests=1000,
    errors=0,
    took_ms={10.0: 960, 200.0: 35, 2000.0: 5},
)


def test_what_is_kept_passes_without_a_reason() -> None:
    assert Thresholds(p95_ms=10, p99_ms=200).ruling(GOOD) == (Ruling.PASS, [])


@pytest.mark.parametrize(
    ("thresholds", "errors", "told"),
    [
        (Thresholds(), 1, "1 of 1000 requests failed"),
        (Thresholds(errors=0.01), 11, "11 of 1000 requests failed"),
        (Thresholds(p95_ms=9.9), 0, "the p95 of requests is 10 ms, over 9.9 ms"),
        (Thresholds(p99_ms=199), 0, "the p99 of requests is 200 ms, over 199 ms"),
    ],
)
def test_what_is_broken_fails(thresholds: Thresholds, errors: int, told: str) -> None:
    ruling, reasons = thresholds.ruling(msgspec.structs.replace(GOOD, errors=errors))
    assert ruling is Ruling.FAIL
    assert told in reasons[0]


def test_a_share_of_errors_may_be_allowed() -> None:
    assert Thresholds(errors=0.01).ruling(msgspec.structs.replace(GOOD, errors=10))[0] is Ruling.PASS


@pytest.mark.parametrize(
    ("tally", "told"),
    [
        (Tally(ended=1000, late_ms={1.0: 980, 501.0: 20}), "the p99 of lateness is 501 ms"),
        (Tally(ended=989, dropped=11), "11 were dropped"),
        (Tally(ended=989, cut=11), "11 cut"),
        (Tally(ended=989), "11 lost"),
    ],
)
def test_a_load_that_was_not_offered_shows_nothing_of_the_system(tally: Tally, told: str) -> None:
    unfit = msgspec.structs.replace(GOOD, tally=tally, errors=500)
    ruling, reasons = Thresholds().ruling(unfit)
    assert ruling is Ruling.INCONCLUSIVE
    assert told in reasons[0]


def test_what_else_speaks_against_a_run_shows_nothing_either() -> None:
    ruling, reasons = Thresholds().ruling(msgspec.structs.replace(GOOD, wrong=("it did not act",)))
    assert (ruling, reasons) == (Ruling.INCONCLUSIVE, ["it did not act"])


def test_a_run_without_a_request_fails_whatever_is_allowed() -> None:
    lax = Thresholds(errors=1, late_ms=inf, dropped=1)
    ruling, reasons = lax.ruling(Result(0, Tally(), 0, 0, {}))
    assert ruling is Ruling.FAIL
    assert "nothing was measured" in reasons[0]


def test_a_run_without_a_request_says_why() -> None:
    assert Thresholds().ruling(Result(0, Tally(), 0, 0, {}, ("no user is ready",)))[1][1:] == ["no user is ready"]


@pytest.mark.parametrize(("took_ms", "told"), [({}, "nothing was measured"), ({5.0: 9}, "")])
def test_a_run_cut_short_never_passes(took_ms: dict[float, int], told: str) -> None:
    result = msgspec.structs.replace(GOOD, requests=len(took_ms), took_ms=took_ms, wrong=("ended before its time",))
    ruling, reasons = Thresholds().ruling(result)
    assert ruling is not Ruling.PASS
    assert told in reasons[0]
    assert "ended before its time" in reasons
