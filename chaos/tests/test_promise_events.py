"""The events' check on written recordings."""

from typing import Any

import msgspec
import pytest

from brownout.promises.events import Events, Handled
from brownout.promises.promise import WrongKeyError
from brownout.scenario import Answered, Calls, Hold, Load, Messages, Publish, Select, Wait
from brownout.topology import parse_topology
from brownout.verdict import Ruling, Verdict
from brownout.written import Written

HANDLED = Handled("notifications", "SELECT order_id FROM notifications")
PROMISE = Events(
    name="events",
    clause="3.3",
    journey="order",
    edge="orders -> kafka",
    topic="order.created",
    key="order_id",
    acknowledged="id",
    handled=HANDLED,
    rate=1,
    outage_s=10,
    within_s=15,
)
TOPOLOGY = parse_topology(
    """
    entry = "orders"
    [services.users]
    command = ["users"]
    [services.orders]
    command = ["orders"]
    calls = ["users"]
    env = { KAFKA = "{kafka}" }
    [services.notifications]
    command = ["notifications"]
    env = { DATABASE_URL = "{postgres}" }
    """,
    "topology.toml",
)
IDS = tuple(f"order-{number}" for number in range(16))
"""An order a second: three before the outage, ten during it, three after."""

EARLY = IDS[:3]
SOON = IDS[:13]
LATER = ("later-0", "later-1", "later-2")


class Run(msgspec.Struct, kw_only=True):
    """A run of the scenario: how each order is answered, and what is read when; by default all is well."""

    statuses: dict[int, int | None] = {}
    cut_off: tuple[str, ...] = EARLY
    soon: tuple[str, ...] = SOON
    soon_took_s: float = 1.0
    at_last: tuple[str, ...] = IDS
    in_the_end: tuple[str, ...] = IDS
    published: tuple[tuple[str, str | None], ...] = tuple((one, f"event-of-{one}") for one in IDS)
    field: str = "id"
    outages: int = 1
    extra_unknown: int = 0
    malformed: bool = False
    told_more: tuple[str, ...] = ("{", "")
    later: tuple[str, ...] = LATER
    later_handled: tuple[str, ...] = LATER

    def judged(self) -> Verdict:
        story = Written()
        story.steady("before")
        begin_s = story.now_s
        for number, one in enumerate(IDS):
            status = self.statuses.get(number, 201)
            body = {self.field: one} if status == 201 else None
            story.call("asked", at_s=begin_s + number, status=status, actor="load", body=body)
        story.wait(2.5)
        for value in self.told_more:
            story.beside("publish", "order.created", begun={"value": value}, messages=1)
        for _ in range(self.outages):
            with story.fault("outage of orders -> kafka"):
                story.wait(10)
                story.read("select", "cut off", rows(self.cut_off))
        story.read("select", "soon", rows(self.soon), took_s=self.soon_took_s)
        story.now_s = begin_s + len(IDS)
        story.read("select", "all", rows(self.at_last), took_s=15.0 if self.at_last != IDS else 0.1)
        for one in self.later:
            story.call("later", body={"id": one})
        story.read("select", "last", rows((*self.in_the_end, *self.later_handled)))
        malformed = [{"key": "", "value": "{order", "headers": {}}] if self.malformed else []
        story.read("messages", "published", [*malformed, *(message(*each) for each in self.published)])
        for _ in range(self.extra_unknown):
            story.call("after", status=None, error="no answer")
        story.end()
        return PROMISE.check(story.recording())


def rows(names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"order_id": name} for name in names]


def message(name: str, event_id: str | None) -> dict[str, Any]:
    headers = {"traceparent": "00-1-2-01"} | ({"event-id": event_id} if event_id else {})
    return {"key": name, "value": {"order_id": name, "amount": 1990}, "headers": headers}


def test_everything_acknowledged_published_and_handled_once_passes() -> None:
    verdict = Run().judged()
    assert verdict.ruling is Ruling.PASS
    assert verdict.reason == (
        "all of 16 acknowledged, 10 of them during the outage of orders -> kafka, were published and handled once"
    )
    assert [str(figure) for figure in verdict.figures] == [
        "acknowledged 16 things",
        "published 16 events",
        "handled 16 of them",
        "longest delay after the heal 1 s (at most 15 s)",
    ]


def test_an_event_may_be_published_twice_if_it_is_the_same() -> None:
    verdict = Run(published=(*Run().published, (IDS[4], f"event-of-{IDS[4]}"))).judged()
    assert verdict.ruling is Ruling.PASS
    assert str(verdict.figures[1]) == "published 16 events"


def test_other_messages_on_the_topic_are_no_concern() -> None:
    assert Run(published=(*Run().published, ("of another time", None))).judged().ruling is Ruling.PASS


def test_a_malformed_message_is_no_event() -> None:
    assert Run(malformed=True).judged().ruling is Ruling.PASS


