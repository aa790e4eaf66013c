"""Do lists take what people have, tell what they do not take, and make calls with each contact's own words?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ...intake.books import xlsx
from .client import TEXT, Client

if TYPE_CHECKING:
    from tests.dialects.conftest import House

CSV = (
    "Телефон;Имя;Дата;Часовой пояс\n"
    "+70001230001;Анна;1 мая;Asia/Almaty\n"
    "8 000 123-00-02;Пётр;;\n"
    "112;Служба;;\n"
    "+70001230003;Олег;;Nowhere/Land\n"
    "+33612345678;Жан;;\n"
)


def sheet() -> bytes:
    return xlsx([["phone", "name"], ["+70001230001", "Анна"], [70001230002, "Пётр"]])


def upload(client: Client, data: bytes, file: str = "people.csv", path: str = "/lists", **fields: Any) -> Any:
    return client.send("POST", path, files={"file": (file, data)}, data=fields)


def test_a_csv_becomes_contacts_with_variables_and_zones(client: Client) -> None:
    made = upload(client, CSV.encode("cp1251"), file="люди.csv").json()
    assert (made["name"], made["contacts_count"], made["rejected_count"]) == ("люди.csv", 2, 3)
    second, first = client.ok("GET", f"/lists/{made['id']}/contacts")["data"]
    assert (first["number"], first["extra"], first["timezone"]) == ("+70001230001", "Анна", "Asia/Almaty")
    assert first["variables"] == {"имя": "Анна", "дата": "1 мая"}
    assert (second["number"], second["variables"]) == ("+70001230002", {"имя": "Пётр"})
    rejected = client.ok("GET", f"/lists/{made['id']}/rejected", headers={"accept-language": "ru"})
    assert [(row["line"], row["reason"]) for row in rejected["data"]] == [
        (4, "emergency"),
        (5, "timezone_invalid"),
        (6, "closed"),
    ]
    assert "Экстренные" in rejected["data"][0]["message"]


def test_a_workbook_becomes_contacts(client: Client) -> None:
    made = upload(client, sheet(), file="people.xlsx", name="Из таблицы").json()
    assert (made["name"], made["contacts_count"]) == ("Из таблицы", 2)
    more = upload(client, b"+70001230009\n112\n112\n", path=f"/lists/{made['id']}/contacts").json()
    assert (more["contacts_count"], more["rejected_count"]) == (3, 2)


@pytest.mark.parametrize(
    "data", [b"", b"nobody\n112\n", b"\x89PNG\r\n\x1a\n" + bytes(200), b"PK\x03\x04" + bytes(100)]
)
def test_what_is_no_table_is_told_and_leaves_nothing(client: Client, data: bytes) -> None:
    before = client.house.picture()
    refused = upload(client, data)
    assert (refused.status_code, list(refused.json()["errors"])) == (422, ["file"])
    assert client.house.picture() == before


def test_calls_of_a_list_say_its_words_in_its_zones_and_no_number_twice(client: Client) -> None:
    made = upload(client, CSV.encode()).json()
    other = client.ok(
        "POST",
        "/lists",
        {"name": "x", "contacts": [{"number": "+70001230001", "variables": {"имя": "Аня"}}]},
        status=201,
    )
    autocall = client.ok(
        "POST",
        "/autocalls",
        {
            "name": "x",
            "list_id": [made["id"], str(other["id"])],
            "audio_id": [{"data": {"text": "Здравствуйте, {{имя}}!"}}],
        },
        status=201,
    )
    assert autocall["list_id"] == [made["id"], other["id"]]
    assert autocall["calls_count"] == 2
    own = client.house.run(
        client.house.db.value(
            "SELECT jsonb_agg(overrides ORDER BY ordinal) FROM calls WHERE campaign_id = %s", [autocall["id"]]
        )
    )
    assert own == [
        {"variables": {"имя": "Анна", "дата": "1 мая"}, "timezone": "Asia/Almaty"},
        {"variables": {"имя": "Пётр"}},
    ]


def test_contacts_are_changed_and_taken_off(client: Client) -> None:
    made = upload(client, CSV.encode()).json()
    path = f"/lists/{made['id']}/contacts"
    [one] = client.ok("GET", path, params={"number": "80001230001"})["data"]
    changed = client.ok("PATCH", f"{path}/{one['id']}", {"number": "+70001230008", "variables": None})
    assert (changed["number"], changed["variables"], changed["extra"]) == ("+70001230008", {}, "Анна")
    assert client.send("PATCH", f"{path}/{one['id']}", {"number": "112"}).status_code == 422
    client.ok("DELETE", f"{path}/{one['id']}", status=204)
    assert client.ok("GET", f"/lists/{made['id']}")["contacts_count"] == 1
    assert client.send("GET", f"{path}/{one['id']}").status_code == 404


def test_a_list_is_renamed_and_deleted_and_its_calls_stay(client: Client) -> None:
    made = upload(client, CSV.encode()).json()
    autocall = client.ok(
        "POST", "/autocalls", {"name": "x", "list_id": [made["id"]], "audio_id": TEXT}, status=201
    )
    assert client.ok("PATCH", f"/lists/{made['id']}", {"name": "Люди"})["name"] == "Люди"
    client.ok("DELETE", f"/lists/{made['id']}", status=204)
    assert client.send("GET", f"/lists/{made['id']}").status_code == 404
    assert client.ok("GET", f"/autocalls/{autocall['id']}")["calls_count"] == 2
    refused = client.send("POST", "/autocalls", {"name": "x", "list_id": [made["id"]], "audio_id": TEXT})
    assert list(refused.json()["errors"]) == ["list_id"]


def test_a_page_is_laravels(client: Client) -> None:
    people = [{"number": f"+7000123000{digit}"} for digit in range(7)]
    made = client.ok("POST", "/lists", {"name": "x", "contacts": people}, status=201)
    page = client.ok("GET", f"/lists/{made['id']}/contacts", params={"per_page": 3, "page": 2})
    url = f"http://house.test/api/v1/lists/{made['id']}/contacts"
    assert {name: page[name] for name in page if name not in ("data", "links")} == {
        "current_page": 2,
        "first_page_url": f"{url}?per_page=3&page=1",
        "from": 4,
        "last_page": 3,
        "last_page_url": f"{url}?per_page=3&page=3",
        "next_page_url": f"{url}?per_page=3&page=3",
        "path": url,
        "per_page": 3,
        "prev_page_url": f"{url}?per_page=3&page=1",
        "to": 6,
        "total": 7,
    }
    assert [one["number"] for one in page["data"]] == ["+70001230003", "+70001230002", "+70001230001"]
    beyond = client.ok("GET", f"/lists/{made['id']}/contacts", params={"page": 9})
    assert (beyond["data"], beyond["from"], beyond["total"]) == ([], None, 7)


def test_a_long_body_with_one_wrong_number_at_its_end_leaves_nothing(client: Client, house: House) -> None:
    people: list[dict[str, Any]] = [{"number": f"+7000{number:07d}"} for number in range(5000)]
    before = house.picture()
    refused = client.send("POST", "/lists", {"name": "x", "contacts": [*people, {"number": "1"}]})
    assert list(refused.json()["errors"]) == ["contacts.5000.number"]
    assert house.picture() == before
