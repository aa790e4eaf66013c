"""Is a batch of calls answered as the reference and the logs of real clients have it?"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zvonar.dialects.amocrm import routes as amocrm_routes
from zvonar.dialects.amocrm.requests import calls, calls_fast, fields

from .conftest import Desk, call

if TYPE_CHECKING:
    from tests.dialects.conftest import House

Golden = Callable[[str], Any]
PROBLEM = "application/problem+json"


def keys(value: Any) -> Any:
    """A document's keys in their order, without its values."""
    if isinstance(value, dict):
        return [(key, keys(inner)) for key, inner in value.items()]
    return [keys(value[0])] if isinstance(value, list) and value else []


def faults(answer: Any) -> dict[str, list[tuple[str, str]]]:
    """By request_id: code and path of each fault of a batch that was refused as a whole."""
    assert answer.status_code == 400
    assert answer.headers["content-type"] == PROBLEM
    document = answer.json()
    assert list(document) == ["validation-errors", "title", "type", "status", "detail"]
    assert document["detail"] == "Request validation failed"
    return {
        item["request_id"]: [(error["code"], error["path"]) for error in item["errors"]]
        for item in document["validation-errors"]
    }


def test_the_references_request_is_answered_with_the_references_answer(desk: Desk, golden: Golden) -> None:
    contact = desk.contact("123123")
    answer = desk.post("/calls", golden("calls_request_doc.json"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/hal+json"
    document = answer.json()
    assert keys(document) == keys(golden("calls_200_doc.json"))
    assert document["_total_items"] == 1
    [stored] = document["_embedded"]["calls"]
    assert stored["request_id"] == "0"
    assert stored["account_id"] == desk.account_id
    note = desk.get(f"/contacts/{contact}/notes/{stored['id']}")
    assert note["params"] == {
        "duration": 10,
        "source": "example_integration",
        "phone": "123123",
        "link": "https://example.com/audio.mp3",
        "call_result": "Успешный разговор",
        "call_status": 4,
        "call_responsible": 504141,
    }


def test_a_slash_at_the_end_is_the_same_path(desk: Desk) -> None:
    desk.contact("+79161234567")
    assert desk.post("/calls/", [call()]).status_code == 200


def test_a_note_has_everything_that_a_client_reads_of_it(desk: Desk, golden: Golden) -> None:
    contact = desk.contact("+79161234567")
    desk.post("/calls", [call(uniq="u", link="https://x.test/a.mp3", call_result="Да", call_status=4)])
    [note] = desk.get(f"/contacts/{contact}/notes")["_embedded"]["notes"]
    expected = golden("note_call_in_php_test.json")
    assert set(expected) <= set(note)
    assert set(note["params"]) == set(expected["params"])


def test_who_and_when_can_be_read_back(desk: Desk) -> None:
    contact = desk.contact("+79161234567")
    me = desk.get("/users")["_embedded"]["users"][0]["id"]
    asked = {
        "responsible_user_id": me,
        "created_by": me,
        "updated_by": 0,
        "created_at": 1587731353,
        "updated_at": 1587731354.75,  # floats are sent, too
    }
    desk.post("/calls", [call(**asked)])
    [note] = desk.get(f"/contacts/{contact}/notes")["_embedded"]["notes"]
    assert {name: note[name] for name in asked} == {**asked, "updated_at": 1587731354}


class Colleague:
    """A user with a number, and how a client may call them."""

    def __init__(self, desk: Desk) -> None:
        answer = desk.post(
            "/users", [{"name": "Мария Петрова", "email": "maria@example.test", "phone": "+7 495 000-11-22"}]
        )
        assert answer.status_code == 200, answer.text
        self.user_id: int = answer.json()["_embedded"]["users"][0]["id"]


@pytest.mark.parametrize("form", ["id", "phone", "name"])
def test_call_responsible_is_an_id_a_phone_or_a_name(desk: Desk, form: str) -> None:
    contact, colleague = desk.contact("+79161234567"), Colleague(desk)
    called = {"id": colleague.user_id, "phone": "84950001122", "name": "мария петрова"}[form]
    me = desk.get("/users")["_embedded"]["users"][0]["id"]
    desk.post("/calls", [call(call_responsible=called, created_by=me)])
    [note] = desk.get(f"/contacts/{contact}/notes")["_embedded"]["notes"]
    assert note["params"]["call_responsible"] == called
    # created_by counts only without call_responsible.
    assert note["created_by"] == colleague.user_id
    assert note["responsible_user_id"] == colleague.user_id


@pytest.mark.parametrize("unknown", ["504141", "Никто", "+74951112233", 504141])
def test_a_call_responsible_whom_nobody_knows_is_kept_as_it_came(desk: Desk, unknown: str | int) -> None:
    contact = desk.contact("+79161234567")
    me = desk.get("/users")["_embedded"]["users"][0]["id"]
    assert desk.post("/calls", [call(call_responsible=unknown, created_by=me)]).status_code == 200
    [note] = desk.get(f"/contacts/{contact}/notes")["_embedded"]["notes"]
    assert note["params"]["call_responsible"] == unknown
    assert note["created_by"] == 0  # a robot's


def test_created_by_counts_without_call_responsible_and_without_both_it_was_a_robot(desk: Desk) -> None:
    contact = desk.contact("+79161234567")
    me = desk.get("/users")["_embedded"]["users"][0]["id"]
    desk.post("/calls", [call(created_by=me, call_responsible=None), call()])
    notes = desk.get(f"/contacts/{contact}/notes")["_embedded"]["notes"]
    assert [note["created_by"] for note in notes] == [me, 0]


def test_unset_parameters_may_come_as_null(desk: Desk) -> None:
    contact = desk.contact("+79161234567")
    optional = ("uniq", "link", "call_responsible", "call_result", "call_status", "responsible_user_id")
    optional += ("created_by", "updated_by", "created_at", "updated_at", "request_id")
    answer = desk.post("/calls", [call(**dict.fromkeys(optional))])
    assert answer.status_code == 200
    assert answer.json()["_embedded"]["calls"][0]["request_id"] == "0"
    [note] = desk.get(f"/contacts/{contact}/notes")["_embedded"]["notes"]
    assert sorted(note["params"]) == ["duration", "phone", "source"]


def test_strict_refuses_null_everywhere_but_in_call_responsible(house: House, desk: Desk) -> None:
    import httpx
    from litestar import Litestar

    desk.contact("+79161234567")
    service = amocrm_routes.Service(db=house.db, now=lambda: house.clock, strict=True)
    app = Litestar(amocrm_routes.routes(service), openapi_config=None, logging_config=None)

    def ask(item: dict[str, Any]) -> httpx.Response:
        async def work() -> httpx.Response:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://house.test") as client:
                headers = {"authorization": f"Bearer {desk.token}"}
                return await client.post("/api/v4/calls", json=[item], headers=headers)

        return house.run(work())

    assert ask(call(call_responsible=None)).status_code == 200
    assert faults(ask(call(call_result=None, call_status=None, link=None, uniq=None))) == {
        "0": [
            ("NotNullable", "call_status"),
            ("NotNullable", "uniq"),
            ("NotNullable", "link"),
            ("NotNullable", "call_result"),
        ]
    }


def test_an_unknown_number_is_a_400_in_the_shape_that_was_seen(desk: Desk, golden: Golden) -> None:
    answer = desk.post("/calls", [call()])
    assert answer.status_code == 400
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json() == golden("calls_400_all_not_found_RECONSTRUCTED.json")["body"]


def test_where_some_are_known_they_are_stored_and_the_others_are_told(desk: Desk, golden: Golden) -> None:
    desk.contact("+79161234567")
    answer = desk.post("/calls", [call(phone="123"), call()])
    assert answer.status_code == 200
    assert keys(answer.json()) == keys(golden("calls_200_partial_GUESS.json"))
    assert answer.json()["errors"] == golden("calls_200_partial_GUESS.json")["errors"]
    assert desk.notes() == 1


@pytest.mark.parametrize("request_id", ["0", "a b", "", 7, "x" * 255])
def test_request_id_comes_back_as_it_was_sent_and_is_not_stored(desk: Desk, request_id: str | int) -> None:
    contact = desk.contact("+79161234567")
    answer = desk.post("/calls", [call(request_id=request_id), call(phone="1", request_id=request_id)]).json()
    assert answer["_embedded"]["calls"][0]["request_id"] == request_id
    assert answer["errors"][0]["request_id"] == request_id
    assert "request_id" not in json.dumps(desk.get(f"/contacts/{contact}/notes"))


def test_the_same_uniq_twice_is_two_notes(desk: Desk) -> None:
    desk.contact("+79161234567")
    for _ in range(2):
        assert desk.post("/calls", [call(uniq="same")]).status_code == 200
    assert desk.notes() == 2


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"direction": ...}, ("FieldMissing", "direction")),
        ({"duration": ...}, ("FieldMissing", "duration")),
        ({"source": ...}, ("FieldMissing", "source")),
        ({"phone": ...}, ("FieldMissing", "phone")),
        ({"direction": None}, ("NotNullable", "direction")),
        ({"duration": None}, ("NotNullable", "duration")),
        ({"source": None}, ("NotNullable", "source")),
        ({"phone": None}, ("NotNullable", "phone")),
        ({"direction": "in"}, ("NotSupportedChoice", "direction")),
        ({"direction": 1}, ("InvalidType", "direction")),
        ({"duration": "10"}, ("InvalidType", "duration")),
        ({"duration": 1.5}, ("InvalidType", "duration")),
        ({"duration": True}, ("InvalidType", "duration")),
        ({"duration": -1}, ("InvalidRange", "duration")),
        ({"duration": 10**12}, ("InvalidRange", "duration")),
        ({"duration": 10**30}, ("InvalidRange", "duration")),
        ({"source": " "}, ("NotBlank", "source")),
        ({"source": 1}, ("InvalidType", "source")),
        ({"source": "x" * 256}, ("TooLong", "source")),
        ({"phone": ""}, ("NotBlank", "phone")),
        ({"phone": 79161234567}, ("InvalidType", "phone")),
        ({"phone": "+7916abc4567"}, ("InvalidPhone", "phone")),
        ({"phone": "---"}, ("InvalidPhone", "phone")),
        ({"link": "javascript:alert(1)"}, ("InvalidUrl", "link")),
        ({"link": "java\nscript:alert(1)"}, ("InvalidUrl", "link")),
        ({"link": "https://"}, ("InvalidUrl", "link")),
        ({"link": "http://[::1"}, ("InvalidUrl", "link")),
        ({"link": ["https://x.test"]}, ("InvalidType", "link")),
        ({"call_status": 0}, ("NotSupportedChoice", "call_status")),
        ({"call_status": 9}, ("NotSupportedChoice", "call_status")),
        ({"call_status": "4"}, ("InvalidType", "call_status")),
        ({"call_responsible": {}}, ("InvalidType", "call_responsible")),
        ({"call_responsible": True}, ("InvalidType", "call_responsible")),
        ({"responsible_user_id": 1}, ("NotSupportedChoice", "responsible_user_id")),
        ({"created_by": 10**30}, ("InvalidRange", "created_by")),
        ({"updated_by": "0"}, ("InvalidType", "updated_by")),
        ({"created_at": 1587731353000}, ("InvalidRange", "created_at")),
        ({"created_at": "1587731353"}, ("InvalidType", "created_at")),
        ({"updated_at": -1}, ("InvalidRange", "updated_at")),
        ({"uniq": 1}, ("InvalidType", "uniq")),
        ({"request_id": []}, ("InvalidType", "request_id")),
    ],
)
def test_one_wrong_item_refuses_the_whole_batch(
    desk_of_module: Desk, wrong: dict[str, Any], expected: tuple[str, str]
) -> None:
    before = desk_of_module.notes()
    answer = desk_of_module.post("/calls", [call(), call(**wrong)])
    assert faults(answer) == {"1": [expected]}
    assert desk_of_module.notes() == before


