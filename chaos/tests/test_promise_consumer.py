"""The check of a consumer's graceful end, on written recordings."""

import msgspec
import pytest

from brownout.promises.consumer import ConsumerShutdown
from brownout.promises.promise import Checked, WrongKeyError
from brownout.recording import Recording
from brownout.topology import parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

SLOW = "notifications -> users:grpc"
PROMISE = ConsumerShutdown(name="drain", clause="6.6", journey="order", service="notifications", slow=SLOW)
TOPOLOGY = parse_topology(
    """
    entry = "orders"
    [services.users]
    command = ["users"]
    ports = ["grpc"]
    [services.orders]
    command = ["orders"]
    [services.notifications]
    command = ["notifications"]
    calls = ["users:grpc"]
    """,
    "topology.toml",
)


class Run(msgspec.Struct, kw_only=True):
    """Ten orders, one a second, whose events are handled for half a second each; the signal comes in the fourth's.

    `begun` has the orders whose events are begun again after the restart.
    """

    begun: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()
    handled: int = 10
    first_s: float = 0.1
    statuses: tuple[int, ...] = (201,) * 10
    exit_code: int | None = 0
    after_s: float = 1.5
    lifted: bool = True

    def judged(self) -> Verdict:
        return PROMISE.check(self.recorded())

    def recorded(self) -> Recording:
        story = Written()
        for _ in range(3 if self.handled else 0):
            trace = story.call("before", status=201, reaches=("orders",))
            self.handle(story, trace, story.now_s, 0.01)
            story.wait(0.1)
        if not self.handled:
            story.steady("before")
        with story.fault(f"latency 1500 ms on {SLOW}"):
            begin_s = story.now_s
            for number, status in enumerate(self.statuses):
                at_s = begin_s + number
                trace = story.call("load", at_s=at_s, status=status, actor="load", reaches=("orders",))
                for times in range(
                    (number < self.handled and number not in self.skipped) * (1 + (number in self.begun))
                ):
                    self.handle(story, trace, at_s + self.first_s + 5 * times)
            story.wait(3.3)
            ended = {} if self.exit_code is None else {"exit_code": self.exit_code, "after_s": self.after_s}
            with story.fault("SIGTERM to notifications-0", lifted=self.lifted, **ended):
                story.wait(2.5)
            story.wait(8)
        story.end()
        return story.recording()

    def handle(self, story: Written, trace: str, at_s: float, took_s: float = 0.5) -> None:
        story.span(trace, "order.created process", service="notifications", kind="consumer")
        story.spans[-1] = msgspec.structs.replace(
            story.spans[-1], start_ns=round(at_s * 1e9), end_ns=round((at_s + took_s) * 1e9)
        )


def recorded(_: str, wrong: str = "") -> tuple[Checked, Recording]:
    """A whole run, for what every kind is tested by; one whose handling is not slow is numb."""
    return PROMISE, (Run(first_s=0.7) if wrong == "numb" else Run()).recorded()


def test_a_consumer_that_finishes_what_is_at_hand_passes() -> None:
    verdict = Run().judged()
    assert verdict.ruling is Ruling.PASS, verdict.reason
    assert verdict.reason == (
        "1 of 1 events at hand were finished, 13 of 13 were begun once; exit code 0 1.5 s after the signal"
    )


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (
            Run(begun=(3,)),
            "an event was begun before the end of notifications and again after it: it was cut off in its",
        ),
        (Run(skipped=(4,)), "1 events were passed over, the first asked for"),
        (Run(exit_code=-9, after_s=1.0), "ended with exit code -9 1.0 s after the signal, promised 0"),
        (Run(after_s=31.0), "ended with exit code 0 31.0 s after the signal"),
        (Run(exit_code=None), "ended with exit code none 30.0 s after the signal"),
    ],
)
def test_one_that_is_cut_off_or_ends_otherwise_fails(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.FAIL, verdict.reason
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run(statuses=()), "no requests in the phase 'load'"),
        (Run(statuses=(201, 503)), "1 requests failed, the first with 503"),
        (Run(handled=0), "no event was at hand at notifications when the signal came"),
        (Run(first_s=0.7), "no event was at hand at notifications when the signal came"),
        (Run(handled=5), "no event was handled after notifications was started again"),
        (Run(begun=(9,)), "an event was begun twice, and not for the signal: its handling had failed"),
        (Run(lifted=False), "SIGTERM to notifications-0 was in force 0 times instead of once"),
    ],
)
def test_without_evidence_it_is_inconclusive(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE, verdict.reason
    assert reason in verdict.reason


@pytest.mark.parametrize(("key", "value"), [("service", "notification"), ("slow", "notifications -> users")])
def test_a_service_or_an_edge_that_is_not_there_is_refused_by_its_key(key: str, value: str) -> None:
    with pytest.raises(WrongKeyError) as refused:
        msgspec.structs.replace(PROMISE, **{key: value}).scenario(TOPOLOGY)
    assert refused.value.key == key
