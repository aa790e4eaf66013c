"""Does a letter reach the operator's mail server, whatever that server does?"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from zvonar.delivery import mail
from zvonar.delivery.mail import MailTransport, Smtp
from zvonar.delivery.verdict import Answer, Failure
from zvonar.store.deliveries import Delivery

from .listener import Listener

pytestmark = pytest.mark.asyncio

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Server:
    """A mail server that answers as it is told to."""

    def __init__(self, *, rcpt: str = "250 OK", data: str = "250 OK") -> None:
        self.rcpt, self.data = rcpt, data
        self.letters: list[Envelope] = []

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Sequence[Any]
    ) -> str:
        if self.rcpt.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.letters.append(envelope)
        return self.data


def letter() -> Delivery:
    message = EmailMessage()
    message["To"] = "owner@example.com"
    message["Subject"] = "Выбор"
    message.set_content("Нажата кнопка 1")
    return Delivery(
        delivery_id=1,
        account_id=1,
        event_id=1,
        event_at=NOW,
        kind="mail",
        address="mailto:owner@example.com",
        method="POST",
        url="mailto:owner@example.com",
        content_type="message/rfc822",
        body=message.as_bytes(),
        tries=0,
        tries_before=0,
    )


async def sent(port: int, **other: Any) -> Answer:
    smtp = Smtp(host="127.0.0.1", port=port, sender="zvonar@example.com", tls=False, **other)
    return await MailTransport(smtp).send(letter(), at=NOW)


async def through(server: Server, **other: Any) -> Answer:
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: SMTP(server, hostname="mail.test"), "127.0.0.1", 0)
    try:
        return await sent(listening.sockets[0].getsockname()[1], **other)
    finally:
        listening.close()
        await listening.wait_closed()


class Strange:
    """A server whose answers are bytes of ours, one for the connection and one for each line after it."""

    def __init__(self, *said: bytes) -> None:
        self._said = said

    async def __aenter__(self) -> int:
        self._listener = await Listener(self._serve).__aenter__()
        return self._listener.port

    async def __aexit__(self, *_: object) -> None:
        await self._listener.__aexit__(None, None, None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for said in self._said:
            writer.write(said)
            await writer.drain()
            if not await reader.readline():
                break
        await reader.read()  # says nothing more, until the other side has had enough


async def test_a_letter_arrives_as_it_was_written() -> None:
    server = Server()
    answer = await through(server)
    assert (answer.failure, answer.status) == (None, 250)
    assert server.letters[0].rcpt_tos == ["owner@example.com"]
    assert server.letters[0].mail_from == "zvonar@example.com"


@pytest.mark.parametrize(
    ("server", "status", "final"),
    [
        (Server(rcpt="550 no such user"), 550, True),
        (Server(rcpt="450 greylisted"), 450, False),
        (Server(data="554 it smells of spam"), 554, True),
        (Server(data="452 no space"), 452, False),
    ],
)
async def test_a_refusal_is_final_where_it_is_for_ever(server: Server, status: int, final: bool) -> None:
    answer = await through(server)
    assert (answer.failure, answer.status, answer.final) == (Failure.status, status, final)


async def test_a_password_is_not_sent_in_the_open() -> None:
    server = Server()
    answer = await through(server, username="u", password="p")
    assert answer.failure is not None
    assert not answer.final
    assert server.letters == []


async def test_a_server_that_is_down_refuses_the_connection() -> None:
    async with Strange() as port:
        pass
    assert (await sent(port)).failure is Failure.connect


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\xff\xfe\x00garbage\r\n",
        b"220 hi\r\n",
        b"999 what\r\n",
        b"x" * 100_000 + b"\r\n",
    ],
    ids=["http", "bytes", "hello-then-silence", "odd-code", "endless"],
)
async def test_garbage_is_a_failure_that_is_tried_again(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "_TIMEOUT", 0.5)
    async with Strange(said) as port:
        answer = await sent(port)
    assert answer.failure in (Failure.broken, Failure.status, Failure.timeout, Failure.connect)
    assert not answer.final


async def test_a_silent_server_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "_TIMEOUT", 0.2)
    async with Strange(b"") as port:
        assert (await sent(port)).failure is Failure.timeout
