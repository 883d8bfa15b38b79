"""SMS and push messages, through a gateway over HTTP (clause 2.5)."""

import json

from brownout_shop.notifications.domain import Delivery, UndeliverableError
from brownout_shop.resilience.client import CalleeRefusedError, Client

__all__ = ["MessageGateway"]

FOR_GOOD = (400, 404, 410, 413, 422)
"""What is wrong with the message; any other 4xx is about us, or about now."""


class MessageGateway:
    """A channel that posts messages to a gateway: ``POST /messages`` with ``to``, ``text`` and an Idempotency-Key.

    Args:
        client: what calls it.
        name: its name, ``sms`` or ``push``.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    async def send(self, delivery: Delivery) -> None:
        """Send a message.

        Raises:
            UndeliverableError: the gateway has refused it for good.
            CallError: try again later.
        """
        body = json.dumps({"to": delivery.address, "text": delivery.text}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": delivery.notification_id}
        try:
            await self._client.call(self._name, "POST", "/messages", body=body, headers=headers)
        except CalleeRefusedError as error:
            if error.status in FOR_GOOD:
                raise UndeliverableError(str(error)) from error
            raise
