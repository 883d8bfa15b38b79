"""E-mail through a real SMTP server, which refuses, hangs and loses its answers: clause 2.5."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from email import message_from_bytes
from email.message import Message  # noqa: TC003 - as everywhere here

import asyncpg
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from brownout_shop import database
from brownout_shop.database import Database
from brownout_shop.notifications.dispatcher import Dispatcher
from brownout_shop.notifications.domain import (
    ChannelName,
    Delivery,
    DeliveryReport,
    Notification,
    State,
    UndeliverableError,
)
from brownout_shop.notifications.smtp import ANSWER_WITHIN_S, ANSWERS, Email
from brownout_shop.notifications.store import HELD_S, METADATA, NotificationStore
from brownout_shop.resilience.deadline import TOTAL_NS
from brownout_shop.users.domain import ATOM, EMAIL, LABEL

ANN = "ann@example.org"
HELLO = Delivery("n1", ChannelName.EMAIL, ANN, "hello", 1, "")


class Smtp:
    """As much of RFC 5321 as a client needs that hands over one e-mail.

    Args:
        answers: what it says to a command instead of what it should; None: nothing, for ever; "": it hangs up.
    """

    def __init__(self) -> None:
        self.answers: dict[str, str | None] = {}
        self.received: list[tuple[str, Message]] = []
        self.answered = 0
        self.busy: set[asyncio.Task[None]] = set()
        self.port = 0

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator["Smtp"]:
        """Listen, on the same port each time."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self.busy:
                task.cancel()
            await asyncio.gather(*self.busy, return_exceptions=True)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.busy.add(task)
        try:
            await self._talk(reader, writer)
        finally:
            self.busy.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, receiver = "HELLO", ""
        while line:
            verb = line.split(maxsplit=1)[0].upper()
            if verb == "RCPT":
                receiver = line.partition("<")[2].partition(">")[0]
            if verb == ".":
                text = (await reader.readuntil(b"\r\n.\r\n")).removesuffix(b".\r\n").replace(b"\n..", b"\n.")
                self.received.append((receiver, message_from_bytes(text)))
            usual = {"HELLO": "220 here", "DATA": "354 go on", "QUIT": "221 bye"}.get(verb, "250 fine")
            answer = self.answers.get(verb, usual)
            if answer is None:
                await asyncio.Event().wait()
            if not answer:
                return
            self.answered += 1
            writer.write(f"{answer}\r\n".encode())
            line = "." if answer.startswith("354") else (await reader.readline()).decode()


@pytest.fixture
async def smtp() -> AsyncIterator[Smtp]:
    async with Smtp().up() as server:
        yield server


def email(server: Smtp) -> Email:
    return Email(f"127.0.0.1:{server.port}", "shop@example.org")


async def test_what_arrives_says_from_whom_to_whom_and_which_it_is(smtp: Smtp) -> None:
    await email(smtp).send(HELLO)
    ((receiver, message),) = smtp.received
    assert (receiver, message["To"], message["From"]) == (ANN, ANN, "shop@example.org")
    assert message["Message-ID"] == "<n1@example.org>"
    assert str(message.get_payload()).strip() == "hello"


async def test_a_text_in_any_language_arrives(smtp: Smtp) -> None:
    await email(smtp).send(Delivery("n1", ChannelName.EMAIL, ANN, "grüße\n.\n日本語", 1, ""))
    ((_, message),) = smtp.received
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode().split() == ["grüße", ".", "日本語"]


@pytest.mark.parametrize("command", ["RCPT", "."])
async def test_a_receiver_or_text_that_is_refused_for_good_is_undeliverable(smtp: Smtp, command: str) -> None:
    smtp.answers[command] = "550 not here"
    with pytest.raises(UndeliverableError, match="not here"):
        await email(smtp).send(HELLO)


