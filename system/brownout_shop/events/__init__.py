"""Events between services over Kafka: written with what they tell of, delivered at least once (clause 3.3)."""

from brownout_shop.events.consumer import Consumer
from brownout_shop.events.event import Event, MalformedEventError
from brownout_shop.events.outbox import Outbox
from brownout_shop.events.relay import Relay

__all__ = ["Consumer", "Event", "MalformedEventError", "Outbox", "Relay"]
