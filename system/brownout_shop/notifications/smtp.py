"""E-mail, through an SMTP server (clause 2.5)."""

import asyncio
import contextlib
import smtplib
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from email.utils import format_datetime, localtime

from brownout_shop.notifications.domain import Delivery, UndeliverableError
from brownout_shop.notifications.store import TAKEN_AT_ONCE

__all__ = ["Email"]

ANSWER_WITHIN_S = 5.0
ANSWERS = 9
"""So many are waited for at most: a connection, a greeting, EHLO, HELO, MAIL, RCPT, DATA, the text, QUIT.

Together, and with the noting of how it ended, they stay below the time for which a delivery is nobody else's.
"""
FOR_GOOD = 500
SUBJECT = "News of your order"


class Email:
    """A channel that hands e-mails to a server that takes them from us without a login.

    Each goes over a connection and in a thread of its own: the library blocks, and a server that is silent blocks
    nothing else.

    Args:
        server: ``host:port``.
        sender: the address that it is from.
    """

    def __init__(self, server: str, sender: str) -> None:
        host, _, port = server.rpartition(":")
        self._server = (host, int(port))
        self._sender = sender
        self._domain = sender.rpartition("@")[2]
        self._threads = ThreadPoolExecutor(TAKEN_AT_ONCE, "smtp")

    async def send(self, delivery: Delivery) -> None:
        """Send an e-mail.

        Raises:
            UndeliverableError: the server has refused it for good, or no message can be written to its address.
            OSError: there is no server, no answer in time, or a refusal for now; SMTPException is one.
        """
        await asyncio.get_running_loop().run_in_executor(self._threads, self._send, delivery)

    def _send(self, delivery: Delivery) -> None:
        message = self._message(delivery)
        # Named, or the library would ask DNS for our own name.
        server = smtplib.SMTP(*self._server, local_hostname=self._domain, timeout=ANSWER_WITHIN_S)
        try:
            server.send_message(message, self._sender, [delivery.address])
            with contextlib.suppress(smtplib.SMTPException):  # it has the e-mail by now
                server.quit()
        except smtplib.SMTPException as error:
            if _is_final(error):
                raise UndeliverableError(str(error)) from error
            raise
        finally:
            server.close()

    def _message(self, delivery: Delivery) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._sender
        try:
            message["To"] = delivery.address
        except Exception as error:  # the library's parser raises whatever it stumbles over
            raise UndeliverableError(f"an address that cannot be written: {error!r}") from error
        message["Subject"] = SUBJECT
        message["Date"] = format_datetime(localtime())
        message["Message-ID"] = f"<{delivery.notification_id}@{self._domain}>"  # the same at each attempt
        message.set_content(delivery.text)
        return message


def _is_final(error: smtplib.SMTPException) -> bool:
    """Return whether the server has refused this receiver or this text, and not us, and not for now (RFC 5321, 4.2)."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= FOR_GOOD for code, _ in error.recipients.values())
    if isinstance(error, smtplib.SMTPDataError):
        return error.smtp_code >= FOR_GOOD
    return isinstance(error, smtplib.SMTPNotSupportedError)