@pytest.mark.parametrize("address", ["a@[", 'a@,"', "().@x", "a@b\nBcc: c@d"])
async def test_an_address_that_nobody_can_write_is_undeliverable(smtp: Smtp, address: str) -> None:
    with pytest.raises(UndeliverableError, match="cannot be written"):
        await email(smtp).send(replace(HELLO, address=address))
    assert smtp.received == []


@given(st.from_regex(rf"\A{ATOM}(\.{ATOM})*@{LABEL}(\.{LABEL})*\Z"))
def test_whoever_could_register_can_be_written_to(address: str) -> None:
    assume(EMAIL.fullmatch(address))
    message = Email("127.0.0.1:1", "shop@example.org")._message(replace(HELLO, address=address))
    assert (message["To"], message.defects) == (address, [])


async def test_an_attempt_is_over_before_it_is_anybody_elses(smtp: Smtp) -> None:
    noting_s = database.ANSWER_WITHIN_S + database.CONNECT_WITHIN_S + database.ANSWER_WITHIN_S
    assert ANSWERS * ANSWER_WITHIN_S + noting_s < HELD_S
    assert TOTAL_NS / 1e9 + noting_s < HELD_S
    smtp.answers["EHLO"] = "502 what?"
    await email(smtp).send(HELLO)
    assert 1 + smtp.answered <= ANSWERS  # the connection is one more


async def test_an_address_that_the_server_cannot_write_is_undeliverable(smtp: Smtp) -> None:
    with pytest.raises(UndeliverableError, match="SMTPUTF8"):
        await email(smtp).send(Delivery("n1", ChannelName.EMAIL, "änn@example.org", "hello", 1, ""))


@pytest.mark.parametrize(
    ("command", "answer"),
    [("HELLO", "554 no"), ("MAIL", "550 who?"), ("RCPT", "450 busy"), (".", "451 later"), (".", "")],
)
async def test_any_other_refusal_is_for_now(smtp: Smtp, command: str, answer: str) -> None:
    smtp.answers[command] = answer
    with pytest.raises(OSError, match=r"."):
        await email(smtp).send(HELLO)


@pytest.mark.parametrize("answer", ["421 tired", ""])
async def test_what_the_server_has_taken_is_sent_however_it_says_goodbye(smtp: Smtp, answer: str) -> None:
    smtp.answers["QUIT"] = answer
    await email(smtp).send(HELLO)
    assert len(smtp.received) == 1


@pytest.mark.parametrize("command", ["HELLO", "."])
async def test_a_silent_server_is_given_up_after_five_seconds(smtp: Smtp, command: str) -> None:
    smtp.answers[command] = None
    began = time.monotonic()
    with pytest.raises(OSError, match=r"."):
        await email(smtp).send(HELLO)
    assert 4.9 < time.monotonic() - began < 10


# And with all that is around it.


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[NotificationStore]:
    database = Database(database_url, METADATA)
    await database.prepare()
    yield NotificationStore(database)
    await database.close()


@contextlib.asynccontextmanager
async def dispatched(store: NotificationStore, *servers: Smtp) -> AsyncIterator[Dispatcher]:
    """Run a dispatcher for each server."""
    some = [Dispatcher(store, ChannelName.EMAIL, email(server), poll_s=0.1) for server in servers]
    for dispatcher in some:
        await dispatcher.start()
    yield some[0]
    for dispatcher in some:
        await dispatcher.stop(20)


async def settled(store: NotificationStore, state: State, attempts: int = 1) -> DeliveryReport:
    """Wait until the delivery stands so, after so many attempts."""
    async with asyncio.timeout(30):
        while True:
            (report,) = await store.deliveries("n1")
            if report.state is state and report.attempts >= attempts:
                return report
            await asyncio.sleep(0.02)


def told(number: int = 1) -> Notification:
    return Notification(f"n{number}", "ann", ANN, "hello")


