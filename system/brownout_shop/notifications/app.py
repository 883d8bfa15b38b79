"""The notifications routes: what a user was told, how one wants to be told, and telling one something (clause 2.5)."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import StrictBool, StringConstraints

from brownout_shop.body import Body, Router
from brownout_shop.database import Database
from brownout_shop.events import Consumer
from brownout_shop.notifications.channel import Channel, Mailbox
from brownout_shop.notifications.dispatcher import Dispatcher
from brownout_shop.notifications.domain import (
    ChannelName,
    InvalidNotificationError,
    Preferences,
    checked_preferences,
    checked_text,
)
from brownout_shop.notifications.message_gateway import MessageGateway
from brownout_shop.notifications.notifier import Notifier
from brownout_shop.notifications.smtp import Email
from brownout_shop.notifications.store import METADATA, NotificationStore
from brownout_shop.problems import Problem, documented
from brownout_shop.resilience.client import Client
from brownout_shop.service import Companion, Service
from brownout_shop.settings import Settings

__all__ = ["build", "channels", "routes"]

Id = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,100}$")]


class NewNotification(Body):
    """What a user shall be told."""

    user_id: Id
    text: str


class NewPreferences(Body):
    """How a user wants to be told; without a phone or a device there are no SMS or push messages."""

    email: StrictBool = True
    phone: str | None = None
    device: str | None = None


def build(settings: Settings, client: Client) -> Service:
    """Return the notifications service."""
    database = Database(settings.database_url.get_secret_value(), METADATA)
    store = NotificationStore(database)
    dispatchers = [Dispatcher(store, name, channel) for name, channel in channels(settings, client).items()]

    def told() -> None:
        for dispatcher in dispatchers:
            dispatcher.wake()

    notifier, group = Notifier(client.rpc, store, told=told), f"{settings.cell}.notifications"
    created = Consumer(settings.kafka, settings.topic("order.created"), group, notifier.handle)
    cancelled = Consumer(settings.kafka, settings.topic("order.cancelled"), f"{group}.cancelled", notifier.handle)
    companions: tuple[Companion, ...] = (created, cancelled, *dispatchers)
    return Service(routes(store, notifier), needs=("users",), database=database, companions=companions)


def channels(settings: Settings, client: Client) -> Mapping[ChannelName, Channel]:
    """Return what sends on each way: what the settings name, or nothing but the mailbox."""
    return {
        ChannelName.EMAIL: Email(settings.smtp, settings.email_from) if settings.smtp else Mailbox(),
        ChannelName.SMS: MessageGateway(client, "sms") if settings.sms else Mailbox(),
        ChannelName.PUSH: MessageGateway(client, "push") if settings.push else Mailbox(),
    }


def routes(store: NotificationStore, notifier: Notifier) -> APIRouter:
    """Return the routes over a store of notifications; only telling a user something calls another service."""
    router = Router()

    @router.get("/notifications")
    async def list_notifications(user_id: Id) -> list[dict[str, Any]]:
        return [asdict(notification) for notification in await store.of_user(user_id)]

    @router.post("/notifications", status_code=201, responses=documented(429))
    async def notify(new: NewNotification) -> dict[str, Any]:
        try:
            text = checked_text(new.text)
        except InvalidNotificationError as error:
            raise Problem(422, "invalid", str(error)) from error
        return asdict(await notifier.notify(new.user_id, text))

    @router.get("/notifications/{notification_id}/deliveries")
    async def list_deliveries(notification_id: Id) -> list[dict[str, Any]]:
        return [asdict(report) for report in await store.deliveries(notification_id)]

    @router.get("/preferences/{user_id}")
    async def get_preferences(user_id: Id) -> dict[str, Any]:
        return asdict(await store.preferences(user_id))

    @router.put("/preferences/{user_id}")
    async def set_preferences(user_id: Id, new: NewPreferences) -> dict[str, Any]:
        try:
            preferences = checked_preferences(Preferences(**new.model_dump()))
        except InvalidNotificationError as error:
            raise Problem(422, "invalid", str(error)) from error
        await store.prefer(user_id, preferences)
        return asdict(preferences)

    return router
