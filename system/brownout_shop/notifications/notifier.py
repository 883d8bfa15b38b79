"""The notifier: looks up who is to be told, and keeps what they are told until it is sent."""

import logging
import uuid
from collections.abc import Callable

from brownout_shop.events import Event, MalformedEventError
from brownout_shop.events.event import name_of
from brownout_shop.notifications.domain import InvalidNotificationError, Notification, order_event
from brownout_shop.notifications.store import NotificationStore
from brownout_shop.problems import Problem
from brownout_shop.resilience.errors import CalleeRefusedError
from brownout_shop.resilience.rpc import RpcClient
from brownout_shop.rpc.method import GET_USER
from brownout_shop.rpc.user_pb2 import GetUserRequest

__all__ = ["Notifier", "UnknownUserError"]

NOT_FOUND = 404

log = logging.getLogger(__name__)


class UnknownUserError(Problem):
    """There is nobody to tell."""

    def __init__(self) -> None:
        super().__init__(422, "unknown-user", "no such user")


class Notifier:
    """Tells users what happened; each time it asks users once, by gRPC.

    Args:
        client: what calls users.
        store: where notifications are kept.
        told: called after one was added.
    """

    def __init__(self, client: RpcClient, store: NotificationStore, *, told: Callable[[], None]) -> None:
        self._client = client
        self._store = store
        self._told = told

    async def notify(self, user_id: str, text: str, event_id: str | None = None) -> Notification:
        """Tell a user something and return the notification.

        Raises:
            UnknownUserError: there is no such user.
            CallError: users could not be asked.
            DatabaseUnavailableError: whether it is kept is unknown.
        """
        try:
            user = await self._client.call("users", GET_USER, GetUserRequest(id=user_id))
        except CalleeRefusedError as error:
            if error.status == NOT_FOUND:
                raise UnknownUserError from error
            raise
        notification = Notification(uuid.uuid4().hex, user.id, user.email, text, event_id)
        if await self._store.add(notification):
            self._told()
        else:
            log.info("event %s was handled before", event_id)
        return notification

    async def handle(self, event: Event) -> None:
        """Tell the buyer what became of an order; what is raised makes the event come again.

        Raises:
            MalformedEventError: nobody is told of it, or it tells no order or no user.
            Problem: it could not be done now.
        """
        try:
            order = order_event(name_of(event.topic), event.payload)
        except InvalidNotificationError as error:
            raise MalformedEventError(str(error)) from error
        try:
            await self.notify(order.user_id, order.text, event.id)
        except UnknownUserError:
            log.warning("skipped event %s: no user %s", event.id, order.user_id)