async def test_what_is_added_is_sent_at_once(store: NotificationStore, smtp: Smtp) -> None:
    dispatcher = Dispatcher(store, ChannelName.EMAIL, email(smtp), poll_s=60)
    await dispatcher.start()
    await asyncio.sleep(0)
    await store.add(told())
    dispatcher.wake()
    report = await settled(store, State.SENT)
    await dispatcher.stop(5)
    assert (report.attempts, report.last_error, len(smtp.received)) == (1, "", 1)


async def test_it_is_tried_again_until_the_server_is_back_and_the_rows_say_so_meanwhile(
    store: NotificationStore,
) -> None:
    smtp = Smtp()
    async with smtp.up():
        pass
    await store.add(told())
    async with dispatched(store, smtp):
        waiting = await settled(store, State.WAITING, attempts=2)
        async with smtp.up():
            sent = await settled(store, State.SENT, attempts=2)
    assert "refused" in waiting.last_error
    assert "refused" in sent.last_error
    assert [message["Message-ID"] for _, message in smtp.received] == ["<n1@example.org>"]


async def test_what_waits_is_sent_after_a_restart(store: NotificationStore) -> None:
    smtp = Smtp()
    async with smtp.up():
        pass
    await store.add(told())
    async with dispatched(store, smtp):
        await settled(store, State.WAITING, attempts=1)
    async with smtp.up(), dispatched(store, smtp):
        assert (await settled(store, State.SENT)).attempts >= 2


async def test_an_acknowledgement_that_was_lost_brings_the_same_message_again(
    store: NotificationStore, smtp: Smtp
) -> None:
    smtp.answers["."] = ""
    await store.add(told())
    async with dispatched(store, smtp):
        await settled(store, State.WAITING, attempts=1)
        smtp.answers.clear()
        await settled(store, State.SENT)
    ids = [message["Message-ID"] for _, message in smtp.received]
    assert len(ids) >= 2
    assert set(ids) == {"<n1@example.org>"}


async def test_a_refusal_for_good_is_not_tried_again(store: NotificationStore, smtp: Smtp) -> None:
    smtp.answers["RCPT"] = "550 no such user"
    await store.add(told())
    async with dispatched(store, smtp):
        report = await settled(store, State.FAILED)
    assert report.attempts == 1
    assert "no such user" in report.last_error


async def test_two_instances_send_each_once(store: NotificationStore, smtp: Smtp) -> None:
    for number in range(30):
        await store.add(told(number))
    async with dispatched(store, smtp, smtp), asyncio.timeout(30):
        while len(smtp.received) < 30:  # noqa: ASYNC110 - a server tells nobody
            await asyncio.sleep(0.02)
    ids = [message["Message-ID"] for _, message in smtp.received]
    assert len(set(ids)) == len(ids) == 30


class Cut:
    """Sends, and by then the dispatcher's database is away."""

    def __init__(self, channel: Email, admin: asyncpg.Connection, name: str) -> None:
        self._channel = channel
        self._admin = admin
        self._name = name

    async def send(self, delivery: Delivery) -> None:
        await self._channel.send(delivery)
        await self.allow("false")
        await self._admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", self._name
        )

    async def allow(self, connections: str) -> None:
        await self._admin.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS {connections}")


async def test_what_could_not_be_noted_is_noted_later_and_not_sent_again(
    store: NotificationStore, smtp: Smtp, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await store.add(told())
    postgres, _, name = database_url.rpartition("/")
    admin = await asyncpg.connect(f"{postgres}/postgres", ssl=False, timeout=10)
    cut = Cut(email(smtp), admin, name)
    dispatcher = Dispatcher(store, ChannelName.EMAIL, cut, poll_s=0.1)
    await dispatcher.start()
    async with asyncio.timeout(20):
        while "dispatcher-email goes on" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
            await asyncio.sleep(0.02)
    await cut.allow("true")
    report = await settled(store, State.SENT)
    await dispatcher.stop(5)
    await admin.close()
    assert (report.attempts, len(smtp.received)) == (1, 1)
