"""Do clients that others wrote work with this server, with nothing changed but the address?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
import requests
import uvicorn
from aioamocrm import (
    AmoCRMClient,
    Contact,
    Lead,
    LongLivedToken,
    MemoryTokenStorage,
    Note,
    OAuth2,
    Task,
    ValidationError,
    parse_webhook,
)
from amocrm import v2
from amocrm.v2 import account, exceptions, filters, interaction, tokens
from litestar import Litestar

from zvonar.core.crm import Card, Kind
from zvonar.dialects.amocrm import hooks, routes
from zvonar.service.operations import add_account
from zvonar.store.db import Database
from zvonar.store.outbox import Event

from ...ports import free_port

BASE = datetime.now(UTC).replace(microsecond=0)


class Clock:
    """Goes on a fifth of a second with each look, so that no client meets the limit by its haste."""

    def __init__(self) -> None:
        self._now = BASE

    def __call__(self) -> datetime:
        self._now += timedelta(milliseconds=200)
        return self._now


class Live:
    """The server on a port, in a thread with a loop of its own."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.clock = Clock()
        self.keys: dict[str, Any] = {}
        self._ready = threading.Event()
        self.port = free_port()
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _run(self) -> None:
        async with Database(self._dsn) as db:
            self.keys = await add_account(
                db,
                name="clients",
                balance=Decimal(0),
                currency="RUB",
                timezone="Europe/Moscow",
                countries=["RU"],
                now=BASE,
            )
            service = routes.Service(db=db, now=self.clock)
            app = Litestar(routes.routes(service), openapi_config=None, logging_config=None)
            ready = self._ready

            class Server(uvicorn.Server):
                async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                    await super().startup(sockets)
                    ready.set()

                def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
                    return contextlib.nullcontext()  # it is not the main thread

            config = uvicorn.Config(app, port=self.port, log_config=None, access_log=False, lifespan="on")
            self._server = Server(config)
            await self._server.serve()

    def __enter__(self) -> Live:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def live(dsn: str) -> Iterator[Live]:
    with Live(dsn) as server:
        yield server