@pytest.fixture(scope="module")
def desk_of_module(house: House) -> Desk:
    made = Desk(house)
    made.contact("+79161234567")
    return made


@pytest.mark.parametrize("status", range(1, 9))
def test_every_call_status_is_kept(desk_of_module: Desk, status: int) -> None:
    answer = desk_of_module.post("/calls", [call(call_status=status)])
    [stored] = answer.json()["_embedded"]["calls"]
    note = desk_of_module.get(f"/contacts/{stored['entity_id']}/notes/{stored['id']}")
    assert note["params"]["call_status"] == status


def test_all_faults_of_all_items_are_told_at_once(desk: Desk) -> None:
    answer = desk.post("/calls", [call(duration=-1, phone=...), call(), call(direction="x", request_id="z")])
    assert faults(answer) == {
        "0": [("InvalidRange", "duration"), ("FieldMissing", "phone")],
        "z": [("NotSupportedChoice", "direction")],
    }


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"null", b"{}", b'"x"', b"[]", b"[" * 100_000, b"\xff", b"1e999"),
        b'[{"phone":"\\u0000"}]',
        json.dumps([call()] * 251).encode(),
    ],
)
def test_what_is_no_batch_is_a_plain_400(desk_of_module: Desk, body: bytes) -> None:
    answer = desk_of_module.ask("POST", "/calls", content=body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == PROBLEM
    assert list(answer.json()) == ["title", "type", "status", "detail"]


@pytest.mark.parametrize("item", [None, 1, "x", [], True])
def test_what_is_no_object_is_a_fault_of_its_place(desk_of_module: Desk, item: Any) -> None:
    assert faults(desk_of_module.post("/calls", [call(), item])) == {"1": [("InvalidType", "")]}


def test_a_batch_of_250_is_taken_whole(desk: Desk) -> None:
    desk.contact("+79161234567")
    answer = desk.post("/calls", [call(request_id=str(place)) for place in range(250)])
    stored = answer.json()["_embedded"]["calls"]
    assert [one["request_id"] for one in stored] == [str(place) for place in range(250)]
    assert len({one["id"] for one in stored}) == 250


def test_a_user_without_rights_gets_code_244(desk: Desk, golden: Golden) -> None:
    desk.contact("+79161234567")
    token = desk.user_token("viewer")
    answer = desk.ask("POST", "/calls", token=token, json=[call()])
    assert answer.status_code == 400
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json() == golden("permission_400_live_php33.json")
    assert desk.notes() == 0
    assert desk.ask("GET", "/contacts", token=token).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_calls_can_be_added_only(desk_of_module: Desk, method: str) -> None:
    answer = desk_of_module.ask(method, "/calls", json=[])
    assert answer.status_code == 405
    assert answer.headers["content-type"] == PROBLEM


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(
        ["javascript:x", "12a", "123", "+79161234567", 10**12, 1587731353000, "\x00", "\ud800"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_names = st.sampled_from(
    [*call(), "uniq", "link", "call_result", "call_status", "call_responsible"]
) | st.sampled_from(
    ["responsible_user_id", "created_by", "updated_by", "created_at", "updated_at", "request_id", "entity_id"]
)
_items = (
    st.builds(lambda changes: {**call(), **changes}, st.dictionaries(_names, _values, max_size=3)) | _values
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(_items, max_size=4) | _values)
def test_whatever_is_sent_the_answer_is_a_documented_one(desk_of_module: Desk, document: Any) -> None:
    before = desk_of_module.notes()
    answer = desk_of_module.ask("POST", "/calls", content=json.dumps(document).encode())
    stored = desk_of_module.notes() - before
    assert answer.status_code in (200, 400)
    body = answer.json()
    if answer.status_code == 200:
        assert answer.headers["content-type"] == "application/hal+json"
        assert stored == body["_total_items"] == len(body["_embedded"]["calls"]) > 0
        assert stored + len(body["errors"]) == len(document)
    else:
        assert answer.headers["content-type"] == PROBLEM
        assert stored == 0
        assert "detail" in body or body["_total_items"] == 0


@settings(max_examples=300, deadline=None)
@given(st.lists(_items, min_size=1, max_size=3))
def test_what_is_read_at_once_is_read_the_same_item_by_item(document: Any) -> None:
    body = json.dumps(document).encode()
    at_once = calls_fast.plain(body)
    if at_once is not None:
        assert calls.calls(body, strict=False) == fields.batch(fields.document(body), calls._call)


def test_plain_batches_are_read_at_once() -> None:
    plain = call(
        uniq="u", link="https://x.test/a.mp3", call_result="Да", call_status=4, created_at=1587731353
    )
    body = json.dumps([plain, call(phone="8 (916) 123-45-67", call_responsible=504141)]).encode()
    assert calls_fast.plain(body) is not None
    assert calls.calls(body, strict=False) == fields.batch(fields.document(body), calls._call)
