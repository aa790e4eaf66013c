"""Do cards keep what clients write, batch by batch, and show what clients look for?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .conftest import Desk, call
from .test_calls import PROBLEM, faults

if TYPE_CHECKING:
    from tests.dialects.conftest import House

KINDS = ("contacts", "companies", "leads", "customers")


def test_what_is_written_is_read(desk: Desk) -> None:
    values = {
        "name": "Иван Петров",
        "first_name": "Иван",
        "last_name": "Петров",
        "created_at": 1587731353,
        "custom_fields_values": [
            {
                "field_code": "PHONE",
                "values": [{"value": "+79161234567", "enum_code": "MOB"}, {"value": 123}],
            },
            {"field_id": 90003, "values": [{"value": "a@b.test", "enum_id": 90025}]},
        ],
        "tags_to_add": [{"name": "VIP"}],
    }
    [contact] = desk.add("contacts", values)
    card = desk.get(f"/contacts/{contact}")
    assert [card[name] for name in ("name", "first_name", "last_name")] == ["Иван Петров", "Иван", "Петров"]
    assert card["created_at"] == 1587731353
    assert [tag["name"] for tag in card["_embedded"]["tags"]] == ["VIP"]
    phone, email = card["custom_fields_values"]
    assert (phone["field_code"], phone["field_type"]) == ("PHONE", "multitext")
    assert [(v["value"], v["enum_code"]) for v in phone["values"]] == [
        ("+79161234567", "MOB"),
        ("123", "WORK"),
    ]
    assert [(v["value"], v["enum_code"]) for v in email["values"]] == [("a@b.test", "PRIV")]


def test_a_change_touches_what_it_names_and_nothing_else(desk: Desk) -> None:
    contact = desk.contact("+79161234567", first_name="Иван", tags_to_add=[{"name": "a"}, {"name": "b"}])
    before = desk.get(f"/contacts/{contact}")
    change = {"name": "Пётр", "tags_to_delete": [{"name": "a"}], "tags_to_add": [{"name": "c"}]}
    answer = desk.ask("PATCH", f"/contacts/{contact}", json=change)
    assert answer.status_code == 200
    assert answer.json()["id"] == contact
    after = desk.get(f"/contacts/{contact}")
    assert [tag["name"] for tag in after["_embedded"]["tags"]] == ["b", "c"]
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"name", "updated_at", "_embedded"}


def test_a_batch_of_changes_is_taken_whole_or_not_at_all(desk: Desk) -> None:
    first, second = desk.contact("+79161234567"), desk.contact("+79161234568")
    batch = [{"id": first, "name": "A"}, {"id": second, "name": "B"}]
    answer = desk.ask("PATCH", "/contacts", json=batch)
    assert [thing["id"] for thing in answer.json()["_embedded"]["contacts"]] == [first, second]
    bad = desk.ask("PATCH", "/contacts", json=[{"id": first, "name": "C"}, {"id": 1, "name": "D"}])
    assert faults(bad) == {"1": [("NotSupportedChoice", "id")]}
    assert desk.get(f"/contacts/{first}")["name"] == "A"


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("contacts", {"name": 1}, ("InvalidType", "name")),
        ("contacts", {"responsible_user_id": 1}, ("NotSupportedChoice", "responsible_user_id")),
        (
            "contacts",
            {"custom_fields_values": [{"field_id": 1, "values": [{"value": "x"}]}]},
            ("NotSupportedChoice", "custom_fields_values.0.field_id"),
        ),
        (
            "contacts",
            {"custom_fields_values": [{"field_code": "PHONE", "values": [{"value": "1", "enum_code": "X"}]}]},
            ("NotSupportedChoice", "custom_fields_values.0.values.0.enum_code"),
        ),
        ("leads", {"price": -1}, ("InvalidRange", "price")),
        ("leads", {"pipeline_id": 1}, ("NotSupportedChoice", "pipeline_id")),
        ("leads", {"status_id": 1}, ("NotSupportedChoice", "status_id")),
        (
            "leads",
            {"_embedded": {"contacts": [{"id": 1}]}},
            ("NotSupportedChoice", "_embedded.contacts.0.id"),
        ),
        ("leads", {"_embedded": {"contacts": [{}]}}, ("FieldMissing", "_embedded.contacts.0.id")),
        ("leads", {"_embedded": {"tags": [{"id": 1}]}}, ("NotSupportedChoice", "_embedded.tags.0.id")),
        ("customers", {"next_date": 10**13}, ("InvalidRange", "next_date")),
    ],
)
def test_a_wrong_value_is_told_with_its_path_and_nothing_is_stored(
    desk: Desk, name: str, values: dict[str, Any], expected: tuple[str, str]
) -> None:
    answer = desk.post(f"/{name}", [{"name": "fine"}, {"request_id": "bad", **values}])
    assert faults(answer) == {"bad": [expected]}
    assert desk.ask("GET", f"/{name}").status_code == 204


@pytest.mark.parametrize("name", KINDS)
def test_an_empty_list_is_204_without_a_body(desk: Desk, name: str) -> None:
    for path in (f"/{name}", f"/{name}/1", f"/{name}/notes", f"/{name}/1/notes", f"/{name}/tags"):
        answer = desk.ask("GET", path)
        assert (answer.status_code, answer.content) == (204, b""), path


@pytest.mark.parametrize("name", KINDS)
def test_pages_go_on_while_there_is_a_next(desk: Desk, name: str) -> None:
    ids = desk.add(name, *({"name": f"{place}"} for place in range(5)))
    seen, path = [], f"/{name}?limit=2&with=contacts"
    pages = 0
    while path:
        document = desk.get(path)
        seen += [card["id"] for card in document["_embedded"][name]]
        pages += 1
        assert document["_page"] == pages
        following = document["_links"].get("next")
        path = following and following["href"].partition("/api/v4")[2]
    assert seen == ids
    assert pages == 3
    assert desk.ask("GET", f"/{name}?limit=2&page=4").status_code == 204


def test_lists_are_filtered_searched_and_put_in_order(desk: Desk) -> None:
    ids = desk.add(
        "contacts",
        {"name": "Анна", "created_at": 100, "updated_at": 300},
        {"name": "Борис 100%", "created_at": 200, "updated_at": 200},
        {"name": "Вера_", "created_at": 300, "updated_at": 100},
    )
    contact = desk.contact("+79161234567", name="Глеб")
    mail = {"field_code": "EMAIL", "values": [{"value": "anna@example.test"}]}
    desk.ask("PATCH", f"/contacts/{ids[0]}", json={"custom_fields_values": [mail], "updated_at": 300})

    def found(**params: Any) -> list[int]:
        answer = desk.ask("GET", "/contacts", params=params)
        return [] if answer.status_code == 204 else [c["id"] for c in answer.json()["_embedded"]["contacts"]]

    assert found(**{"filter[id]": ids[0]}) == [ids[0]]
    assert found(**{"filter[id][]": [ids[0], ids[2]]}) == [ids[0], ids[2]]
    assert found(**{"filter[id][0]": ids[0], "filter[id][1]": ids[2]}) == [ids[0], ids[2]]
    assert found(**{"filter[name]": "Анна"}) == [ids[0]]
    assert found(**{"filter[created_at][from]": 200, "filter[created_at][to]": 200}) == [ids[1]]
    assert found(**{"filter[created_at]": 300}) == [ids[2]]
    assert found(**{"order[updated_at]": "asc"})[:3] == ids[::-1]
    assert found(**{"order[id]": "desc"}) == [contact, *ids[::-1]]
    assert found(query="89161234567") == [contact]
    assert found(query="7916123") == [contact]
    assert found(query="вера") == [ids[2]]
    assert found(query="100%") == [ids[1]]
    assert found(query="_") == [ids[2]]
    assert found(query="ANNA@example") == [ids[0]]
    assert found(query="nobody") == []


@pytest.mark.parametrize(
    "query",
    [
        *("page=0", "page=x", "limit=0", "limit=-1", "page=99999999999", "order[id]=up", "order[price]=asc"),
        *("filter[id]=x", "filter[created_at][from]=x", "filter[created_at][x]=1", "filter[nothing]=1"),
        *("filter=1", "filter[id", "filter[created_at]=99999999999999", "filter[id]=999999999999999999999"),
        "query=%00",
    ],
)
def test_a_list_that_cannot_be_had_is_a_400_and_not_another_list(desk: Desk, query: str) -> None:
    answer = desk.ask("GET", f"/contacts?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == PROBLEM


def test_leads_are_filtered_by_stage_and_price(desk: Desk) -> None:
    [pipeline] = desk.get("/leads/pipelines")["_embedded"]["pipelines"]
    ids = desk.add("leads", {"price": 10}, {"price": 20, "status_id": 142}, {"price": 30, "status_id": 143})

    def found(**params: Any) -> list[int]:
        return [lead["id"] for lead in desk.get("/leads", **params)["_embedded"]["leads"]]

    pair = {"filter[statuses][0][pipeline_id]": pipeline["id"], "filter[statuses][0][status_id]": 142}
    assert found(**pair) == [ids[1]]
    assert found(**{"filter[price][from]": 20}) == ids[1:]
    assert found(**{"filter[pipeline_id]": pipeline["id"]}) == ids
    assert desk.get(f"/leads/{ids[1]}")["closed_at"] is not None


def test_won_and_lost_are_in_every_pipeline(desk: Desk) -> None:
    stages = [{"name": "Начало", "sort": 20}, {"id": 142, "name": "Успех"}]
    answer = desk.post("/leads/pipelines", [{"name": "Вторая", "sort": 2, "_embedded": {"statuses": stages}}])
    assert answer.status_code == 200
    for pipeline in desk.get("/leads/pipelines")["_embedded"]["pipelines"]:
        path = f"/leads/pipelines/{pipeline['id']}/statuses"
        ids = [status["id"] for status in desk.get(path)["_embedded"]["statuses"]]
        assert ids[-2:] == [142, 143]
        assert desk.get(path)["_embedded"]["statuses"][0]["type"] == 1  # what comes in
        assert desk.get(f"{path}/142")["id"] == 142
    second = answer.json()["_embedded"]["pipelines"][0]
    stage = second["_embedded"]["statuses"][1]["id"]
    # A stage names its pipeline.
    [lead] = desk.add("leads", {"status_id": stage})
    assert desk.get(f"/leads/{lead}")["pipeline_id"] == second["id"]
    assert desk.ask("PATCH", f"/leads/{lead}", json={"status_id": 143}).status_code == 200
    assert desk.get(f"/leads/{lead}")["pipeline_id"] == second["id"]


def test_links_are_seen_from_both_sides_and_a_card_has_one_company(desk: Desk) -> None:
    contact, first, second = desk.contact("1234"), desk.company("5678"), desk.company("9012")
    [lead] = desk.add("leads", {})
    desk.link("leads", lead, "contacts", contact)
    desk.link("contacts", contact, "companies", first)
    desk.link("contacts", contact, "companies", second)
    card = desk.get(f"/contacts/{contact}", **{"with": "leads"})
    assert [one["id"] for one in card["_embedded"]["leads"]] == [lead]
    assert [one["id"] for one in card["_embedded"]["companies"]] == [second]
    assert desk.get(f"/companies/{first}", **{"with": "contacts"})["_embedded"]["contacts"] == []
    links = desk.get(f"/leads/{lead}/links")["_embedded"]["links"]
    assert [(one["to_entity_id"], one["to_entity_type"]) for one in links] == [(contact, "contacts")]
    answer = desk.post(f"/contacts/{contact}/unlink", [{"to_entity_id": lead, "to_entity_type": "leads"}])
    assert answer.status_code == 204
    assert desk.get(f"/leads/{lead}", **{"with": "contacts"})["_embedded"]["contacts"] == []


def test_a_lead_has_one_main_contact(desk: Desk) -> None:
    first, second = desk.contact("1234"), desk.contact("5678")
    [lead] = desk.add("leads", {"_embedded": {"contacts": [{"id": first}, {"id": second}]}})

    def main() -> list[int]:
        contacts = desk.get(f"/leads/{lead}", **{"with": "contacts"})["_embedded"]["contacts"]
        return [one["id"] for one in contacts if one["is_main"]]

    assert main() == [first]
    item = {"to_entity_id": second, "to_entity_type": "contacts", "metadata": {"is_main": True}}
    assert desk.post(f"/leads/{lead}/link", [item]).status_code == 200
    assert main() == [second]


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ({"to_entity_id": 1, "to_entity_type": "leads"}, "to_entity_id"),
        ({"to_entity_id": 1, "to_entity_type": "contacts"}, "to_entity_type"),
    ],
)
def test_only_what_is_there_and_fits_can_be_linked(desk: Desk, item: dict[str, Any], path: str) -> None:
    contact = desk.contact("1234")
    assert faults(desk.post(f"/contacts/{contact}/link", [item])) == {"0": [("NotSupportedChoice", path)]}


def test_tags_are_one_for_each_name(desk: Desk) -> None:
    made = desk.post("/leads/tags", [{"name": "A"}, {"name": "a"}, {"name": "B", "color": "FF0000"}])
    assert made.status_code == 200
    ids = [tag["id"] for tag in made.json()["_embedded"]["tags"]]
    assert ids[0] == ids[1] != ids[2]
    assert [tag["id"] for tag in desk.get("/leads/tags", query="b")["_embedded"]["tags"]] == ids[2:]
    assert desk.ask("GET", "/contacts/tags").status_code == 204


def test_fields_are_asked_for_before_a_phone_is_written(desk: Desk) -> None:
    found = desk.get("/contacts/custom_fields")["_embedded"]["custom_fields"]
    phone = next(field for field in found if field["code"] == "PHONE")
    value = {"value": "+79161234567", "enum_id": phone["enums"][0]["id"]}
    [contact] = desk.add("contacts", {"custom_fields_values": [{"field_id": phone["id"], "values": [value]}]})
    [stored] = desk.post("/calls", [call()]).json()["_embedded"]["calls"]
    assert stored["entity_id"] == contact
    assert desk.ask("GET", "/leads/custom_fields").status_code == 204
    assert desk.get(f"/contacts/custom_fields/{phone['id']}")["code"] == "PHONE"


def test_notes_are_added_changed_and_found(desk: Desk) -> None:
    contact = desk.contact("1234")
    common = {"note_type": "common", "params": {"text": "Перезвонить"}}
    incoming = {
        "note_type": "call_in",
        "created_at": 1587731353,
        "params": {"uniq": "u1", "duration": 5, "source": "tests", "phone": "1234", "call_status": 4},
    }
    made = desk.post(f"/contacts/{contact}/notes", [common, incoming]).json()["_embedded"]["notes"]
    notes = desk.get(f"/contacts/{contact}/notes")["_embedded"]["notes"]
    assert [note["id"] for note in notes] == [one["id"] for one in made]
    assert notes[1]["created_at"] == 1587731353
    assert notes[1]["updated_at"] > 1587731353
    only = desk.get("/contacts/notes", **{"filter[note_type]": "call_in"})["_embedded"]["notes"]
    assert [note["params"]["uniq"] for note in only] == ["u1"]
    change = {"params": {"text": "Позвонить"}}
    answer = desk.ask("PATCH", f"/contacts/notes/{made[0]['id']}", json=change)
    assert answer.status_code == 200, answer.text
    assert desk.get(f"/contacts/{contact}/notes/{made[0]['id']}")["params"] == {"text": "Позвонить"}
    assert desk.ask("GET", f"/leads/notes/{made[0]['id']}").status_code == 204


def test_a_note_of_a_call_refuses_null_as_the_vendor_was_seen_to(desk: Desk) -> None:
    contact = desk.contact("1234")
    params = {
        "duration": 1,
        "source": "s",
        "phone": "1",
        "link": None,
        "call_result": None,
        "call_status": None,
    }
    answer = desk.post(f"/contacts/{contact}/notes", [{"note_type": "call_in", "params": params}])
    assert sorted(faults(answer)["0"]) == [
        ("NotNullable", "params.call_result"),
        ("NotNullable", "params.call_status"),
        ("NotNullable", "params.link"),
    ]


def test_tasks_stand_on_their_card_until_they_are_done(desk: Desk) -> None:
    [lead] = desk.add("leads", {})
    item = {"text": "Позвонить", "complete_till": 1900000000, "entity_id": lead, "entity_type": "leads"}
    [made] = desk.post("/tasks", [item]).json()["_embedded"]["tasks"]
    assert desk.get(f"/leads/{lead}")["closest_task_at"] == 1900000000
    path = {"filter[entity_type]": "leads", "filter[entity_id]": lead, "filter[is_completed]": 0}
    assert [task["id"] for task in desk.get("/tasks", **path)["_embedded"]["tasks"]] == [made["id"]]
    done = {"is_completed": True, "result": {"text": "Дозвонились"}}
    assert desk.ask("PATCH", f"/tasks/{made['id']}", json=done).status_code == 200
    assert desk.get(f"/tasks/{made['id']}")["result"] == {"text": "Дозвонились"}
    assert desk.get(f"/leads/{lead}")["closest_task_at"] is None
    assert faults(desk.post("/tasks", [{**item, "entity_id": 1}])) == {
        "0": [("NotSupportedChoice", "entity_id")]
    }


def test_events_tell_what_happened_the_latest_first(desk: Desk) -> None:
    contact = desk.contact("+79161234567")
    [lead] = desk.add("leads", {"_embedded": {"contacts": [{"id": contact}]}})
    [stored] = desk.post("/calls", [call()]).json()["_embedded"]["calls"]
    desk.ask("PATCH", f"/leads/{lead}", json={"status_id": 142})
    events = desk.get("/events")["_embedded"]["events"]
    assert [event["type"] for event in events] == [
        *(
            "lead_status_changed",
            "outgoing_call",
            "entity_linked",
            "entity_linked",
            "lead_added",
            "contact_added",
        )
    ]
    call_event = events[1]
    assert call_event["value_after"] == [{"note": {"id": stored["id"]}}]
    assert (call_event["entity_type"], call_event["entity_id"]) == ("lead", lead)
    assert desk.get(f"/events/{call_event['id']}") == call_event
    assert len(call_event["id"]) == 26
    only = desk.get("/events", **{"filter[type][]": "outgoing_call"})["_embedded"]["events"]
    assert only == [call_event]
    first = desk.get("/events", limit=4)
    rest = desk.get("/events", limit=4, page=2)
    assert first["_embedded"]["events"] + rest["_embedded"]["events"] == events


def test_what_comes_in_unsorted_waits_until_it_is_taken_or_declined(desk: Desk, golden: Any) -> None:
    item = golden("unsorted_sip_item_mikopbx.json")
    item["metadata"] |= {"link": "https://example.test/a.mp3", "phone": "79161234567", "from": "79161234567"}
    item["_embedded"]["contacts"][0]["custom_fields_values"][0]["values"][0]["value"] = "79161234567"
    assert faults(desk.post("/leads/unsorted/sip", [item])) == {
        item["request_id"]: [("NotSupportedChoice", "pipeline_id")]
    }
    del item["pipeline_id"]
    answer = desk.post("/leads/unsorted/sip", [item, {**item, "request_id": "second"}])
    assert answer.status_code == 200, answer.text
    first, second = answer.json()["_embedded"]["unsorted"]
    lead, contact = (first["_embedded"][name][0]["id"] for name in ("leads", "contacts"))
    [note] = desk.get(f"/leads/{lead}/notes")["_embedded"]["notes"]
    assert (note["note_type"], note["params"]["phone"]) == ("call_in", "79161234567")
    linked = desk.get(f"/leads/{lead}", **{"with": "contacts"})["_embedded"]["contacts"]
    assert [one["id"] for one in linked] == [contact]
    listed = desk.get("/leads/unsorted", **{"filter[category][]": "sip", "order[created_at]": "desc"})
    assert [one["uid"] for one in listed["_embedded"]["unsorted"]] == [second["uid"], first["uid"]]
    assert listed["_embedded"]["unsorted"][0]["metadata"]["uniq"] == "u"
    assert desk.ask("POST", f"/leads/unsorted/{first['uid']}/accept", json={}).status_code == 200
    assert desk.ask("DELETE", f"/leads/unsorted/{second['uid']}/decline").status_code == 200
    assert desk.ask("GET", "/leads/unsorted").status_code == 204
    assert desk.ask("POST", f"/leads/unsorted/{first['uid']}/accept").status_code == 404
    assert desk.get(f"/leads/{second['_embedded']['leads'][0]['id']}")["status_id"] == 143


@pytest.mark.parametrize("path", ["/contacts", "/leads", "/tasks", "/webhooks", "/users", "/contacts/tags"])
def test_a_viewer_changes_nothing(desk: Desk, path: str) -> None:
    token = desk.user_token("viewer")
    assert desk.ask("POST", path, token=token, json=[{}]).status_code == 400
    assert "244" in desk.ask("POST", path, token=token, json=[{}]).json()["detail"]


@pytest.mark.parametrize("path", ["/webhooks", "/users", "/leads/pipelines"])
def test_an_editor_changes_cards_and_not_the_account(desk: Desk, path: str) -> None:
    token = desk.user_token("editor")
    assert desk.ask("POST", "/contacts", token=token, json=[{"name": "x"}]).status_code == 200
    assert "244" in desk.ask("POST", path, token=token, json=[{}]).json()["detail"]


def test_another_accounts_cards_are_not_there(house: House, desk: Desk) -> None:
    contact = desk.contact("1234")
    other = Desk(house)
    assert other.ask("GET", f"/contacts/{contact}").status_code == 204
    assert faults(other.ask("PATCH", f"/contacts/{contact}", json={"name": "x"}))
    assert faults(
        other.post(f"/contacts/{contact}/notes", [{"note_type": "common", "params": {"text": "x"}}])
    )
    own = other.contact("5678")
    assert faults(other.post("/leads", [{"_embedded": {"contacts": [{"id": contact}]}}]))
    assert faults(
        other.post(f"/contacts/{contact}/link", [{"to_entity_id": own, "to_entity_type": "contacts"}])
    )
    assert desk.get(f"/contacts/{contact}")["name"] == "Иван"


@pytest.mark.parametrize(("name", "missing"), [("email", "FieldMissing"), ("name", "FieldMissing")])
def test_a_user_needs_a_name_and_an_address_of_their_own(desk: Desk, name: str, missing: str) -> None:
    user = {"name": "Мария", "email": "m@example.test"}
    assert faults(desk.post("/users", [{k: v for k, v in user.items() if k != name}])) == {
        "0": [(missing, name)]
    }
    assert desk.post("/users", [user]).status_code == 200
    assert faults(desk.post("/users", [{**user, "email": "M@example.test"}])) == {
        "0": [("NotSupportedChoice", "email")]
    }


def test_the_account_tells_what_is_asked_with_it(desk: Desk) -> None:
    account = desk.get("/account", **{"with": "version,uuid,task_types,datetime_settings"})
    assert account["id"] == desk.account_id
    assert account["_embedded"]["datetime_settings"]["timezone_offset"] == "+03:00"
    assert account["version"] == 1
    user = desk.get(f"/users/{account['current_user_id']}")
    assert user["rights"]["is_admin"] is True
