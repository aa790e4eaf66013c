"""Does a short text reach its provider, over SMPP and by HTTP, whatever the provider does?"""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from zvonar.delivery import smpp, smpp_pdus
from zvonar.delivery.guard import networks
from zvonar.delivery.post import Poster
from zvonar.delivery.smpp import Smpp, SmppTransport
from zvonar.delivery.sms import CONTENT_TYPE, address
from zvonar.delivery.sms_http import HttpSmsTransport, SmsTemplate, SmsTemplateInvalid
from zvonar.delivery.verdict import Answer, Failure, Transport
from zvonar.service.sms import SmsUrlInvalid, carried, provider
from zvonar.store.db import Database
from zvonar.store.deliveries import Delivery
from zvonar.store.outbox import Event, Rendered

from ..ports import free_port
from .centre import BAD_ADDRESS, BAD_PASSWORD, THROTTLED, Centre, Message
from .listener import Listener
from .world import Counted, deliveries, happened, until_states, worker

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
PHONE = "+70001234567"
GARBAGE = b"HTTP/1.1 400 Bad Request\r\n\r\n"


def text(body: str, event_id: int = 7) -> Delivery:
    return Delivery(
        delivery_id=1,
        account_id=1,
        event_id=event_id,
        event_at=NOW,
        kind="reaction.sms",
        address=address(PHONE),
        method="POST",
        url=address(PHONE),
        content_type=CONTENT_TYPE,
        body=body.encode(),
        tries=0,
        tries_before=0,
    )


def at_centre(centre: Centre, **other: str) -> SmppTransport:
    named = {"system_id": "zvonar", "password": "secret", "sender": "Zvonar", **other}
    return SmppTransport(Smpp(host="127.0.0.1", port=centre.port, tls=False, **named))


async def sent(transport: Transport, body: str = "привет") -> Answer:
    return await transport.send(text(body), at=NOW)


@pytest.mark.asyncio
async def test_a_text_arrives_over_smpp_as_it_was_written() -> None:
    async with Centre() as centre, at_centre(centre) as transport:
        assert (await sent(transport)).failure is None
        assert (await sent(transport, "Hello")).failure is None
    assert centre.binds == [("zvonar", "secret")]
    assert [(message.text, message.coding) for message in centre.messages] == [("привет", 8), ("Hello", 0)]
    assert {message.destination for message in centre.messages} == {"70001234567"}
    assert {message.source for message in centre.messages} == {"Zvonar"}


@pytest.mark.asyncio
async def test_a_long_text_is_cut_into_parts_that_a_telephone_puts_together() -> None:
    said = "Ваш заказ готов 🎉 " * 12
    async with Centre() as centre, at_centre(centre) as transport:
        assert (await sent(transport, said)).failure is None
    assert "".join(message.text for message in centre.messages) == said
    heads = [message.body[:6] for message in centre.messages]
    assert heads == [bytes((5, 0, 3, 7, len(heads), place)) for place in range(1, len(heads) + 1)]


@pytest.mark.asyncio
async def test_texts_of_many_calls_share_one_session() -> None:
    async with Centre() as centre, at_centre(centre) as transport:
        answers = await asyncio.gather(*(sent(transport, f"n{place}") for place in range(50)))
    assert {answer.failure for answer in answers} == {None}
    assert {message.text for message in centre.messages} == {f"n{place}" for place in range(50)}
    assert centre.sessions == 1


@pytest.mark.asyncio
async def test_a_centre_that_asks_whether_we_live_is_answered() -> None:
    async with Centre() as centre, at_centre(centre) as transport:
        centre.asks_alive = True
        await sent(transport)
        await centre.until(lambda c: c.alive_answers == 1)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "final"),
    [(THROTTLED, False), (0x14, False), (0x08, False), (BAD_ADDRESS, True), (0x01, True)],
)
async def test_a_refused_text_is_final_only_where_the_text_is_at_fault(status: int, final: bool) -> None:
    async def refuse(_: Message) -> int:
        return status

    async with Centre(refuse) as centre, at_centre(centre) as transport:
        answer = await sent(transport)
    assert (answer.failure, answer.status, answer.final) == (Failure.status, status, final)


@pytest.mark.asyncio
async def test_a_refused_password_is_not_final() -> None:
    async with Centre(bind_status=BAD_PASSWORD) as centre, at_centre(centre) as transport:
        answer = await sent(transport)
        assert (answer.failure, answer.status, answer.final) == (Failure.status, BAD_PASSWORD, False)
        centre.bind_status = 0
        assert (await sent(transport)).failure is None


