"""How does a letter reach a person? A try hands the message to the operator's mail server."""

import asyncio
from datetime import datetime
from email.parser import BytesParser
from email.policy import SMTP
from urllib.parse import unquote

import aiosmtplib
from msgspec import Struct

from zvonar.delivery.verdict import Answer, Failure
from zvonar.store.deliveries import Delivery

_TIMEOUT = 12.0  # seconds for the whole conversation


class Smtp(Struct, frozen=True, kw_only=True):
    """The operator's mail server."""

    host: str
    port: int
    sender: str  # address in From
    tls: bool  # from the first byte; otherwise STARTTLS, where it is offered
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"Smtp({self.host}:{self.port})"


class MailTransport:
    """Carries deliveries to mailto: addresses; without a mail server each try says so."""

    def __init__(self, smtp: Smtp | None) -> None:
        self._smtp = smtp

    async def send(self, delivery: Delivery, *, at: datetime) -> Answer:
        if delivery.address == "mailto:":
            return Answer(status=None, failure=Failure.nobody, final=True)
        if self._smtp is None:
            return Answer(status=None, failure=Failure.mail_off)
        message = BytesParser(policy=SMTP).parsebytes(delivery.body)
        message["From"] = self._smtp.sender
        try:
            async with asyncio.timeout(_TIMEOUT):
                _, said = await aiosmtplib.send(
                    message.as_bytes(),
                    sender=self._smtp.sender,
                    recipients=[unquote(delivery.address.removeprefix("mailto:"))],
                    hostname=self._smtp.host,
                    port=self._smtp.port,
                    username=self._smtp.username,
                    password=self._smtp.password,
                    use_tls=self._smtp.tls,
                    # A password is not sent in the open, so where there is one, there has to be TLS.
                    start_tls=False if self._smtp.tls else True if self._smtp.username else None,
                    timeout=_TIMEOUT,
                )
        except aiosmtplib.SMTPRecipientsRefused as exc:
            return _refused(exc.recipients[0], exc)
        except aiosmtplib.SMTPResponseException as exc:
            return _refused(exc, exc)
        except (aiosmtplib.SMTPTimeoutError, TimeoutError) as exc:
            return Answer(status=None, failure=Failure.timeout, reason=type(exc).__name__)
        except (aiosmtplib.SMTPConnectError, OSError) as exc:
            return Answer(status=None, failure=Failure.connect, reason=type(exc).__name__)
        except aiosmtplib.SMTPException as exc:
            return Answer(status=None, failure=Failure.broken, reason=type(exc).__name__)
        except Exception as exc:  # a letter that a library chokes on must not end the sender
            return Answer(status=None, failure=Failure.unknown, reason=type(exc).__name__)
        return Answer(status=250, failure=None, head=said.encode()[:1024])


def _refused(said: aiosmtplib.SMTPResponseException, exc: Exception) -> Answer:
    # 4yz is for now. 5yz is for ever where it is about the letter or its reader; about us, an operator may help.
    final = said.code >= 500 and isinstance(exc, aiosmtplib.SMTPRecipientsRefused | aiosmtplib.SMTPDataError)
    head = said.message.encode("utf-8", "replace")[:1024]
    return Answer(status=said.code, failure=Failure.status, reason=type(exc).__name__, final=final, head=head)