def test_a_request_without_an_answer_may_have_been_handled_or_not() -> None:
    lost = {14: None}
    assert Run(statuses=lost).judged().ruling is Ruling.PASS
    without = tuple(one for one in IDS if one != IDS[14])
    assert Run(statuses=lost, at_last=IDS, in_the_end=without).judged().ruling is Ruling.PASS


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run(statuses={5: 503}), "a request ended with 503 2.5 s after the outage of orders -> kafka began"),
        (Run(statuses={5: None}), "2.5 s after the outage of orders -> kafka began, promised to be acknowledged"),
        (Run(statuses={14: 500}), "a request ended with 500 11.5 s after the outage"),
        (
            Run(soon=SOON[:-2], soon_took_s=15.0),
            "2 of 13 acknowledged were not handled 15.0 s after the heal, promised within 15 s; the first is order-11",
        ),
        (Run(at_last=IDS[:-1], in_the_end=IDS[:-1]), "1 of 16 acknowledged were not handled"),
        (Run(in_the_end=(*IDS, IDS[3])), "order-3 was handled 2 times, promised once; so were 0 others"),
        (Run(in_the_end=IDS[1:]), "order-0 was handled 0 times"),
        (Run(in_the_end=(*IDS, "stranger")), "stranger was handled, and never acknowledged; of 1 such at most 0"),
        (
            Run(in_the_end=(*IDS, "stranger", "another"), extra_unknown=1),
            "stranger was handled, and never acknowledged; of 2 such at most 1",
        ),
        (Run(published=Run().published[1:]), "order-0 was acknowledged and is not on the topic order.created; 1 of 16"),
        (
            Run(published=(*Run().published, (IDS[4], "another"))),
            "order-4 was acknowledged and is in several events, promised one that may be told again",
        ),
        (
            Run(published=((IDS[0], None), *Run().published[1:])),
            "order-0 was acknowledged and is in a message without the header event-id",
        ),
    ],
)
def test_what_is_lost_late_doubled_or_made_up_fails(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.FAIL, verdict.reason
    assert reason in verdict.reason
    assert verdict.events


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run(statuses={1: 503}), "a request ended with 503 before the outage"),
        (Run(cut_off=IDS[:5]), "2 of 10 acknowledged during the outage of orders -> kafka were handled during it"),
        (Run(soon=SOON[:-2]), "2 were not handled 1.0 s after the heal; nobody looked again"),
        (Run(field="order"), "an answer has no field 'id'"),
        (Run(told_more=("{",)), "no message was once more put on order.created"),
        (Run(told_more=("",)), "no malformed message was put on order.created"),
        (Run(later=()), "no requests in the phase 'later'"),
        (Run(outages=0), "outage of orders -> kafka was in force 0 times instead of once"),
    ],
)
def test_without_evidence_it_is_inconclusive(run: Run, reason: str) -> None:
    verdict = run.judged()
    assert verdict.ruling is Ruling.INCONCLUSIVE, verdict.reason
    assert reason in verdict.reason


def test_too_few_requests_during_the_outage_show_nothing() -> None:
    story = Written()
    with story.fault("outage of orders -> kafka"):
        for one in IDS[:4]:
            story.call("asked", actor="load", body={"id": one})
        story.read("select", "cut off", [])
    assert PROMISE.check(story.recording()).reason == "only 4 were acknowledged during the outage"


def test_what_was_never_read_is_no_evidence() -> None:
    story = Written()
    with story.fault("outage of orders -> kafka"):
        story.call("asked", actor="load", body={"id": "one"})
    assert PROMISE.check(story.recording()).reason == "select 'cut off' was not read"


def test_the_edge_is_cut_under_load_and_what_was_handled_is_read_four_times() -> None:
    scenario = PROMISE.scenario(TOPOLOGY)
    assert scenario.services == ("users", "orders", "notifications")
    held = scenario.steps[0]
    assert isinstance(held, Hold)
    assert held.what == Load("asked", "order", 1)
    reads = [step for step in scenario.every_step() if isinstance(step, Select | Messages)]
    answered = Answered("asked", "id")
    assert reads == [
        Select("cut off", "notifications", HANDLED.sql),
        Select("soon", "notifications", HANDLED.sql, answered, 15),
        Select("all", "notifications", HANDLED.sql, answered, 15),
        Select("last", "notifications", HANDLED.sql, Answered("later", "id"), 15),
        Messages("published", "order.created"),
    ]
    assert held.steps[1] == Publish("order.created", "{")
    assert scenario.steps[2:4] == (Publish("order.created"), Calls("later", "order", 3))
    cut = held.steps[2]
    assert isinstance(cut, Hold)
    assert cut.steps[0] == Wait(10)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"edge": "users -> kafka"}, "edge"),
        ({"handled": Handled("notification", "SELECT 1")}, "handled.service"),
        ({"outage_s": 9.0}, "outage_s"),
    ],
)
def test_what_cannot_be_tested_is_refused_by_its_key(changes: dict[str, Any], wrong: str) -> None:
    with pytest.raises(WrongKeyError) as refused:
        msgspec.structs.replace(PROMISE, **changes).scenario(TOPOLOGY)
    assert refused.value.key == wrong