@pytest.mark.asyncio
async def test_a_centre_that_is_down_refuses_the_connection() -> None:
    async with Centre() as centre:
        transport = at_centre(centre)
    async with transport:
        assert (await sent(transport)).failure is Failure.connect


@pytest.mark.asyncio
@pytest.mark.parametrize("said", [GARBAGE, b"\xff" * 16, b""], ids=repr)
async def test_garbage_breaks_the_session_and_the_next_text_has_a_new_one(said: bytes) -> None:
    async def babble(_: Message) -> int | bytes:
        return said if len(centre.messages) == 1 else 0

    async with Centre(babble) as centre, at_centre(centre) as transport:
        assert (await sent(transport)).failure is Failure.broken
        assert (await sent(transport)).failure is None
    assert centre.sessions == 2


@pytest.mark.asyncio
async def test_half_an_answer_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stutter(_: Message) -> int | bytes:
        return b"\0\0\0\x01"

    monkeypatch.setattr(smpp, "_ANSWER", 0.1)
    async with Centre(stutter) as centre, at_centre(centre) as transport:
        assert (await sent(transport)).failure is Failure.timeout


@pytest.mark.asyncio
async def test_a_slow_centre_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    held = asyncio.Event()

    async def sleep(_: Message) -> int:
        await held.wait()
        return 0

    monkeypatch.setattr(smpp, "_ANSWER", 0.1)
    async with Centre(sleep) as centre, at_centre(centre) as transport:
        assert (await sent(transport)).failure is Failure.timeout
        held.set()


@pytest.mark.asyncio
async def test_one_that_accepts_connections_and_says_nothing_ends_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    monkeypatch.setattr(smpp, "_CONNECT", 0.1)
    async with Listener(silent) as listener:
        named = Smpp(host="127.0.0.1", port=listener.port, tls=False, system_id="a", password="", sender="A")
        async with SmppTransport(named) as transport:
            assert (await sent(transport)).failure is Failure.timeout


@pytest.mark.asyncio
async def test_tls_with_a_stranger_is_refused() -> None:
    async with Centre() as centre:
        named = Smpp(host="127.0.0.1", port=centre.port, tls=True, system_id="a", password="", sender="A")
        async with SmppTransport(named) as transport:
            answer = await sent(transport)
    assert answer.failure in (Failure.tls, Failure.broken, Failure.timeout)
    assert centre.binds == []


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=600))
def test_parts_are_whole_characters_and_add_up(said: str) -> None:
    found = smpp_pdus.parts(said, reference=3)
    bodies = [part.body[6:] if part.esm_class else part.body for part in found]
    if found[0].coding == 8:
        assert "".join(body.decode("utf-16-be") for body in bodies) == said
        assert all(len(part.body) <= 140 for part in found)
    else:
        assert all(not body.endswith(b"\x1b") for body in bodies)
        assert all(len(body) <= (160 if len(found) == 1 else 153) for body in bodies)


def test_a_text_of_a_book_is_no_short_message() -> None:
    with pytest.raises(smpp_pdus.TooLong):
        smpp_pdus.parts("ы" * 4000, reference=0)


# HTTP.

LOOPBACK = networks(["127.0.0.0/8"])


class Provider:
    """An HTTP provider that remembers what it was asked."""

    def __init__(self, said: str = "OK", status: int = 200) -> None:
        self.said, self.status = said, status
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    async def __aenter__(self) -> "Provider":
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._hear)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _hear(self, request: web.Request) -> web.Response:
        headers = dict(request.headers)
        self.asked.append((request.method, request.raw_path, headers, await request.read()))
        return web.Response(text=self.said, status=self.status)


NASTY = 'a&to=1"}\\ "ы\n{from}%'


@pytest.mark.asyncio
async def test_a_get_template_is_filled_percent_encoded() -> None:
    async with Provider() as provider_, Poster(allowed=LOOPBACK) as poster:
        template = SmsTemplate(url=f"{provider_.url}/send?to={{digits}}&t={{text}}&f={{from}}", sender="Z&Z")
        answer = await HttpSmsTransport(poster, template.checked()).send(text(NASTY), at=NOW)
    assert answer.failure is None
    method, path, _, body = provider_.asked[0]
    assert (method, body) == ("GET", b"")
    assert parse_qs(urlsplit(path).query) == {"to": ["70001234567"], "t": [NASTY], "f": ["Z&Z"]}


@pytest.mark.asyncio
async def test_a_json_template_cannot_be_broken_out_of() -> None:
    async with Provider() as provider_, Poster(allowed=LOOPBACK) as poster:
        template = SmsTemplate(
            url=f"{provider_.url}/send",
            method="POST",
            content_type="application/json",
            body='{"to":"{to}","text":"{text}"}',
            headers={"Authorization": "Bearer key"},
        )
        await HttpSmsTransport(poster, template.checked()).send(text(NASTY), at=NOW)
    _, _, headers, body = provider_.asked[0]
    assert json.loads(body) == {"to": PHONE, "text": NASTY}
    assert headers["Authorization"] == "Bearer key"
    assert headers["Content-Type"] == "application/json"


