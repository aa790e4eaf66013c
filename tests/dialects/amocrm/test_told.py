"""Do webhooks hear what they asked for, and do campaigns' calls become notes, once?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec
import pytest
from tests.dialects.conftest import Tenant

from zvonar.core.phone import Phone
from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.dialects.amocrm import campaign_calls, hooks
from zvonar.store import accounts, calls, outbox
from zvonar.store.calls import NewCall
from zvonar.store.db import Connection
from zvonar.store.outbox import Event, Recorder

from .conftest import Desk, call

if TYPE_CHECKING:
    from tests.dialects.conftest import House

HOOK = "https://example.test/hook"


def fan_out(house: House, record: Recorder | None = campaign_calls.record) -> outbox.Batch:
    later: outbox.NextTry = lambda tries: house.clock + timedelta(hours=1)  # noqa: E731
    return house.run(
        outbox.fan_out(house.db, hooks.render, now=house.clock, next_try=later, record=record, limit=100_000)
    )


def heard(desk: Desk, address: str = HOOK) -> list[dict[str, str]]:
    """The forms that an address is to get, in their order."""
    fan_out(desk.house)
    bodies = desk.value(
        "SELECT coalesce(array_agg(convert_from(body, 'UTF8') ORDER BY delivery_id), '{}') FROM deliveries"
        " WHERE account_id = %s AND address = %s AND kind = 'amocrm.hook'",
        *(desk.account_id, address),
    )
    return [dict(parse_qsl(body, keep_blank_values=True, strict_parsing=True)) for body in bodies]


def subscribe(desk: Desk, *settings: str, destination: str = HOOK) -> None:
    answer = desk.post("/webhooks", {"destination": destination, "settings": list(settings)})
    assert answer.status_code == 200, answer.text


def test_a_note_of_a_call_is_told_as_its_handlers_read_it(desk: Desk, golden_text: str) -> None:
    subscribe(desk, "note_lead")
    contact = desk.contact("+79161234567")
    [lead] = desk.add("leads", {"_embedded": {"contacts": [{"id": contact}]}})
    [stored] = desk.post("/calls", [call(uniq="u", link="https://x.test/a")]).json()["_embedded"]["calls"]
    [form] = heard(desk)
    seen = {line.partition("=")[0] for line in golden_text.splitlines() if line.startswith("leads[")}
    assert seen <= set(form)
    prefix = "leads[note][0][note]"
    assert form[f"{prefix}[note_type]"] == "11"
    assert form[f"{prefix}[element_type]"] == "2"
    assert form[f"{prefix}[element_id]"] == str(lead)
    assert form[f"{prefix}[id]"] == str(stored["id"])
    assert datetime.fromisoformat(form[f"{prefix}[date_create]"])
    text = msgspec.json.decode(form[f"{prefix}[text]"])
    assert text == {
        "UNIQ": "u",
        "LINK": "https://x.test/a",
        "PHONE": "+79161234567",
        "DURATION": 10,
        "SRC": "tests",
    }
    assert form["account[id]"] == str(desk.account_id)


@pytest.fixture
def golden_text(request: pytest.FixtureRequest) -> str:
    return (request.config.rootpath / "tests/golden/amocrm/webhook_lead_note_call.txt").read_text()


def test_cards_are_told_as_they_are_added_and_changed(desk: Desk) -> None:
    subscribe(desk, "add_contact", "update_contact", "add_lead", "status_lead", "add_task")
    contact = desk.contact("+79161234567")
    desk.ask("PATCH", f"/contacts/{contact}", json={"name": "Пётр"})
    [lead] = desk.add("leads", {"price": 7})
    before = desk.get(f"/leads/{lead}")["status_id"]
    desk.ask("PATCH", f"/leads/{lead}", json={"status_id": 142})
    desk.post("/tasks", [{"text": "x", "complete_till": 1900000000}])
    added, updated, new_lead, moved, task = heard(desk)
    assert added["contacts[add][0][id]"] == str(contact)
    assert added["contacts[add][0][type]"] == "contact"
    assert added["contacts[add][0][custom_fields][0][values][0][value]"] == "+79161234567"
    assert updated["contacts[update][0][name]"] == "Пётр"
    assert new_lead["leads[add][0][price]"] == "7"
    assert (moved["leads[status][0][status_id]"], moved["leads[status][0][old_status_id]"]) == (
        "142",
        str(before),
    )
    assert task["task[add][0][text]"] == "x"


def test_nobody_hears_what_they_did_not_ask_for(desk: Desk) -> None:
    subscribe(desk, "note_contact")
    desk.contact("+79161234567")
    assert heard(desk) == []
    desk.post("/calls", [call()])
    assert len(heard(desk)) == 1
    answer = desk.ask("DELETE", "/webhooks", json={"destination": HOOK})
    assert (answer.status_code, answer.content) == (204, b"")
    desk.post("/calls", [call()])
    assert len(heard(desk)) == 1


def test_subscribing_again_replaces_and_lists_show_it(desk: Desk) -> None:
    subscribe(desk, "note_contact")
    subscribe(desk, "add_lead", "note_lead")
    document = desk.get("/webhooks")
    [hook] = document["_embedded"]["webhooks"]
    assert document["_total_items"] == 1
    assert hook["settings"] == ["add_lead", "note_lead"]
    assert hook["disabled"] is False


@pytest.mark.parametrize(
    "item",
    [
        *({}, [], {"destination": HOOK}, {"destination": HOOK, "settings": []}, {"settings": ["add_lead"]}),
        *({"destination": "ftp://x", "settings": ["add_lead"]}, {"destination": HOOK, "settings": ["x"]}),
        *({"destination": HOOK, "settings": [[]]}, {"destination": "", "settings": ["add_lead"]}),
        {"destination": HOOK, "settings": "add_lead"},
    ],
)
def test_a_webhook_that_cannot_be_is_refused(desk: Desk, item: Any) -> None:
    assert desk.post("/webhooks", item).status_code == 400
    assert desk.ask("GET", "/webhooks").status_code == 204


class Campaign:
    """A desk's campaign, whose calls end as a test says."""

    def __init__(self, desk: Desk) -> None:
        self.house = desk.house
        account = self.house.run(accounts.get(self.house.db, desk.account_id))
        self.tenant = Tenant(
            account, dict.fromkeys(("callo_public_key", "uis_access_token", "autocall_api_key"), "")
        )
        paid = accounts.top_up(self.house.db, desk.account_id, Decimal(1000), note="", now=self.house.clock)
        self.house.run(paid)
        self.campaign_id = self.house.campaign(self.tenant, attempts=2)

    def call(self, phone: str, outcome: Outcome, *, history: tuple[Outcome, ...] = ()) -> int:
        """A call to this number whose last attempt ended like this."""
        new = NewCall(phone=Phone(e164=phone, country="RU", trial=True))
        account_id = self.tenant.account.account_id
        self.house.run(calls.add(self.house.db, account_id, self.campaign_id, new, now=self.house.clock))
        for earlier in history:
            self.house.dial(self.tenant, self.campaign_id, earlier, attempts=2)
        return self.house.dial(self.tenant, self.campaign_id, outcome, attempts=2 if history else 1)


