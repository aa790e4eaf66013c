"""Is what a key or a word sets off sent, once, and is what became of it beside the call?"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import SMTP as POLICY
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

from zvonar.core.reaction import Email, Reaction, Sms, SmsTo, Triggered
from zvonar.delivery import reactions as delivered
from zvonar.delivery.backoff import Backoff
from zvonar.delivery.mail import Smtp
from zvonar.delivery.smpp import Smpp
from zvonar.dialects.callo import webhook
from zvonar.service.sms import carried
from zvonar.store import accounts, reactions
from zvonar.store.db import Database
from zvonar.store.outbox import Event, Rendered
from zvonar.store.reactions import ReactionDelivery

from .centre import BAD_ADDRESS, Centre, Message
from .receiver import Post, Receiver
from .world import Counted, eventually, until_states, worker

pytestmark = pytest.mark.asyncio

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
PHONE = "+70001234567"
CALL = 260302000000001


def render(event: Event) -> Sequence[Rendered]:
    return [*delivered.render(event), *webhook.render(event)]


def triggered(
    reaction: Reaction, *, number: int = 1, choice: str | None = "1", at: datetime = NOW
) -> Triggered:
    return Triggered(
        account_id=1,
        campaign_id=1,
        call_id=CALL,
        attempt=1,
        number=number,
        phone=PHONE,
        own_phone="+74950000000",
        node="1",
        choice=choice,
        at=at,
        reaction=reaction,
    )


class Mailbox:
    """A mail server that keeps what it gets."""

    def __init__(self) -> None:
        self.letters: list[Envelope] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.letters.append(envelope)
        return "250 OK"


@pytest_asyncio.fixture
async def owner(db: Database) -> None:
    await accounts.set_phone(db, 1, "+79161234567")
    await accounts.set_email(db, 1, "owner@example.com")


async def states(db: Database) -> dict[str, tuple[str, str | None]]:
    found = await reactions.of_calls(db, 1, [CALL])
    return {one.kind: (one.state, one.error) for one in found}


async def until(db: Database, **wanted: tuple[str, str | None]) -> list[ReactionDelivery]:
    """Wait until the call shows this of its reactions."""

    async def so() -> bool:
        return await states(db) == {f"reaction.{kind}": state for kind, state in wanted.items()}

    await eventually(so)
    return await reactions.of_calls(db, 1, [CALL])


async def test_a_text_a_letter_and_a_webhook_are_sent_and_shown(
    db: Database, receiver: Receiver, owner: None
) -> None:
    reaction = Reaction(
        status_name="Согласен",
        sms=Sms(text="Спасибо!"),
        email=Email(subject="Выбор", text="Нажал 1"),
        webhook=receiver.url("hook?id={ct_call_id}&who={ct_phone}&x={ct_unknown}"),
    )
    box = Mailbox()
    loop = asyncio.get_running_loop()
    mail = await loop.create_server(lambda: SMTP(box, hostname="mail.test"), "127.0.0.1", 0)
    server = Smtp(
        host="127.0.0.1", port=mail.sockets[0].getsockname()[1], sender="zvonar@example.com", tls=False
    )
    async with Centre() as centre:
        named = Smpp(
            host="127.0.0.1", port=centre.port, tls=False, system_id="a", password="b", sender="Zvonar"
        )
        async with carried(named) as sms, worker(db, render, transports={"sms": sms}, smtp=server):
            await reactions.trigger(db, triggered(reaction))
            found = await until(
                db, sms=("delivered", None), email=("delivered", None), webhook=("delivered", None)
            )
    mail.close()
    await mail.wait_closed()
    assert {(one.attempt, one.number, one.tries) for one in found} == {(1, 1, 1)}
    assert [(one.destination, one.text) for one in centre.messages] == [("70001234567", "Спасибо!")]
    assert box.letters[0].rcpt_tos == ["owner@example.com"]
    letter = message_from_bytes(box.letters[0].content or b"", policy=POLICY)
    assert letter["Subject"] == "Выбор"
    assert letter.get_content().strip() == "Нажал 1"
    post = receiver.posts[0]
    assert (post.method, post.path) == ("POST", f"/hook?id={CALL}&who=%2B70001234567&x=")
    said = {name: value[0] for name, value in parse_qs(post.body.decode()).items()}
    assert said == {
        "campaign_id": "1",
        "call_id": str(CALL),
        "phone": PHONE,
        "status": "user",
        "call_status": "user",
        "dial_status": "5",
        "button_num": "1",
        "user_choice": "Согласен",
    }


async def test_a_text_to_the_owner_goes_to_the_account(db: Database, owner: None) -> None:
    async with Centre() as centre:
        named = Smpp(host="127.0.0.1", port=centre.port, tls=False, system_id="a", password="", sender="Z")
        async with carried(named) as sms, worker(db, render, transports={"sms": sms}):
            await reactions.trigger(db, triggered(Reaction(sms=Sms(text="hi", to=SmsTo.owner))))
            await until(db, sms=("delivered", None))
    assert [one.destination for one in centre.messages] == ["79161234567"]


async def test_an_owner_who_left_no_address_is_shown_as_nobody(db: Database) -> None:
    reaction = Reaction(sms=Sms(text="hi", to=SmsTo.owner), email=Email(subject="s", text="t"))
    async with Centre() as centre:
        named = Smpp(host="127.0.0.1", port=centre.port, tls=False, system_id="a", password="", sender="Z")
        async with carried(named) as sms, worker(db, render, transports={"sms": sms}):
            await db.execute("UPDATE accounts SET email = NULL")
            await reactions.trigger(db, triggered(reaction))
            await until(db, sms=("dead", "nobody"), email=("dead", "nobody"))
    assert centre.messages == []


async def test_a_reaction_in_doubt_is_said_again_and_happens_once(db: Database, receiver: Receiver) -> None:
    fact = triggered(Reaction(webhook=receiver.url()))
    again = triggered(Reaction(webhook=receiver.url()), at=NOW.replace(second=1))
    async with worker(db, render):
        for _ in range(3):
            await reactions.trigger(db, fact)
        await reactions.trigger(db, again)  # what another dialer began anew is another one
        await until_states(db, delivered=2)
    assert len(receiver.posts) == 2


async def test_a_failing_webhook_is_tried_again_and_shown_meanwhile(db: Database, receiver: Receiver) -> None:
    async def stumble(post: Post) -> web.StreamResponse:
        return web.Response(status=500 if post.attempt <= 3 else 200)

    receiver.behave = stumble
    meters = Counted()
    async with worker(db, render, meters=meters):
        await reactions.trigger(db, triggered(Reaction(webhook=receiver.url())))
        await meters.until_failed(1)
        found = await until(db, webhook=("delivered", None))
    assert found[0].tries == 4


async def test_a_webhook_that_is_given_up_is_shown_as_dead(db: Database, receiver: Receiver) -> None:
    async def refuse(_: Post) -> web.StreamResponse:
        return web.Response(status=500)

    receiver.behave = refuse
    async with worker(db, render, backoff=Backoff(pauses=(0.01, 0.01))):
        await reactions.trigger(db, triggered(Reaction(webhook=receiver.url())))
        found = await until(db, webhook=("dead", "status"))
    assert found[0].tries == 3


async def test_a_number_that_the_centre_does_not_know_is_shown_at_once(db: Database) -> None:
    async def refuse(_: Message) -> int:
        return BAD_ADDRESS

    async with Centre(refuse) as centre:
        named = Smpp(host="127.0.0.1", port=centre.port, tls=False, system_id="a", password="", sender="Z")
        async with carried(named) as sms, worker(db, render, transports={"sms": sms}):
            await reactions.trigger(db, triggered(Reaction(sms=Sms(text="hi"))))
            found = await until(db, sms=("dead", "status"))
    assert found[0].tries == 1


async def test_a_webhook_inside_is_refused_and_shown(db: Database) -> None:
    async with worker(db, render, allowed=(), backoff=Backoff(pauses=())):
        await reactions.trigger(db, triggered(Reaction(webhook="http://127.0.0.1:9/x")))
        await until(db, webhook=("dead", "guarded"))


@pytest.mark.parametrize("to", ["a@b@c", "имя@example.com", "a b@example.com"])
async def test_a_letter_to_what_is_no_address_is_shown_and_stops_nothing(db: Database, to: str) -> None:
    reaction = Reaction(email=Email(subject="s", text="t", to=to))
    async with worker(db, render):
        await reactions.trigger(db, triggered(reaction))
        await until(db, email=("dead", "nobody"))


async def test_a_spoken_choice_is_told_by_its_word() -> None:
    payload: dict[str, Any] = msgspec.to_builtins(triggered(Reaction(webhook="http://a/"), choice="да"))
    event = Event(
        event_id=1, account_id=1, campaign_id=1, call_id=CALL, kind="reaction", at=NOW, payload=payload
    )
    said = parse_qs(webhook.render(event)[0].body.decode())
    assert said["user_choice"] == ["да"]
    assert "button_num" not in said


async def test_events_of_other_kinds_set_nothing_off() -> None:
    event = Event(event_id=1, account_id=1, campaign_id=1, call_id=1, kind="call", at=NOW, payload={})
    assert render(event) == []