@pytest.fixture
def amocrm(live: Live, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """The package amocrm-api, logged in with a code, its https://test.amocrm.ru led to the server."""
    request: Callable[..., requests.Response] = requests.Session.request

    def led(session: requests.Session, method: str, url: str, **options: Any) -> requests.Response:
        assert url.startswith("https://test.amocrm.ru/")
        there = url.replace("https://test.amocrm.ru", live.url)
        return request(session, method, there, timeout=90, **options)

    monkeypatch.setattr(requests.Session, "request", led)
    manager = tokens.default_token_manager
    monkeypatch.setattr(manager, "_storage", None)
    keys = live.keys["amocrm"]
    manager(
        client_id=keys["client_id"],
        client_secret=keys["client_secret"],
        subdomain="test",
        redirect_url="https://example.test",
        storage=tokens.MemoryTokensStorage(),
    )
    manager.init(code=keys["code"])
    yield live
    interaction._session.close()


class Person(v2.Contact):
    phone = v2.custom_field.ContactPhoneField("Телефон", enum_code="MOB")
    email = v2.custom_field.ContactEmailField("Email", enum_code="WORK")


def test_amocrm_api_keeps_contacts_with_phones_and_logs_calls_into_them(amocrm: Live) -> None:
    person = Person(first_name="Иван", last_name="Петров")
    person.phone = "+79161234567"
    person.email = "ivan@example.test"
    person.create()
    found = Person.objects.get(person.id)
    assert (found.phone, found.email) == ("+79161234567", "ivan@example.test")
    assert found.name == "Иван Петров"
    found.first_name = "Пётр"
    found.phone = "+79161234568"
    found.save()
    assert Person.objects.get(query="79161234568").id == person.id

    stored = v2.Call().create(
        v2.CallDuration.OUTBOUNT,
        phone="8 916 123-45-68",
        source="tests",
        duration=timedelta(seconds=17),
        status=v2.CallStatus.SUCCESS,
        created_at=datetime(2026, 1, 2, 3, 4, 5, 600_000),
        updated_at=datetime(2026, 1, 2, 3, 4, 6),
        created_by=next(iter(v2.User.objects.all())),
    )
    assert (stored["entity_type"], stored["entity_id"]) == ("contact", person.id)
    [note] = Person.objects.get(person.id).notes.objects.all()
    assert (note.id, note.note_type, note.duration) == (stored["id"], "call_out", 17)
    assert note.created_by.id == v2.User.objects.get(note.created_by.id).id
    [event] = v2.Event.objects.filter(filters=[filters.SingleFilter("type")("outgoing_call")])
    assert event.value_after == stored["id"]


def test_amocrm_api_reads_the_answer_to_an_unknown_number(amocrm: Live) -> None:
    with pytest.raises(exceptions.ValidationError) as caught:
        v2.Call().create(v2.CallDuration.INBOUND, phone="+79990000000", source="tests", duration=1)
    assert "263" in str(caught.value)


def test_amocrm_api_leads_leads_through_their_pipeline(amocrm: Live) -> None:
    [pipeline] = v2.Pipeline.objects.all()
    lead = v2.Lead(name="Сделка", price=100)
    lead.create()
    found = v2.Lead.objects.get(lead.id)
    assert found.pipeline.id == pipeline.id
    assert found.status.name == "Первичный контакт"
    contact = v2.Contact(name="Анна")
    contact.create()
    found.contacts.append(contact, main=True)
    assert [one.id for one in v2.Lead.objects.get(lead.id).contacts] == [contact.id]
    found.status = "Переговоры"
    found.tags.append("VIP")
    found.save()
    again = v2.Lead.objects.get(lead.id)
    assert (again.status.name, [tag.name for tag in again.tags]) == ("Переговоры", ["VIP"])
    task = v2.Task(text="Позвонить", complete_till=datetime(2030, 1, 1), task_type_id=1)
    again.tasks.add(task)
    assert [one.text for one in v2.Lead.objects.get(lead.id).tasks] == ["Позвонить"]
    assert account.AccountInteraction().get(include=["version"])["id"] == amocrm.keys["account_id"]
    with pytest.raises(exceptions.NotFound):
        v2.Lead.objects.get(1)


def test_amocrm_api_refreshes_its_tokens_and_tells_the_hint_of_a_spent_code(amocrm: Live) -> None:
    manager = tokens.default_token_manager
    before = manager.get_access_token()
    access, refresh = manager._get_new_tokens()
    manager._storage.save_tokens(access, refresh)
    assert access != before
    assert account.AccountInteraction().get()["id"] == amocrm.keys["account_id"]
    with pytest.raises(Exception, match="Authorization code has been revoked"):
        manager.init(code=amocrm.keys["amocrm"]["code"])


def test_aioamocrm_walks_through_cards_notes_and_tasks(live: Live) -> None:
    async def work() -> None:
        auth = LongLivedToken(live.keys["amocrm"]["access_token"])
        async with AmoCRMClient(base_url=live.url, auth=auth, rate_limit=None) as amo:
            account = await amo.account.get()
            assert account.id == live.keys["account_id"]
            made = await amo.contacts.create([Contact(name=f"Контакт {n}") for n in range(3)])
            leads = await amo.leads.create([Lead(name="Сделка", price=5)])
            await amo.leads.link(leads[0].id, "contacts", made[0].id)
            listed = [contact.id async for contact in amo.contacts.iterate(limit=2, with_=["leads"])]
            assert listed == [one.id for one in made]
            lead = await amo.leads.get(leads[0].id, with_=["contacts"])
            assert lead.price == 5
            notes = await amo.leads.notes.create([Note.common(lead.id, "Заметка")])
            note = await amo.leads.notes.get(notes[0].id, entity_id=lead.id)
            assert note.note_type == "common"
            [task] = await amo.tasks.create([Task(text="x", complete_till=1900000000)])
            await amo.tasks.complete(task.id, result="готово")
            assert (await amo.tasks.get(task.id)).is_completed is True
            [pipeline] = await amo.pipelines.list()
            assert {142, 143} <= {status.id for status in await amo.pipelines.statuses(pipeline.id)}
            assert [user.id async for user in amo.users.iterate()] == [account.current_user_id]
            assert {field.code async for field in amo.contacts.custom_fields.iterate()} == {"PHONE", "EMAIL"}
            body = [{"direction": "inbound", "duration": 1, "source": "s", "phone": None}]
            with pytest.raises(ValidationError):
                await amo.request("POST", "calls", json=body)

    asyncio.run(asyncio.wait_for(work(), 180))


def test_aioamocrm_exchanges_a_code_and_rotates_tokens(live: Live) -> None:
    async def work() -> None:
        keys = live.keys["amocrm"]
        auth = OAuth2(
            client_id=keys["client_id"],
            client_secret=keys["client_secret"],
            redirect_uri="https://example.test",
            storage=MemoryTokenStorage(),
        )
        async with AmoCRMClient(base_url=live.url, auth=auth, rate_limit=None) as amo:
            first = await auth.exchange_code(amo._endpoint, keys["code"])
            assert (await amo.account.get()).id == live.keys["account_id"]
            second = await auth.refresh(amo._endpoint)
            assert first.refresh_token != second.refresh_token
            assert (await amo.account.get()).id == live.keys["account_id"]

    asyncio.run(asyncio.wait_for(work(), 180))


def test_aioamocrm_reads_our_webhooks() -> None:
    payload = {
        "setting": "note_lead",
        "kind": "lead",
        "card_id": 7,
        "facts": {
            "note_id": 1,
            "note_type": "call_in",
            "params": {"phone": "123", "duration": 1, "source": "s"},
            "responsible_user_id": 1,
            "created_by": 0,
            "updated_by": 0,
            "created_at": BASE.isoformat(),
            "updated_at": BASE.isoformat(),
        },
        "addresses": ["https://example.test"],
        "timezone": "Europe/Moscow",
    }
    event = Event(
        event_id=1, account_id=5, campaign_id=None, call_id=None, kind="crm", at=BASE, payload=payload
    )
    [rendered] = hooks.render(event)
    read = parse_webhook(rendered.body)
    assert read.account_id == 5
    [told] = read.events
    assert (told.entity, told.action) == ("leads", "note")
    assert Card(kind=Kind.lead, card_id=7).card_id == int(told.payload["note"]["element_id"])


def test_a_request_may_come_in_chunks(live: Live) -> None:
    headers = {
        "authorization": f"Bearer {live.keys['amocrm']['access_token']}",
        "content-type": "application/json",
    }
    body = json.dumps([{"name": "По частям"}] * 20).encode()
    chunks = (body[place : place + 7] for place in range(0, len(body), 7))
    with httpx.Client() as client:
        answer = client.post(f"{live.url}/api/v4/contacts", content=chunks, headers=headers)
    assert answer.status_code == 200
    assert len(answer.json()["_embedded"]["contacts"]) == 20