ANSWERED = Outcome(
    disposition=Disposition.answered, script_result=ScriptResult.choice, talk_seconds=7, choice="1"
)
BUSY = Outcome(disposition=Disposition.busy)


def test_a_campaigns_call_to_a_known_contact_becomes_a_note_by_the_same_rule(desk: Desk) -> None:
    contact = desk.contact("8 (000) 123-45-01")
    [lead] = desk.add("leads", {"_embedded": {"contacts": [{"id": contact}]}})
    call_id = Campaign(desk).call("+70001234501", ANSWERED)
    fan_out(desk.house)
    [note] = desk.get(f"/leads/{lead}/notes")["_embedded"]["notes"]
    assert note["note_type"] == "call_out"
    assert note["params"] == {
        "uniq": str(call_id),
        "duration": 7,
        "source": "Zvonar",
        "phone": "+70001234501",
        "call_result": "Сделал выбор: 1",
        "call_status": 4,
    }
    assert desk.ask("GET", f"/contacts/{contact}/notes").status_code == 204


def test_it_becomes_one_note_however_often_it_was_tried_and_fanned_out(desk: Desk) -> None:
    contact = desk.contact("+70001234502")
    Campaign(desk).call("+70001234502", ANSWERED, history=(BUSY,))
    for _ in range(3):
        fan_out(desk.house)
    [note] = desk.get(f"/contacts/{contact}/notes")["_embedded"]["notes"]
    assert note["params"]["call_status"] == 4


def test_a_call_to_somebody_unknown_leaves_no_trace(desk: Desk) -> None:
    desk.contact("+70001234503")
    Campaign(desk).call("+70001234504", ANSWERED)
    fan_out(desk.house)
    assert desk.notes() == 0


def test_a_campaigns_note_is_told_to_webhooks_too(desk: Desk) -> None:
    subscribe(desk, "note_contact")
    desk.contact("+70001234505")
    Campaign(desk).call("+70001234505", BUSY)
    fan_out(desk.house)
    [form] = heard(desk)
    assert form["contacts[note][0][note][note_type]"] == "11"


def test_an_event_that_cannot_be_recorded_steps_aside_alone_and_is_recorded_later(desk: Desk) -> None:
    """And what was to be delivered of it waits with it."""
    campaign = Campaign(desk)
    contacts = [desk.contact("+70001234506"), desk.contact("+70001234507")]
    fan_out(desk.house)
    bad = campaign.call("+70001234506", ANSWERED)
    campaign.call("+70001234507", ANSWERED)

    async def stumbling(connection: Connection, events: Sequence[Event]) -> None:
        await campaign_calls.record(connection, events)
        if any(event.call_id == bad and event.payload["state"] == "finished" for event in events):
            await connection.execute("SELECT 1 / 0")

    batch = fan_out(desk.house, stumbling)
    assert [one.error for one in batch.parked] == ["DivisionByZero"]
    assert desk.ask("GET", f"/contacts/{contacts[0]}/notes").status_code == 204
    assert len(desk.get(f"/contacts/{contacts[1]}/notes")["_embedded"]["notes"]) == 1
    desk.house.clock += timedelta(hours=2)
    fan_out(desk.house)
    assert [len(desk.get(f"/contacts/{one}/notes")["_embedded"]["notes"]) for one in contacts] == [1, 1]
