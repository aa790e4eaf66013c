"""Are lists of numbers taken as the reference says, and is what comes of them told?"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zvonar.core.campaign import CampaignType
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.intake import load
from zvonar.store import calls, campaigns, phone_lists, stoplist

from ...intake.books import bomb, xlsx

if TYPE_CHECKING:
    import httpx
    from tests.dialects.conftest import House, Tenant

APPEND = PREFIXES[0] + "/phones/append/calls/"
IDS = PREFIXES[1] + "/phonelists/call_ids_by_phonelist/"
PROGRESS = PREFIXES[0] + "/phonelists/progress/"
REJECTED = PREFIXES[0] + "/phonelists/rejected/"
NUMBERS = "+79161234567\n+79161234568\n"


def send(house: House, tenant: Tenant, campaign_id: object, **parts: Any) -> httpx.Response:
    """A multipart form; a tuple is a file part."""
    fields = {"public_key": tenant.callo, "campaign_id": str(campaign_id), **parts}
    files = {
        name: value if isinstance(value, tuple) else (None, str(value)) for name, value in fields.items()
    }
    return house.send("POST", APPEND, files=files)


def accepted(response: httpx.Response) -> dict[str, int]:
    assert response.status_code == 200, response.text
    return msgspec.convert(response.json(), dict[str, int])


def work_off(house: House, tenant: Tenant, phone_list_id: int) -> None:
    work = load.work(
        house.db, tenant.account.account_id, phone_list_id, stop=asyncio.Event(), clock=lambda: house.clock
    )
    assert house.run(work) is load.Ended.finished


def loaded(house: House, tenant: Tenant, campaign_id: int) -> list[calls.Call]:
    async def every() -> list[calls.Call]:
        pages = calls.each(house.db, tenant.account.account_id, campaign_id)
        return [call async for page in pages for call in page]

    return house.run(every())


def table(house: House, path: str, tenant: Tenant, **query: object) -> list[list[str]]:
    response = house.send("GET", path, params={"public_key": tenant.callo, **query})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.reader(io.StringIO(response.text)))


def test_the_answer_is_the_samples(house: House, tenant: Tenant, golden: Callable[[str], Any]) -> None:
    campaign_id = house.campaign(tenant)
    answer = accepted(send(house, tenant, campaign_id, phones=NUMBERS))
    assert list(answer) == list(golden("append_calls.json"))
    assert answer["campaign_id"] == campaign_id
    assert answer["calls_count"] == 2
    assert len(str(answer["phonelist_id"])) == 12


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pasted_numbers_come_in_the_query_or_urlencoded_with_any_plus(
    house: House, tenant: Tenant, method: str
) -> None:
    campaign_id = house.campaign(tenant)
    form = f"public_key={quote(tenant.callo)}&campaign_id={campaign_id}&phones=+79161234567%0A%2B79161234568"
    if method == "GET":
        response = house.send("GET", f"{APPEND}?{form}")
    else:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        response = house.send("POST", APPEND, content=form, headers=headers)
    answer = accepted(response)
    work_off(house, tenant, answer["phonelist_id"])
    assert [call.phone for call in loaded(house, tenant, campaign_id)] == ["+79161234567", "+79161234568"]


def test_a_list_may_come_as_a_file_part_of_either_name(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    for field in ("phones", "phones_file"):
        part = ("numbers.csv", NUMBERS.encode("utf-16"), "text/csv")
        answer = accepted(send(house, tenant, campaign_id, **{field: part}))
        work_off(house, tenant, answer["phonelist_id"])
    assert len(loaded(house, tenant, campaign_id)) == 4


def test_texts_and_labels_come_from_their_columns(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant, script=None)
    pasted = (
        '+79161234567,"Привет, Иван",a_1\n+79161234568,"Пока",\n+79161234569,,b\n+79161234560,x,not-a-word\n'
    )
    answer = accepted(
        send(house, tenant, campaign_id, phones=pasted, text_from_column=1, label_from_column=2)
    )
    assert answer["calls_count"] == 2
    work_off(house, tenant, answer["phonelist_id"])
    assert [(call.phone, call.label) for call in loaded(house, tenant, campaign_id)] == [
        ("+79161234567", "a_1"),
        ("+79161234568", None),
    ]
    rows = table(house, REJECTED, tenant, phonelist_id=answer["phonelist_id"])
    assert [row[:2] for row in rows] == [["line", "reason"], ["3", "text_missing"], ["4", "label_invalid"]]


def test_a_workbook_is_read_as_its_first_sheet(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    book = xlsx(
        [["Телефон", "Имя"], [79161234567, "Иван"], [None, None], ["8 (916) 123-45-68", "Пётр; Анна"]]
    )
    answer = accepted(send(house, tenant, campaign_id, phones_file=("list.xlsx", book), text_from_column=1))
    assert answer["calls_count"] == 2
    work_off(house, tenant, answer["phonelist_id"])
    assert [call.phone for call in loaded(house, tenant, campaign_id)] == ["+79161234567", "+79161234568"]


def test_duplicates_and_stopped_numbers_are_left_out_and_told(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    house.run(
        stoplist.put(
            house.db, tenant.account.account_id, "+79161234568", reason=None, until=None, now=house.clock
        )
    )
    pasted = "+79161234567\n8 916 123-45-67\n+79161234568\nабв\n+79161234569"
    answer = accepted(send(house, tenant, campaign_id, phones=pasted))
    assert answer["calls_count"] == 2
    work_off(house, tenant, answer["phonelist_id"])
    assert [call.phone for call in loaded(house, tenant, campaign_id)] == ["+79161234567", "+79161234569"]
    _, *rows = table(house, REJECTED, tenant, phonelist_id=answer["phonelist_id"])
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("2", "duplicate", "8 916 123-45-67"),
        ("3", "stopped", "+79161234568"),
        ("4", "phone_invalid", "абв"),
    ]
    progress = house.send(
        "GET", PROGRESS, params={"public_key": tenant.callo, "phonelist_id": answer["phonelist_id"]}
    ).json()
    assert [
        progress[key] for key in ("status", "rows_count", "rows_done", "calls_count", "rejected_count")
    ] == [*("loaded", 5, 5, 2, 3)]


def test_a_campaign_may_allow_duplicates(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    account_id = tenant.account.account_id
    campaign = house.run(campaigns.get(house.db, account_id, campaign_id))
    changed = msgspec.structs.replace(
        campaign, settings=msgspec.structs.replace(campaign.settings, allow_duplicates=True)
    )
    house.run(campaigns.change(house.db, changed, now=house.clock))
    answer = accepted(send(house, tenant, campaign_id, phones=NUMBERS + NUMBERS))
    assert answer["calls_count"] == 4
    work_off(house, tenant, answer["phonelist_id"])
    assert len(loaded(house, tenant, campaign_id)) == 4


def test_a_possible_number_is_taken_wherever_it_leads(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    answer = accepted(send(house, tenant, campaign_id, phones="+4915112345678\n+79161234567"))
    assert answer["calls_count"] == 2


def test_call_ids_come_newest_first(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    answer = accepted(send(house, tenant, campaign_id, phones=NUMBERS))
    query = {"campaign_id": campaign_id, "phonelist_id": answer["phonelist_id"]}
    assert table(house, IDS, tenant, **query) == [["phoneval", "ats_call_id", "created"]]
    work_off(house, tenant, answer["phonelist_id"])
    first, second = loaded(house, tenant, campaign_id)
    created = house.clock.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert table(house, IDS, tenant, **query)[1:] == [
        [second.phone, str(second.call_id), created],
        [first.phone, str(first.call_id), created],
    ]
    other = house.campaign(tenant)
    assert table(house, IDS, tenant, **{**query, "campaign_id": other})[1:] == []


@pytest.mark.parametrize("path", [IDS, PROGRESS, REJECTED])
def test_nobody_sees_a_list_of_another_account(house: House, tenant: Tenant, path: str) -> None:
    stranger = house.tenant()
    mine = house.campaign(stranger)
    answer = accepted(send(house, tenant, house.campaign(tenant), phones=NUMBERS))
    query = {"public_key": stranger.callo, "campaign_id": mine, "phonelist_id": answer["phonelist_id"]}
    response = house.send("GET", path, params=query)
    assert response.status_code == 400
    assert response.json()["data"] == f"Phonelist by id={answer['phonelist_id']} don't found"


@pytest.mark.parametrize("kind", ["pincode", "pincode_short", "tellcode", "flashcall"])
def test_campaigns_of_these_types_take_no_lists(
    house: House, tenant: Tenant, kind: str, golden: Callable[[str], Any]
) -> None:
    campaign_id = house.campaign(tenant, type=CampaignType(kind))
    response = send(house, tenant, campaign_id, phones=NUMBERS)
    assert response.status_code == 400
    assert response.json() == golden("form_invalid_type.json")


FORMS = {
    "nothing": ({}, "phones", "This field is required."),
    "blank": ({"phones": " \n\n "}, "phones", "This field is required."),
    "both": (
        {"phones": NUMBERS, "phones_file": ("a.csv", NUMBERS)},
        "__all__",
        "Send either phones or phones_file.",
    ),
    "empty file": ({"phones_file": ("a.csv", b"")}, "phones_file", "The submitted file is empty."),
    "picture": (
        {"phones_file": ("a.csv", b"\xff\xd8\xff\xe0" + bytes(99))},
        "phones_file",
        "Upload a text, CSV, XLSX or XLS file with a phone number in each row.",
    ),
    "broken workbook": (
        {"phones_file": ("a.xlsx", xlsx([["+79161234567"]])[:-40])},
        "phones_file",
        "Upload a text, CSV, XLSX or XLS file with a phone number in each row.",
    ),
    "bomb": ({"phones_file": ("a.xlsx", bomb())}, "phones_file", "The list is too large."),
    "no numbers": (
        {"phones": "abc\ndef"},
        "phones",
        "The list has no phone number that can be called.",
    ),
    "no column": (
        {"phones": '+79161234567,"x"', "text_from_column": "2"},
        "text_from_column",
        "The list has no such column.",
    ),
    "no number": (
        {"phones": NUMBERS, "label_from_column": "N"},
        "label_from_column",
        "Enter a whole number.",
    ),
    "the phone's": (
        {"phones": NUMBERS, "text_from_column": "0"},
        "text_from_column",
        "Ensure this value is greater than or equal to 1.",
    ),
}


@pytest.mark.parametrize("case", FORMS)
def test_what_is_wrong_with_a_list_is_said_of_its_field(house: House, tenant: Tenant, case: str) -> None:
    parts, field, said = FORMS[case]
    campaign_id = house.campaign(tenant)
    response = send(house, tenant, campaign_id, **parts)
    assert response.status_code == 400, response.text
    assert response.json() == {"status": "error", "data": f"Form isn't valid: * {field}\n  * {said}"}
    count = "SELECT count(*) FROM phone_lists WHERE account_id = %s"
    assert house.run(house.db.value(count, (tenant.account.account_id,))) == 0


def test_a_campaign_without_words_needs_a_column_of_them(house: House, tenant: Tenant) -> None:
    response = send(house, tenant, house.campaign(tenant, script=None), phones=NUMBERS)
    assert response.json()["data"] == "Form isn't valid: * text_from_column\n  * This field is required."


def test_a_list_is_in_the_database_with_its_job_before_the_answer(house: House, tenant: Tenant) -> None:
    answer = accepted(send(house, tenant, house.campaign(tenant), phones=NUMBERS))
    found = house.run(phone_lists.get(house.db, tenant.account.account_id, answer["phonelist_id"]))
    assert found.state == "accepted"
    job = "SELECT count(*) FROM procrastinate_jobs WHERE args ->> 'phone_list_id' = %s AND status = 'todo'"
    assert house.run(house.db.value(job, (str(answer["phonelist_id"]),))) == 1


def test_a_body_beyond_all_bounds_is_refused_with_the_dialects_shape(house: House, tenant: Tenant) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x", "content-length": "200000000"}
    response = house.send("POST", APPEND, content=b"--x--", headers=headers)
    assert response.status_code == 413
    assert response.json()["status"] == "error"


LIST = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [
            NUMBERS.encode(),
            b"+79161234567;x;y",
            xlsx([[79161234567]])[:200],
            b'"',
            b"\0",
            b"+79161234567,\xff",
        ]
    ),
)


@pytest.fixture(scope="module")
def known(house: House) -> tuple[str, int, Tenant]:
    tenant = house.tenant()
    return tenant.callo, house.campaign(tenant), tenant


@given(
    content=LIST,
    field=st.sampled_from(["phones", "phones_file"]),
    name=st.sampled_from([None, "a.csv", "ы.xlsx", '"']),
    column=st.sampled_from(["", "1", "0", "255", "256", "-1", "x", "9" * 50]),
    cut=st.integers(0, 60),
)
@settings(max_examples=120, deadline=None)
def test_any_list_gets_a_shaped_answer_and_an_error_changes_nothing(
    house: House,
    known: tuple[str, int, Tenant],
    content: bytes,
    field: str,
    name: str | None,
    column: str,
    cut: int,
) -> None:
    key, campaign_id, tenant = known
    sent = f'; filename="{name}"' if name is not None else ""
    parts = [
        ("public_key", key.encode(), ""),
        ("campaign_id", str(campaign_id).encode(), ""),
        ("text_from_column", column.encode(), ""),
        (field, content, sent),
    ]
    body = b"".join(
        f'--x\r\nContent-Disposition: form-data; name="{part}"{more}\r\n\r\n'.encode() + value + b"\r\n"
        for part, value, more in parts
    )
    body = (body + b"--x--\r\n")[: -cut or None]
    count = "SELECT count(*) FROM phone_lists WHERE account_id = %s"
    before = house.run(house.db.value(count, (tenant.account.account_id,)))
    picture = house.picture()
    headers = {"content-type": "multipart/form-data; boundary=x"}
    response = house.send("POST", APPEND, content=body, headers=headers)
    after = house.run(house.db.value(count, (tenant.account.account_id,)))
    if response.status_code == 200:
        assert list(response.json()) == ["campaign_id", "calls_count", "phonelist_id"]
        work_off(house, tenant, response.json()["phonelist_id"])
    else:
        assert response.status_code == 400, response.text
        assert list(response.json()) == ["status", "data"]
        assert house.picture() == picture
    assert after - before == (response.status_code == 200)


@given(
    path=st.sampled_from([IDS, PROGRESS, REJECTED]),
    campaign=st.none() | st.text(max_size=20) | st.integers().map(str),
    phone_list=st.none() | st.text(max_size=20) | st.integers().map(str),
)
@settings(max_examples=100, deadline=None)
def test_any_question_about_a_list_gets_a_shaped_answer(
    house: House, known: tuple[str, int, Tenant], path: str, campaign: str | None, phone_list: str | None
) -> None:
    asked = {"public_key": known[0], "campaign_id": campaign or str(known[1]), "phonelist_id": phone_list}
    query = "&".join(
        f"{name}={quote(value.encode('utf-8', 'surrogatepass'))}"
        for name, value in asked.items()
        if value is not None
    )
    picture = house.picture()
    response = house.send("GET", f"{path}?{query}")
    assert response.status_code == 400, response.text
    assert list(response.json()) == ["status", "data"]
    assert house.picture() == picture
