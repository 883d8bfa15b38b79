"""How a message is read as an event: clause 3.3."""

import pytest

from brownout_shop.events.event import Event, MalformedEventError, name_of, read_event


def test_an_event_has_the_id_of_its_header() -> None:
    event = read_event("c1.order.created", b'{"order_id": "o"}', {"event-id": "e"}, "0-7")
    assert event == Event("e", "c1.order.created", {"order_id": "o"})


def test_one_without_an_id_is_known_by_its_position() -> None:
    assert read_event("c1.order.created", b"{}", {}, "0-7").id == "c1.order.created-0-7"


@pytest.mark.parametrize("value", [None, b"", b"order", b"{", b"[]", b"3", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_malformed(value: bytes | None) -> None:
    with pytest.raises(MalformedEventError):
        read_event("c1.order.created", value, {}, "0-0")


def test_an_events_name_is_its_topics_without_the_cell() -> None:
    assert name_of("breaker-orders-users.order.created") == "order.created"
