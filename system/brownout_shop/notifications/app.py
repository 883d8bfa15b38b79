"""The notifications routes: what a user was told, and telling one something (clause 2.5)."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from brownout_shop.body import Router
from brownout_shop.database import Database
from brownout_shop.events import Consumer
from brownout_shop.notifications.channel import Mailbox
from brownout_shop.notifications.domain import InvalidNotificationError, checked_text
from brownout_shop.notifications.notifier import Notifier
from brownout_shop.notifications.store import METADATA, NotificationStore
from brownout_shop.problems import Problem, documented
from brownout_shop.resilience.client import Client
from brownout_shop.service import Service
from brownout_shop.settings import Settings

__all__ = ["build", "routes"]


class NewNotification(BaseModel):
    """What a user shall be told."""

    user_id: str
    text: str


def build(settings: Settings, client: Client) -> Service:
    """Return the notifications service."""
    database = Database(settings.database_url.get_secret_value(), METADATA)
    store = NotificationStore(database)
    notifier = Notifier(client.rpc, Mailbox(store))
    topic, group = settings.topic("order.created"), f"{settings.cell}.notifications"
    consumer = Consumer(settings.kafka, topic, group, notifier.handle)
    return Service(routes(store, notifier), needs=("users",), database=database, companions=(consumer,))


def routes(store: NotificationStore, notifier: Notifier) -> APIRouter:
    """Return the routes over a store of notifications; only telling a user something calls another service."""
    router = Router()

    @router.get("/notifications")
    async def list_notifications(user_id: str) -> list[dict[str, Any]]:
        return [asdict(notification) for notification in await store.of_user(user_id)]

    @router.post("/notifications", status_code=201, responses=documented(429))
    async def notify(new: NewNotification) -> dict[str, Any]:
        try:
            text = checked_text(new.text)
        except InvalidNotificationError as error:
            raise Problem(422, "invalid", str(error)) from error
        return asdict(await notifier.notify(new.user_id, text))

    return router
