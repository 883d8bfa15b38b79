"""The tracing's check on written recordings."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from brownout.promises.promise import WrongKeyError
from brownout.promises.tracing import Expected, Tracing
from brownout.scenario import Calls, Wait
from brownout.topology import parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

PROMISE = Tracing(
    name="tracing",
    clause="6.4",
    journey="order",
    calls=2,
    spans=(
        Expected("create", name="CreateOrder"),
        Expected("validate", name="ValidateUser", child_of="create"),
        Expected("users", service="users", kind="server", under="validate"),
        Expected("publish", name="PublishEvent", child_of="create"),
        Expected("producer", service="orders", kind="producer", under="publish"),
        Expected("consumer", service="notifications", kind="consumer", under="producer"),
    ),
)
TOPOLOGY = parse_topology(
    """
    entry = "orders"
    [services.users]
    command = ["users"]
    [services.orders]
    command = ["orders"]
    calls = ["users"]
    [services.notifications]
    command = ["notifications"]
    [services.payments]
    command = ["payments"]
    """,
    "topology.toml",
)


class Spans(msgspec.Struct, kw_only=True):
    """One trace: which of its spans hang elsewhere than they should; those at ``gone`` are lost."""

    gone: tuple[str, ...] = ()
    users_under: str = "client"
    validate_under: str = "create"
    consumer_under: str = "producer"

    def write(self, story: Written, trace_id: str) -> None:
        ids = {"": ""}

        def span(key: str, above: str, name: str, service: str = "orders", kind: str = "internal") -> None:
            if key not in self.gone:
                ids[key] = story.span(trace_id, name, ids.get(above, "f" * 16), service=service, kind=kind)

        span("server", "", "POST /orders", kind="server")
        span("create", "server", "CreateOrder")
        span("validate", self.validate_under, "ValidateUser")
        span("client", "validate", "GET", kind="client")
        span("users", self.users_under, "GET /users/{id}", "users", "server")
        span("publish", "create", "PublishEvent")
        span("producer", "publish", "order.created publish", kind="producer")
        span("consumer", self.consumer_under, "order.created process", "notifications", "consumer")


def judged(*traces: Spans | None, status: int = 201) -> Verdict:
    story = Written()
    for trace in traces:
        trace_id = story.call("traced", status=status)
        if trace:
            trace.write(story, trace_id)
    return PROMISE.check(story.recording())


def test_a_tree_that_is_whole_in_every_trace_passes() -> None:
    verdict = judged(Spans(), Spans())
    assert verdict.ruling is Ruling.PASS
    assert verdict.reason == "all 6 spans in their places in each of 2 traces"


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        (Spans(gone=("create",)), "create (span 'CreateOrder') is missing"),
        (Spans(gone=("users",)), "users (users server span) is missing"),
        (Spans(gone=("consumer",)), "consumer (notifications consumer span) is missing"),
        (
            Spans(validate_under="server"),
            "validate (span 'ValidateUser') hangs below orders 'POST /orders', promised directly under create",
        ),
        (Spans(users_under="create"), "users (users server span) hangs below orders 'CreateOrder', promised under"),
        (
            Spans(consumer_under=""),
            "consumer (notifications consumer span) hangs at the top, or below a span that was lost, promised under",
        ),
        (Spans(gone=("client",)), "hangs at the top, or below a span that was lost, promised under validate"),
    ],
)
def test_a_span_that_is_missing_or_hangs_elsewhere_fails_and_is_named_with_its_trace(trace: Spans, reason: str) -> None:
    verdict = judged(Spans(), trace)
    assert verdict.ruling is Ruling.FAIL
    assert reason in verdict.reason
    assert verdict.reason.startswith(f"trace {2:032x} of call 2: ")
    assert verdict.traces == (f"{2:032x}",)


def test_a_second_attempt_may_have_left_half_a_tree_beside_the_whole_one() -> None:
    story = Written()
    for _ in range(2):
        trace_id = story.call("traced")
        story.span(trace_id, "CreateOrder")
        Spans().write(story, trace_id)
    assert PROMISE.check(story.recording()).ruling is Ruling.PASS


def test_halves_of_two_trees_do_not_make_one() -> None:
    story = Written()
    for _ in range(2):
        trace_id = story.call("traced")
        Spans(gone=("publish", "producer", "consumer")).write(story, trace_id)
        Spans(gone=("validate", "client", "users")).write(story, trace_id)
    verdict = PROMISE.check(story.recording())
    assert verdict.ruling is Ruling.FAIL
    assert "publish (span 'PublishEvent') hangs below orders 'CreateOrder'" in verdict.reason


def test_spans_that_are_above_each_other_in_a_circle_come_to_an_end() -> None:
    story = Written()
    for _ in range(2):
        trace_id = story.call("traced")
        story.span(trace_id, "CreateOrder", f"{len(story.spans) + 2:016x}")
        story.span(trace_id, "users", f"{len(story.spans):016x}", service="users", kind="server")
    assert PROMISE.check(story.recording()).ruling is Ruling.FAIL


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (lambda: judged(None, None), "2 of 2 calls have no trace at all"),
        (lambda: judged(Spans(), None), "1 of 2 calls have no trace at all"),
        (lambda: judged(Spans()), "1 requests in the phase 'traced' instead of 2"),
        (lambda: judged(Spans(), Spans(), status=503), "a call ended with 503"),
    ],
)
def test_without_traces_it_is_inconclusive(verdict: Callable[[], Verdict], reason: str) -> None:
    found = verdict()
    assert found.ruling is Ruling.INCONCLUSIVE
    assert reason in found.reason


def test_the_services_that_the_spans_name_run_and_what_goes_on_by_itself_is_given_time() -> None:
    scenario = PROMISE.scenario(TOPOLOGY)
    assert scenario.services == ("users", "orders", "notifications")
    assert scenario.steps == (Calls("traced", "order", 2, every_s=0.2), Wait(5.0))


@pytest.mark.parametrize(
    ("spans", "wrong"),
    [
        ((Expected("a", under="b"), Expected("b")), "spans[0].under"),
        ((Expected("a"), Expected("b", child_of="c")), "spans[1].child_of"),
        ((Expected("a"), Expected("a")), "spans[1]"),
        ((Expected("a"), Expected("b", child_of="a", under="a")), "spans[1]"),
        ((Expected("a", service="usrs"),), "spans[0].service"),
    ],
)
def test_a_tree_that_cannot_be_is_refused_by_its_key(spans: Any, wrong: str) -> None:
    with pytest.raises(WrongKeyError) as refused:
        msgspec.structs.replace(PROMISE, spans=spans).scenario(TOPOLOGY)
    assert refused.value.key == wrong