@pytest.mark.asyncio
async def test_a_form_template_cannot_be_broken_out_of() -> None:
    async with Provider() as provider_, Poster(allowed=LOOPBACK) as poster:
        template = SmsTemplate(url=f"{provider_.url}/send", method="POST", body="to={to}&text={text}")
        await HttpSmsTransport(poster, template.checked()).send(text(NASTY), at=NOW)
    assert parse_qs(provider_.asked[0][3].decode()) == {"to": [PHONE], "text": [NASTY]}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("said", "status", "failure"),
    [
        ('{"status":"OK"}', 200, None),
        ('{"status":"ERROR"}', 200, Failure.unaccepted),
        ("<html>garbage</html>", 200, Failure.unaccepted),
        ('{"status":"OK"}', 500, Failure.status),
    ],
)
async def test_a_yes_is_what_the_pattern_finds(said: str, status: int, failure: Failure | None) -> None:
    async with Provider(said, status) as provider_, Poster(allowed=LOOPBACK) as poster:
        template = SmsTemplate(url=f"{provider_.url}/?{{to}}{{text}}", accepted='"status":"OK"')
        answer = await HttpSmsTransport(poster, template).send(text("x"), at=NOW)
    assert answer.failure is failure


@pytest.mark.parametrize(
    "template",
    [
        SmsTemplate(url="http://a/?{to}"),
        SmsTemplate(url="http://a/?{text}"),
        SmsTemplate(url="ftp://a/?{to}{text}"),
        SmsTemplate(url="http://a/?{to}{text}", accepted="("),
        SmsTemplate(url="http://a/?{to}{text}", headers={"X": "a\r\nY: b"}),
    ],
)
def test_a_template_that_cannot_work_is_refused(template: SmsTemplate) -> None:
    with pytest.raises(SmsTemplateInvalid):
        template.checked()


# The operator's setting.


def test_a_provider_is_named_by_a_url(tmp_path: Path) -> None:
    assert provider(None) is None
    assert provider("smpp://u%40x:p%2Fw@smsc.example/%2B79990000000") == Smpp(
        host="smsc.example", port=2775, tls=False, system_id="u@x", password="p/w", sender="+79990000000"
    )
    file = tmp_path / "sms.json"
    file.write_text('{"url": "https://sms.example/?to={to}&text={text}"}')
    assert provider(f"file://{file}") == SmsTemplate(url="https://sms.example/?to={to}&text={text}")


@pytest.mark.parametrize(
    "url",
    [
        "smpp://host/A",
        "smpp://u:p@host",
        "smpp://u:p@host:99999/A",
        "smpp://u:much-too-long@host/A",
        "http://host/",
        "file:///nowhere/sms.json",
        "smpp://u:p@host/" + "A" * 16,
    ],
)
def test_a_url_that_names_no_provider_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(SmsUrlInvalid) as refused:
        provider(url)
    assert "host" not in str(refused.value).replace("@host:2775", "")


# Through the delivery machinery.


def as_text(event: Event) -> Sequence[Rendered]:
    return (
        Rendered(
            kind="reaction.sms",
            address=address(PHONE),
            order_key=f"reaction/{event.event_id}",
            content_type=CONTENT_TYPE,
            body=b"hello",
        ),
    )


@pytest.mark.asyncio
async def test_a_text_waits_out_an_outage_of_its_centre(db: Database) -> None:
    port = free_port()
    meters = Counted()
    named = Smpp(host="127.0.0.1", port=port, tls=False, system_id="a", password="b", sender="A")
    async with carried(named) as transport, worker(db, as_text, meters=meters, transports={"sms": transport}):
        await happened(db, "", [1, 2, 3])
        await meters.until_failed(6)
        async with Centre(port=port) as after:
            rows = await until_states(db, delivered=3)
    assert {row.last_status for row in rows} == {0}
    assert len(after.messages) == 3


@pytest.mark.asyncio
async def test_without_a_provider_a_text_says_so_and_its_reader_is_never_given_up(db: Database) -> None:
    meters = Counted()
    async with carried(None) as transport, worker(db, as_text, meters=meters, transports={"sms": transport}):
        await happened(db, "", [1])
        await meters.until_failed(3)
    rows = await deliveries(db)
    assert rows[0].last_error == "sms_off"
    assert await db.value("SELECT count(*) FROM receivers") == 0
