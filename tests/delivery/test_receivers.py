"""Who gets nothing any more, for how long, and who is told of it?"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email import message_from_bytes
from email.message import Message
from email.policy import default
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session
from psycopg.types.json import Jsonb

from zvonar.delivery import letters
from zvonar.delivery.backoff import Backoff
from zvonar.delivery.lanes import Limits
from zvonar.delivery.mail import Smtp
from zvonar.store import delivery_log, receivers
from zvonar.store.db import Database
from zvonar.store.outbox import ADD_MAIL, Event
from zvonar.store.receivers import ReceiverNotFound

from .receiver import Post, Receiver, take
from .world import Counted, Moving, eventually, happened, now, render, until_states, worker

pytestmark = pytest.mark.asyncio

LIMITS = Limits(poll=0.01, lease=10**7)


def both(event: Event) -> Any:
    return render(event) if event.kind == "call" else letters.render(event)


class Mailbox:
    """A real SMTP server on loopback, and what came in."""

    def __init__(self, answer: str = "250 OK") -> None:
        self.answers = [answer]  # the last one stays
        self.got: list[tuple[Envelope, Message]] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.got.append((envelope, message_from_bytes(envelope.content, policy=default)))
        return answer

    async def until(self, letters: int) -> None:
        async def so() -> bool:
            return len(self.got) == letters

        await eventually(so)


@asynccontextmanager
async def mail_server(box: Mailbox) -> AsyncIterator[Smtp]:
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(box), "127.0.0.1", 0)
    yield Smtp(
        host="127.0.0.1",
        port=server.sockets[0].getsockname()[1],
        sender="zvonar@example.org",
        tls=False,
    )
    server.close()


async def gone(_: Post) -> web.StreamResponse:
    return web.Response(status=410)


async def test_410_disables_keeps_what_waits_and_tells_the_account(db: Database, receiver: Receiver) -> None:
    box = Mailbox()
    receiver.behave = gone
    async with Receiver() as other, mail_server(box) as smtp, worker(db, both, meters=None, smtp=smtp):
        await happened(db, receiver.url(), [1, 1, 1])
        await happened(db, other.url(), [1])
        await until_states(db, disabled=3, delivered=2)  # the letter is a delivery too
        # What comes later waits with the others.
        later = await happened(db, receiver.url(), [2])
        await until_states(db, disabled=4, delivered=2)
        assert len(receiver.posts) == 1
        await box.until(1)
        (trouble,) = await receivers.troubled(db, 1)
        assert (trouble.address, trouble.reason, trouble.waiting) == (receiver.url(), "gone", 4)
        receiver.behave = take
        assert await receivers.enable(db, 1, receiver.url(), now=now()) == 4
        await until_states(db, delivered=6)
    assert [post.event_id for post in receiver.taken if post.said["call"] == 1] == [1, 2, 3]
    assert later[0] in [post.event_id for post in receiver.taken]
    assert await receivers.troubled(db, 1) == []
    envelope, letter = box.got[0]
    assert (envelope.rcpt_tos, envelope.mail_from) == (["world@example.com"], "zvonar@example.org")
    text = letter.get_content()  # type: ignore[attr-defined]
    assert receiver.url() in text
    assert "410 Gone" in text
    assert "больше ничего не отправляется" in text
    assert letter["Message-ID"].endswith("@zvonar>")


async def test_five_days_of_failing_disable_and_one_success_begins_them_anew(
    db: Database, receiver: Receiver
) -> None:
    refusing = True

    async def refuse(post: Post) -> web.StreamResponse:
        return web.Response(status=500) if refusing else await take(post)

    receiver.behave = refuse
    clock, box, meters = Moving(), Mailbox(), Counted()
    call = 0

    async def one_more(seen: int) -> None:
        nonlocal call
        call += 1
        await happened(db, receiver.url(), [call])
        await receiver.until(lambda r: len(r.posts) == seen)
        await eventually(lambda: db.value("SELECT count(*) = %s FROM deliveries WHERE tries > 0", [call]))

    # Each event is tried once in this test, so that days pass by events alone.
    backoff = Backoff(pauses=(10**8,), jitter=0.0)
    async with (
        mail_server(box) as smtp,
        worker(db, both, clock=clock, limits=LIMITS, backoff=backoff, smtp=smtp, meters=meters),
    ):
        for day in range(5):
            await one_more(day + 1)
            clock.pass_time(hours=23)
        assert (await receivers.troubled(db, 1))[0].reason is None
        refusing = False
        await one_more(6)
        assert await receivers.troubled(db, 1) == []
        refusing = True
        for day in range(6):
            await one_more(7 + day)
            clock.pass_time(hours=24)
            if day < 5:
                assert (await receivers.troubled(db, 1))[0].reason is None
        (trouble,) = await receivers.troubled(db, 1)
        assert trouble.reason == "failing"
        assert trouble.disabled_at is not None
        assert trouble.failing_since is not None
        assert trouble.disabled_at - trouble.failing_since == timedelta(days=5)
        await happened(db, receiver.url(), [99])
        await eventually(
            lambda: db.value("SELECT count(*) > 0 FROM deliveries WHERE state = 'disabled' AND tries = 0")
        )
        await box.until(1)
        assert len(receiver.posts) == 12
    assert meters.given_up == ["failing"]
    assert "five days" in box.got[0][1].get_content()  # type: ignore[attr-defined]


async def test_days_without_a_try_are_not_days_of_failing(db: Database, receiver: Receiver) -> None:
    async def refuse(_: Post) -> web.StreamResponse:
        return web.Response(status=500)

    receiver.behave = refuse
    clock = Moving()
    async with worker(db, clock=clock, limits=LIMITS, backoff=Backoff(pauses=(10**8,))):
        for call in (1, 2):
            await happened(db, receiver.url(), [call])
            await eventually(
                lambda call=call: db.value("SELECT count(*) = %s FROM deliveries WHERE tries > 0", [call])
            )  # type: ignore[misc]
            clock.pass_time(days=6)
        (trouble,) = await receivers.troubled(db, 1)
    assert trouble.disabled_at is None
    assert trouble.failing_since == clock.now - timedelta(days=6)


async def test_an_operator_disables_and_enables(db: Database, receiver: Receiver) -> None:
    await receivers.disable(db, 1, receiver.url(), now=now())
    async with worker(db):
        (event,) = await happened(db, receiver.url(), [1])
        await until_states(db, disabled=1)
        (entry,) = await delivery_log.find(db, delivery_log.Filter(), limit=9)
        with pytest.raises(delivery_log.ReceiverDisabled):
            await delivery_log.retry_one(db, entry.delivery_id, now=now())
        assert receiver.posts == []
        with pytest.raises(ReceiverNotFound):
            await receivers.enable(db, 2, receiver.url(), now=now())
        await receivers.enable(db, 1, receiver.url(), now=now())
        await receiver.until(lambda r: [post.event_id for post in r.taken] == [event])


async def test_what_slipped_past_the_disabling_is_set_aside(db: Database, receiver: Receiver) -> None:
    await happened(db, receiver.url(), [1])
    async with worker(db):
        await until_states(db, delivered=1)
    await db.execute("UPDATE deliveries SET state = 'pending'")
    await receivers.disable(db, 1, receiver.url(), now=now())
    await db.execute("UPDATE deliveries SET state = 'pending'")
    assert await receivers.set_strays_aside(db) == 1
    await until_states(db, disabled=1)


# Letters.


async def mail(db: Database) -> None:
    payload = Jsonb({"to": "someone@example.com", "subject": "Тема", "text": "Текст"})
    await db.execute(ADD_MAIL, {"account_id": 1, "now": now(), "payload": payload})


async def test_a_letter_is_delivered_like_anything_else(db: Database) -> None:
    box = Mailbox("451 try later")
    box.answers.append("250 OK")
    async with mail_server(box) as smtp, worker(db, both, meters=None, smtp=smtp):
        await mail(db)
        await box.until(1)
        await until_states(db, delivered=1)
    (entry,) = await delivery_log.find(db, delivery_log.Filter(), limit=9)
    _, attempts = await delivery_log.show(db, entry.delivery_id)
    assert [(one.status, one.error) for one in attempts] == [(451, "status"), (250, None)]
    assert entry.address == "mailto:someone@example.com"
    _, letter = box.got[0]
    assert (letter["Subject"], letter.get_content().strip()) == ("Тема", "Текст")  # type: ignore[attr-defined]


async def test_a_letter_that_is_refused_for_good_is_dead_at_once(db: Database) -> None:
    box = Mailbox("554 no")
    async with mail_server(box) as smtp, worker(db, both, meters=None, smtp=smtp):
        await mail(db)
        (row,) = await until_states(db, dead=1)
    assert (row.tries, row.last_status) == (1, 554)


async def test_without_a_mail_server_a_letter_fails_where_all_can_see_it(db: Database) -> None:
    async with worker(db, both, meters=None, backoff=Backoff(pauses=(0.01,))):
        await mail(db)
        (row,) = await until_states(db, dead=1)
    assert (row.tries, row.last_error) == (2, "mail_off")


async def test_a_mail_server_that_is_away_is_tried_again(db: Database) -> None:
    smtp = Smtp(host="127.0.0.1", port=1, sender="a@example.org", tls=False)
    async with worker(db, both, meters=None, smtp=smtp, backoff=Backoff(pauses=(0.01, 0.01))):
        await mail(db)
        (row,) = await until_states(db, dead=1)
    assert (row.tries, row.last_error) == (3, "connect")


@pytest.mark.parametrize(
    "address", ["", "a", "@b", "a@", "a@b\nBcc: c@d", "a b@c", "a@b@c", "a,b@c", "<a@b>", "я@b", "a@b?cc=c"]
)
async def test_what_is_no_address_is_not_written_to(address: str) -> None:
    with pytest.raises(letters.EmailInvalid):
        letters.checked_email(address)
