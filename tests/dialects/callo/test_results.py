"""Does `phones/call_by_id/` answer with the reference's row, whatever became of the call?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.store import calls

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

ADD = PREFIXES[1] + "/phones/call/"
PATH = PREFIXES[0] + "/phones/call_by_id/"
BUSY = Outcome(disposition=Disposition.busy)
PRESSED = Outcome(
    disposition=Disposition.answered, script_result=ScriptResult.choice, talk_seconds=7, choice="1"
)

# What later issues fill: recordings, actions, transcripts.
LATER = {"recorded_audio", "action_type", "transcribing"}
# Null in the sample of a finished call; we know them.
KNOWN = {"dial_status", "dial_status_display", "user_choice"}


def add(house: House, tenant: Tenant, campaign_id: int, phone: str = "+70001230001") -> int:
    form = {"public_key": tenant.callo, "phone": phone, "campaign_id": campaign_id}
    answer = house.send("POST", ADD, data=form)
    assert answer.status_code == 200, answer.text
    call_id = answer.json()["call_id"]
    assert isinstance(call_id, int)
    return call_id


def ask(house: House, tenant: Tenant, **fields: Any) -> httpx.Response:
    return house.send("GET", PATH, params={"public_key": tenant.callo, **fields})


def test_a_finished_call_is_the_samples_row(
    house: House, tenant: Tenant, golden: Callable[[str], Any]
) -> None:
    campaign_id = house.campaign(tenant, attempts=2)
    call_id = add(house, tenant, campaign_id)
    house.dial(tenant, campaign_id, BUSY, attempts=2)
    assert house.dial(tenant, campaign_id, PRESSED, attempts=2, history=(BUSY,), status_name="Да") == call_id
    [sample] = golden("call_by_id.json")
    [row] = ask(house, tenant, call_id=call_id, expand="1").json()
    assert list(row) == list(sample)
    for name in row.keys() - LATER - KNOWN:
        kinds = (int, float) if name == "duration" else type(sample[name])
        assert isinstance(row[name], kinds), name
    [first, second] = row.pop("attempts")
    [sample_attempt] = sample["attempts"]
    assert list(first) == list(second) == list(sample_attempt)
    for attempt in (first, second):
        for name in attempt.keys() - LATER:
            kinds = (int, float) if name == "cost" else type(sample_attempt[name])
            assert isinstance(attempt[name], kinds), name
    assert row["status"] == sample["status"] == "user"
    assert row["status_display"] == sample["status_display"]
    assert row["button_num"] == sample["button_num"] == 1
    assert (row["user_choice"], row["user_choice_display"]) == ("Да", "Да")
    assert (row["duration"], row["cost"], row["currency"]) == (7, "0.21", "RUB")
    assert (row["dial_status"], row["dial_status_display"]) == (5, "The subscriber answered")
    assert (first["status"], first["dial_status"], first["billsec"], first["cost"]) == (
        "attempts_exc",
        4,
        0,
        0,
    )
    assert (second["status"], second["dial_status"], second["billsec"], second["cost"]) == (
        "user",
        5,
        7,
        0.21,
    )
    assert (first["attempt_num"], second["attempt_num"]) == (1, 2)
    assert row["created"] <= first["created"] < second["created"] < row["completed"] == row["updated"]


def test_a_fresh_call_has_no_nulls_where_clients_expect_none(house: House, tenant: Tenant) -> None:
    call_id = add(house, tenant, house.campaign(tenant))
    [row] = ask(house, tenant, call_id=call_id, expand="1").json()
    assert row["attempts"] == []
    assert (row["call_id"], row["phone"]) == (call_id, "+70001230001")
    assert (row["status"], row["status_display"]) == ("in_process", "In process")
    assert (row["dial_status"], row["completed"], row["button_num"]) == (0, None, None)
    assert (row["duration"], row["cost"], row["transcribing"], row["ivr_data"]) == (0, "0.00", [], None)
    assert row["created"].endswith("Z")


def test_a_call_between_attempts_is_in_process_with_its_last_dial_status(
    house: House, tenant: Tenant
) -> None:
    campaign_id = house.campaign(tenant, attempts=2)
    call_id = add(house, tenant, campaign_id)
    house.dial(tenant, campaign_id, BUSY, attempts=2)
    [row] = ask(house, tenant, call_id=call_id, expand="1").json()
    assert (row["status"], row["dial_status"]) == ("in_process", 4)
    assert row["attempts"][0]["status"] == "attempts_exc"


def test_displays_follow_the_clients_language(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    call_id = add(house, tenant, campaign_id)
    house.dial(tenant, campaign_id, PRESSED)
    response = house.send(
        "GET",
        PATH,
        params={"public_key": tenant.callo, "call_id": call_id},
        headers={"accept-language": "ru"},
    )
    [row] = response.json()
    assert response.headers["content-language"] == "ru"
    assert row["status_display"] == "Пользовательский IVR"
    assert row["dial_status_display"] == "Абонент ответил"
    assert (row["user_choice"], row["user_choice_display"]) == (None, "Кнопка 1")
    assert "attempts" not in row


def test_several_calls_come_in_the_order_asked(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    ids = [add(house, tenant, campaign_id, f"+7000123000{n}") for n in range(3)]
    asked = [ids[2], 7, ids[0], ids[2], 10**30]
    rows = ask(house, tenant, call_ids=", ".join(map(str, asked)) + ",").json()
    assert [row["call_id"] for row in rows] == [ids[2], ids[0]]
    assert ask(house, tenant, call_ids="1,2").json() == []


def test_a_missing_call_reads_as_the_sample(
    house: House, tenant: Tenant, golden: Callable[[str], Any]
) -> None:
    response = ask(house, tenant, call_id=123456789)
    assert response.status_code == 400
    assert response.json() == golden("call_by_id_not_found.json")
    stranger = house.tenant()
    foreign = add(house, stranger, house.campaign(stranger))
    assert ask(house, tenant, call_id=foreign).json()["data"] == f"Call by ats_call_id={foreign} dnot found"


@pytest.mark.parametrize(
    ("fields", "field", "error"),
    [
        ({}, "call_id", "This field is required."),
        ({"call_id": "1", "call_ids": "2"}, "__all__", "Send either call_id or call_ids."),
        ({"call_id": "one"}, "call_id", "Enter a whole number."),
        ({"call_ids": "1,two"}, "call_ids", "Enter a whole number."),
        ({"call_ids": ",".join(["1"] * 201)}, "call_ids", "Send at most 200 values."),
    ],
)
def test_a_wrong_question_is_a_form_error(
    house: House, tenant: Tenant, fields: dict[str, str], field: str, error: str
) -> None:
    response = ask(house, tenant, **fields)
    assert response.status_code == 400
    assert response.json()["data"] == f"Form isn't valid: * {field}\n  * {error}"


def test_two_hundred_calls_may_be_asked_for(house: House, tenant: Tenant) -> None:
    assert ask(house, tenant, call_ids=",".join(map(str, range(10**14, 10**14 + 200)))).json() == []


def test_our_own_failure_is_told_without_its_text(
    house: House, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("+70001230001 is in the text of this")

    monkeypatch.setattr(calls, "by_ids", broken)
    response = ask(house, tenant, call_id=1)
    assert response.status_code == 503
    assert response.json() == {"status": "error", "data": "The service is temporarily unavailable."}
    printed = capsys.readouterr()
    assert "RuntimeError" in printed.out + printed.err
    assert "70001230001" not in printed.out + printed.err
