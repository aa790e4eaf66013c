"""Do the four lists of results answer with the reference's row, whatever became of the calls?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from zvonar.core.campaign import CampaignType
from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.core.script import Step
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.store import results

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

ADD = PREFIXES[1] + "/phones/call/"
PATH = PREFIXES[0] + "/phones/call_by_id/"
BUSY = Outcome(disposition=Disposition.busy)
PRESSED = Outcome(
    disposition=Disposition.answered, script_result=ScriptResult.choice, talk_seconds=7, choice="1"
)

# The keys of every row: those of one sample, with what only the others have put where they have it.
ROW = [
    *("phone", "status_display", "recorded_audio", "status", "dial_status_display", "call_status"),
    *("call_status_display", "dial_status", "call_id", "user_choice", "updated", "user_choice_display"),
    *("action_type", "created", "button_num", "completed", "duration", "audioclip_id", "ivr_data"),
    *("transcribing", "cost", "currency"),
]

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
    assert list(row) == [*ROW, "attempts"]
    assert [name for name in row if name in sample] == list(sample)
    for name in row.keys() & sample.keys() - LATER - KNOWN - {"ivr_data"}:
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
    assert row["call_status"] == "user"
    assert row["status_display"] == sample["status_display"]
    assert row["call_status_display"] == "Custom IVR (Button 1)", "as the sample of all_calls"
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

    monkeypatch.setattr(results, "by_ids", broken)
    response = ask(house, tenant, call_id=1)
    assert response.status_code == 503
    assert response.json() == {"status": "error", "data": "The service is temporarily unavailable."}
    printed = capsys.readouterr()
    assert "RuntimeError" in printed.out + printed.err
    assert "70001230001" not in printed.out + printed.err


def get(house: House, tenant: Tenant, path: str, **fields: Any) -> httpx.Response:
    return house.send("GET", f"{PREFIXES[0]}/phones/{path}/", params={"public_key": tenant.callo, **fields})


@pytest.mark.parametrize("name", ["all_calls", "calls_by_phone", "call_by_id"])
def test_every_list_has_one_row_shape_that_holds_every_sample(
    house: House, tenant: Tenant, golden: Callable[[str], Any], name: str
) -> None:
    campaign_id = house.campaign(tenant)
    call_id = add(house, tenant, campaign_id)
    house.dial(tenant, campaign_id, PRESSED)
    asked = {"call_by_id": {"call_id": call_id}}.get(name, {"campaign_id": campaign_id})
    if name == "calls_by_phone":
        asked["phone"] = "+70001230001"
    [row] = get(house, tenant, name, **asked).json()
    [sample] = golden(f"{name}.json")
    assert list(row) == ROW
    assert [key for key in row if key in sample] == [key for key in sample if key != "attempts"]
    for key in ("status", "status_display", "call_status", "call_status_display", "button_num"):
        assert row[key] == sample.get(key, row[key])


def test_all_calls_of_a_number_come_newest_first(
    house: House, tenant: Tenant, golden: Callable[[str], Any]
) -> None:
    campaign_id = house.campaign(tenant)
    ids = [add(house, tenant, campaign_id) for _ in range(3)]
    other = add(house, tenant, campaign_id, "+70001230002")
    add(house, tenant, house.campaign(tenant))
    asked = {"campaign_id": campaign_id}
    rows = get(house, tenant, "calls_by_phone", **asked, phone="70001230001").json()
    assert [row["call_id"] for row in rows] == ids[::-1]
    both = get(house, tenant, "calls_by_phone", **asked, phones="+70001230001, 0001230002,abc").json()
    assert [row["call_id"] for row in both] == [other, *ids[::-1]]
    raw = f"?public_key={quote(tenant.callo)}&campaign_id={campaign_id}&phones=+70001230002,+70001230001"
    unencoded = house.send("GET", f"{PREFIXES[0]}/phones/calls_by_phone/{raw}")
    assert unencoded.json() == both
    # Some clients encode twice, and forms encode blanks as pluses.
    for written in ("phones=%252B70001230002,%252B70001230001", "phones=%2B7+000+1230002,+%2B7+000+1230001"):
        query = f"?public_key={quote(tenant.callo)}&campaign_id={campaign_id}&{written}"
        assert house.send("GET", f"{PREFIXES[0]}/phones/calls_by_phone/{query}").json() == both
    for written in ("phone=%252B70001230001", "phone=%2B7+000+123-00-01"):
        query = f"?public_key={quote(tenant.callo)}&campaign_id={campaign_id}&{written}"
        assert house.send("GET", f"{PREFIXES[0]}/phones/calls_by_phone/{query}").json() == rows
    missing = get(house, tenant, "calls_by_phone", **asked, phone="+380123456789")
    assert missing.status_code == 400
    assert missing.json() == golden("calls_by_phone_not_found.json")
    nonsense = get(house, tenant, "calls_by_phone", **asked, phone="abc").json()
    assert nonsense["data"] == "Phone by val=abc not found"
    assert get(house, tenant, "calls_by_phone", **asked, phones="+380123456789").json() == []


def test_a_call_is_found_by_its_label_and_says_it(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    form = {"public_key": tenant.callo, "campaign_id": campaign_id}
    for number, label in enumerate(["call_label1", "метка_2", "3345"]):
        house.send("POST", ADD, data={**form, "phone": f"+7000123000{number}", "label": label})
    asked = {"campaign_id": campaign_id}
    [row] = get(house, tenant, "calls_by_label", **asked, label="метка_2").json()
    assert list(row) == [*ROW, "label"]
    assert row["label"] == "метка_2"
    rows = get(house, tenant, "calls_by_label", **asked, labels="3345, nobody, call_label1", expand=1).json()
    assert [(row["label"], row["phone"]) for row in rows] == [
        ("3345", "+70001230002"),
        ("call_label1", "+70001230000"),
    ]
    assert [list(row) for row in rows] == [[*ROW, "attempts", "label"]] * 2
    missing = get(house, tenant, "calls_by_label", **asked, label="nobody").json()
    assert missing == {"status": "error", "data": "Call by label=nobody dnot found"}
    assert (
        get(house, tenant, "calls_by_label", campaign_id=house.campaign(tenant), labels="3345").json() == []
    )


def test_a_page_has_a_thousand_calls_and_past_the_last_there_is_an_empty_one(
    house: House, tenant: Tenant
) -> None:
    campaign_id = house.campaign(tenant)
    first = add(house, tenant, campaign_id)
    fill = """
        INSERT INTO calls (account_id, call_id, campaign_id, ordinal, phone, country, due_at, created_at, updated_at)
        SELECT account_id, new_call_id(created_at), campaign_id, n, phone, country, due_at,
            created_at + make_interval(secs => n), updated_at
        FROM calls, generate_series(2, 2001) AS n WHERE call_id = %s"""
    house.run(house.db.execute(fill, [first]))
    house.run(
        house.db.execute("UPDATE campaigns SET next_ordinal = 2001 WHERE campaign_id = %s", [campaign_id])
    )
    pages = [get(house, tenant, "all_calls", campaign_id=campaign_id, page=n).json() for n in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [1000, 1000, 1, 0]
    rows = [row for page in pages for row in page]
    assert len({row["call_id"] for row in rows}) == 2001
    assert [row["created"] for row in rows] == sorted((row["created"] for row in rows), reverse=True)
    assert rows[-1]["call_id"] == first
    assert get(house, tenant, "all_calls", campaign_id=campaign_id).json() == pages[0]
    # A filter that all pass changes nothing.
    same = [
        get(house, tenant, "all_calls", campaign_id=campaign_id, page=n, call_status="in_process").json()
        for n in (1, 2, 3, 4)
    ]
    assert same == pages
    assert get(house, tenant, "all_calls", campaign_id=campaign_id, page=2**50).json() == []


def test_all_calls_are_filtered_by_status_or_by_what_was_pressed(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    phones = [f"+7000123000{n}" for n in range(4)]
    ids = [add(house, tenant, campaign_id, phone) for phone in phones]
    two = Outcome(
        disposition=Disposition.answered, script_result=ScriptResult.choice, talk_seconds=3, choice="2"
    )
    house.dial(tenant, campaign_id, PRESSED, status_name="Да")
    house.dial(tenant, campaign_id, two)
    house.dial(tenant, campaign_id, BUSY)

    def asked(status: str) -> list[int]:
        rows = get(house, tenant, "all_calls", campaign_id=campaign_id, call_status=status).json()
        return [row["call_id"] for row in rows]

    assert asked("user") == [ids[1], ids[0]]
    assert asked("1") == asked("Да") == asked("да") == [ids[0]]
    assert asked("2") == [ids[1]]
    assert asked("attempts_exc") == [ids[2]]
    assert asked("in_process") == [ids[3]]
    assert asked("nothing_like_it") == asked("compl_finished") == []


@pytest.mark.usefixtures("travelling")
@pytest.mark.parametrize("path", ["all_calls", "calls_by_phone"])
def test_four_dates_filter_in_both_formats_by_the_accounts_clock(
    house: House, tenant: Tenant, path: str
) -> None:
    campaign_id = house.campaign(tenant)
    old = add(house, tenant, campaign_id)
    created = house.clock
    house.clock += timedelta(days=2)
    new = add(house, tenant, campaign_id)
    house.dial(tenant, campaign_id, BUSY)  # the old one: updated now
    local = created + timedelta(hours=3)  # Moscow
    second, day = f"{local:%Y-%m-%d %H:%M:%S}", f"{local:%Y-%m-%d}"

    def asked(**dates: str) -> list[int]:
        rows = get(house, tenant, path, campaign_id=campaign_id, **numbers, **dates).json()
        return [row["call_id"] for row in rows]

    numbers = {"phones": "+70001230001"} if path == "calls_by_phone" else {}
    assert asked() == [new, old]
    for moment in (second, day, f"{created:%Y-%m-%dT%H:%M:%S}Z"):
        assert asked(to_created_date=moment) == [old], "the end means all of that second or day"
        assert asked(from_created_date=moment) == [new, old]
        assert asked(from_created_date=moment, to_created_date=moment) == [old]
        assert asked(to_updated_date=moment) == []
        assert asked(from_updated_date=moment) == [new, old]
    assert asked(from_created_date=f"{local + timedelta(days=1):%Y-%m-%d}") == [new]
    assert asked(from_created_date=f"{local + timedelta(seconds=1):%Y-%m-%d %H:%M:%S}") == [new]
    assert asked(from_updated_date="2999-01-01") == []


def test_pressed_keys_are_told_as_the_sources_tell_them(
    house: House, tenant: Tenant, golden: Callable[[str], Any]
) -> None:
    campaign_id = house.campaign(tenant)
    call_id = add(house, tenant, campaign_id)
    steps = (Step(node="1", key=None), Step(node="1", key="1", status_name="Да"))
    house.dial(tenant, campaign_id, PRESSED, status_name="Да", steps=steps)
    [row] = ask(house, tenant, call_id=call_id).json()
    [element] = row["ivr_data"]
    assert list(element) == list(golden("ivr_data_element.json"))
    assert element == {**golden("ivr_data_element.json"), "status_name": "Да"}
    assert row["action_type"] is None
    house.dial(tenant, campaign_id, PRESSED, steps=(Step(node="gone", key="7"),)) if add(
        house, tenant, campaign_id
    ) else None
    [row, _] = get(house, tenant, "all_calls", campaign_id=campaign_id).json()
    assert (row["ivr_data"][0]["button_num"], row["action_type"]) == (7, None), "of a script that has changed"


def test_a_call_whose_first_attempt_is_on_the_line_has_no_dial_status(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    call_id = add(house, tenant, campaign_id)
    for state in ("dialing", "talking"):
        house.run(house.db.execute("UPDATE calls SET state = %s WHERE call_id = %s", [state, call_id]))
        [row] = ask(house, tenant, call_id=call_id).json()
        assert (row["status"], row["dial_status"], row["dial_status_display"]) == ("in_process", None, None)
    house.run(house.db.execute("UPDATE calls SET state = 'queued' WHERE call_id = %s", [call_id]))


def test_attempts_of_calls_to_us_are_incoming(house: House, tenant: Tenant) -> None:
    for kind, call_type in (
        (CampaignType.pincode_incoming, "incoming"),
        (CampaignType.pincode, "outgoing"),
    ):
        campaign_id = house.campaign(tenant, type=kind)
        form = {"public_key": tenant.callo, "phone": "+70001230001", "campaign_id": campaign_id}
        house.send("POST", PREFIXES[0] + "/phones/confirm/", data=form)
        call_id = house.dial(tenant, campaign_id, BUSY)
        [row] = ask(house, tenant, call_id=call_id, expand=1).json()
        assert [attempt["call_type"] for attempt in row["attempts"]] == [call_type]


@pytest.mark.parametrize(
    ("path", "fields", "field", "error"),
    [
        ("calls_by_phone", {"phone": "1"}, "campaign_id", "This field is required."),
        ("calls_by_phone", {"campaign_id": "1"}, "phone", "This field is required."),
        (
            "calls_by_phone",
            {"campaign_id": "1", "phone": "1", "phones": "2"},
            "__all__",
            "Send either phone or phones.",
        ),
        (
            "calls_by_phone",
            {"campaign_id": "1", "phones": ",".join("1" * 201)},
            "phones",
            "Send at most 200 values.",
        ),
        (
            "calls_by_phone",
            {"campaign_id": "1", "phone": "1", "from_created_date": "yesterday"},
            "from_created_date",
            "Enter a valid date/time.",
        ),
        ("calls_by_label", {"label": "1"}, "campaign_id", "This field is required."),
        ("calls_by_label", {"campaign_id": "1"}, "label", "This field is required."),
        (
            "calls_by_label",
            {"campaign_id": "1", "label": "1", "labels": "2"},
            "__all__",
            "Send either label or labels.",
        ),
        (
            "calls_by_label",
            {"campaign_id": "1", "labels": ",".join("1" * 201)},
            "labels",
            "Send at most 200 values.",
        ),
        ("all_calls", {}, "campaign_id", "This field is required."),
        (
            "all_calls",
            {"campaign_id": "1", "page": "0"},
            "page",
            "Ensure this value is greater than or equal to 1.",
        ),
        (
            "all_calls",
            {"campaign_id": "1", "to_updated_date": "9999-12-31"},
            "to_updated_date",
            "Enter a valid date/time.",
        ),
        (
            "all_calls",
            {"campaign_id": "1", "to_updated_date": "2020-13-01"},
            "to_updated_date",
            "Enter a valid date/time.",
        ),
    ],
)
def test_a_wrong_question_about_a_campaign_is_a_form_error(
    house: House, tenant: Tenant, path: str, fields: dict[str, str], field: str, error: str
) -> None:
    response = get(house, tenant, path, **fields)
    assert response.status_code == 400
    assert response.json()["data"] == f"Form isn't valid: * {field}\n  * {error}"


@pytest.mark.parametrize("path", ["calls_by_phone", "calls_by_label", "all_calls"])
def test_a_strangers_campaign_is_no_campaign(house: House, tenant: Tenant, path: str) -> None:
    stranger = house.tenant()
    campaign_id = house.campaign(stranger)
    add(house, stranger, campaign_id)
    response = get(house, tenant, path, campaign_id=campaign_id, phones="+70001230001", labels="x")
    assert response.json() == {"status": "error", "data": f"Campaign by id={campaign_id} don't found"}
