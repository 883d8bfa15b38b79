"""Graceful shutdown's check on written recordings."""

from typing import Any

import msgspec
import pytest

from brownout.faults import Latency, Terminated
from brownout.history import Outcome
from brownout.promises.promise import WrongKeyError
from brownout.promises.shutdown import GracefulShutdown, _refused
from brownout.promises.timing import Timing
from brownout.recording import Span
from brownout.scenario import Hold, Load
from brownout.topology import parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

ALONE = GracefulShutdown(
    name="alone", clause="6.6", journey="read", service="users", slow="users -> postgres", instances=1
)
PAIR = GracefulShutdown(name="pair", clause="6.6", journey="me", service="users", slow="users -> postgres", instances=2)
TOPOLOGY = parse_topology(
    """
    entry = "gateway"
    [services.gateway]
    command = ["gateway"]
    calls = ["users"]
    [services.users]
    command = ["users"]
    env = { DATABASE_URL = "{postgres}" }
    """,
    "topology.toml",
)
REFUSED = (None, "refused: connect call failed", ())
CUT = (None, "cut: server disconnected", ("users",))
FINE = (200, "", ("users",))
GONE = (None, "cut: server disconnected", ())
Fate = tuple[int | None, str, tuple[str, ...]]


class Run(msgspec.Struct, kw_only=True):
    """A run with a request every tenth of a second, each a second long; the signal comes after three seconds."""

    promise: GracefulShutdown = ALONE
    early: Fate = FINE
    in_flight: dict[int, Fate] = {}
    later: dict[int, Fate] = {}
    default_later: Fate = REFUSED
    takes_s: float = 1.0
    last_takes_s: float = 1.0
    later_takes_s: float = 0.01
    at_instance_0: int = 10
    left_instance_0_after_s: float = 1.0
    exit_code: int | None = 0
    after_s: float = 2.5
    canary: Outcome | None = Outcome.OK
    entry: str = "users"
    lifted: bool = True
    traced: bool = True

    def judged(self) -> Verdict:
        story = Written()
        story.traced = self.traced
        story.steady("before", reaches=("users",))
        with story.fault("latency 1000 ms on users -> postgres"):
            begin_s = story.now_s
            for number in range(60):
                self.send(story, number, begin_s)
            story.wait(3)
            end = {} if self.exit_code is None else {"exit_code": self.exit_code, "after_s": self.after_s}
            with story.fault("SIGTERM to users-0", canary=self.canary, lifted=self.lifted, **end):
                story.wait(3)
        story.end()
        return self.promise.check(story.recording())

    def send(self, story: Written, number: int, begin_s: float) -> None:
        took_s = self.takes_s
        if number < 20:
            status, error, reaches = self.early
        elif number < 30:
            status, error, reaches = self.in_flight.get(number, FINE)
            took_s = self.last_takes_s if number == 29 else 0.2 if error.startswith("refused") else took_s
        else:
            status, error, reaches = self.later.get(number, self.default_later)
            took_s = took_s if status == 200 else self.later_takes_s
        trace_id = story.call(
            "load",
            at_s=(sent_s := begin_s + 0.05 + number / 10),
            status=status,
            error=error,
            took_s=took_s,
            reaches=reaches,
            actor="load",
            service=self.entry,
        )
        if 20 <= number < 20 + self.at_instance_0:
            self.at_the_signalled(story, trace_id, sent_s)

    def at_the_signalled(self, story: Written, trace_id: str, sent_s: float) -> None:
        """Its span there, which need not last as long as the request: another instance may have had it after."""
        start_ns, end_ns = (round(each_s * 1e9) for each_s in (sent_s, sent_s + self.left_instance_0_after_s))
        attributes = {"service.instance.id": "users-0"}
        story.spans.append(Span(trace_id, "a" * 16, "", "users", "GET", "server", start_ns, end_ns, attributes))


def test_a_drain_as_promised_passes_with_its_figures() -> None:
    verdict = Run().judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.reason == (
        "10 of 10 requests in flight were finished, 30 of 30 later ones were refused cleanly; "
        "exit code 0 2.5 s after the signal"
    )
    assert [str(figure) for figure in verdict.figures] == [
        "last in flight finished after 0.94 s (at most 30 s)",
        "ended after 2.50 s (at most 30 s)",
        "refused cleanly 30 requests",
    ]


def test_with_two_instances_no_request_fails() -> None:
    verdict = Run(promise=PAIR, default_later=FINE, entry="gateway").judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert "refused cleanly;" not in verdict.reason


def test_what_was_sent_just_before_the_signal_and_not_connected_counts_as_later() -> None:
    verdict = Run(in_flight={29: REFUSED}).judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert "9 of 9 requests in flight were finished, 31 of 31 later ones were refused cleanly" in verdict.reason


def test_an_answer_that_the_service_is_unavailable_is_a_clean_refusal() -> None:
    verdict = Run(later={40: (503, "", ("users",))}).judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason


@pytest.mark.parametrize(("span_s", "clean"), [(0.004, True), (2.9, False)])
def test_a_refusal_is_timed_by_its_own_span_and_not_by_a_busy_client(span_s: float, *, clean: bool) -> None:
    story = Written()
    trace_id = story.call("load", status=503, took_s=3.0, service="users")
    story.spans.append(Span(trace_id, "a" * 16, "", "users", "GET", "server", 0, round(span_s * 1e9)))
    recording = story.recording()
    assert _refused(recording.history.requests()[0], Timing(recording)) is clean


def test_a_connection_that_the_closing_listener_had_not_accepted_is_not_held_against_it() -> None:
    verdict = Run(later=dict.fromkeys(range(30, 40), FINE) | {40: GONE}).judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert "19 of 30 later ones were refused cleanly" in verdict.reason


def test_without_spans_the_only_instance_is_known_by_its_port() -> None:
    assert Run(traced=False).judged() == Run().judged()


def test_a_drain_that_is_waited_for_long_enough_passes() -> None:
    promise = msgspec.structs.replace(ALONE, outlasts_s=10)
    verdict = Run(promise=promise, last_takes_s=12.0, after_s=12.5).judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run(in_flight={23: CUT}), "1 of 10 requests in flight were cut, the first 0.3 s after the signal"),
        (Run(last_takes_s=32.0), "a request in flight was late: finished 31.9 s after the signal, promised 30 s"),
        (
            Run(later={40: CUT}),
            "1 of 30 requests after the signal were taken and then cut, the first with cut: server disconnected",
        ),
        (
            Run(promise=PAIR, default_later=FINE, later={33: (503, "", ())}),
            "1 of 30 requests after the signal failed, the first with 503; promised none with 2 instances",
        ),
        (
            Run(later={40: (500, "", ("users",))}),
            "1 of 30 requests after the signal were taken and then cut, the first with 500",
        ),
        (
            Run(later={40: (503, "", ("users",))}, later_takes_s=3.0),
            "1 of 30 requests after the signal were taken and then cut, the first with 503",
        ),
        (Run(in_flight={23: GONE}), "1 of 10 requests in flight were cut"),
        (Run(promise=PAIR, default_later=FINE, at_instance_0=0, exit_code=1), "ended with exit code 1"),
        (Run(exit_code=None), "users-0 did not end, promised within 30 s of the signal"),
        (
            Run(exit_code=-15, after_s=0.2),
            "users-0 ended with exit code -15 0.2 s after the signal, promised 0 within 30 s",
        ),
        (Run(after_s=31.0), "users-0 ended with exit code 0 31.0 s after the signal"),
    ],
)
def test_a_broken_drain_fails_and_says_what_became_of_whom(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.FAIL
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run(early=(500, "", ("users",))), "requests failed before the signal, the first with 500"),
        (Run(takes_s=0.2), "only 2 requests were in flight at the signal, 5 are needed"),
        (
            Run(early=(200, "", ()), in_flight=dict.fromkeys(range(20, 30), (200, "", ())), at_instance_0=0),
            "no request before the signal has a span of users",
        ),
        (
            Run(default_later=GONE),
            "30 of 30 requests after the signal were cut, the first with cut: server disconnected, and no span tells",
        ),
        (
            Run(default_later=(None, "no answer within 35 s", ()), later_takes_s=35.0),
            "30 of 30 requests after the signal were cut, the first with no answer within 35 s",
        ),
        (Run(later={30: GONE, 31: GONE}), "2 of 30 requests after the signal were cut"),
        (Run(later={40: GONE, 50: FINE}), "1 of 30 requests after the signal were cut"),
        (Run(later={59: GONE}), "1 of 30 requests after the signal were cut"),
        (
            Run(promise=PAIR, default_later=FINE, at_instance_0=4),
            "only 4 requests had a span of users-0 at the signal, 5 are needed",
        ),
        (
            Run(promise=PAIR, default_later=FINE, left_instance_0_after_s=0.01),
            "only 0 requests had a span of users-0 at the signal, 5 are needed",
        ),
        (
            Run(promise=msgspec.structs.replace(ALONE, outlasts_s=10), last_takes_s=9.0, after_s=9.5),
            "the last request in flight was finished 8.9 s after the signal: 10 s are needed",
        ),
        (
            Run(promise=PAIR, default_later=FINE, traced=False),
            "which instance had a request shows in spans only, and the system sends none",
        ),
        (Run(traced=False, later={40: CUT, 41: CUT}), "2 of 30 requests after the signal were cut"),
        (Run(entry="gateway"), "the journey enters at gateway; it must enter at users"),
        (Run(canary=None), "nobody saw how the process ended"),
        (Run(canary=Outcome.UNKNOWN), "nobody saw how the process ended"),
        (Run(lifted=False), "SIGTERM to users-0 was in force 0 times instead of once"),
    ],
)
def test_without_evidence_it_is_inconclusive(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert reason in verdict.reason


def test_nothing_recorded_is_inconclusive() -> None:
    assert ALONE.check(Written().recording()).ruling is Ruling.INCONCLUSIVE


def test_the_signal_comes_in_the_midst_of_slow_requests() -> None:
    scenario = PAIR.scenario(TOPOLOGY)
    (slow,) = scenario.steps
    assert isinstance(slow, Hold)
    assert slow.what == Latency(TOPOLOGY.edge("users -> postgres"), 1000)
    (load,) = slow.steps
    assert isinstance(load, Hold)
    assert load.what == Load("load", "me", 10.0, timeout_s=35.0)
    assert isinstance(load.steps[1], Hold)
    assert load.steps[1].what == Terminated("users", 0)
    assert scenario.instances == {"users": 2}


def test_services_that_are_not_asked_are_not_started() -> None:
    assert ALONE.scenario(TOPOLOGY).services == ("users",)
    assert PAIR.scenario(TOPOLOGY).services == ("gateway", "users")


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"service": "usrs"}, "service"),
        ({"slow": "users -> redis"}, "slow"),
        ({"outlasts_s": 30}, "outlasts_s"),
    ],
)
def test_what_cannot_be_tested_is_refused_by_its_key(changes: dict[str, Any], wrong: str) -> None:
    with pytest.raises(WrongKeyError) as refused:
        msgspec.structs.replace(PAIR, **changes).scenario(TOPOLOGY)
    assert refused.value.key == wrong
