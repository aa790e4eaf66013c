"""Into which card does a call go? The documented rule, over every mix of deals, as a client sees it."""

from __future__ import annotations

from itertools import count, product
from typing import TYPE_CHECKING

import pytest

from .conftest import Desk, call

if TYPE_CHECKING:
    from tests.dialects.conftest import House

_numbers = count(79_160_000_000)

# (active leads, customers) → whose card it is; closed leads never count.
CHOSEN = {
    (0, 0): "owner",
    (1, 0): "lead",
    (2, 0): "owner",
    (0, 1): "customer",
    (0, 2): "owner",
    (1, 1): "owner",
    (1, 2): "owner",
    (2, 1): "owner",
    (2, 2): "owner",
}
PLURAL = {"contact": "contacts", "company": "companies", "lead": "leads", "customer": "customers"}


@pytest.fixture(scope="module")
def desk(house: House) -> Desk:
    return Desk(house)


@pytest.mark.parametrize(
    ("leads", "customers", "owner", "closed"),
    list(product((0, 1, 2), (0, 1, 2), ("contact", "company"), ((), (142,), (142, 143)))),
)
def test_a_call_goes_into_the_card_that_the_documented_rule_names(
    desk: Desk, leads: int, customers: int, owner: str, closed: tuple[int, ...]
) -> None:
    phone = str(next(_numbers))
    belongs = {"_embedded": {}}
    owner_id = desk.contact(phone) if owner == "contact" else desk.company(phone)
    belongs = {"_embedded": {PLURAL[owner]: [{"id": owner_id}]}}
    deals = [*({} for _ in range(leads)), *({"status_id": status} for status in closed)]
    lead_ids = desk.add("leads", *({**deal, **belongs} for deal in deals)) if deals else []
    customer_ids = (
        desk.add("customers", *({"name": "Покупатель", **belongs} for _ in range(customers)))
        if customers
        else []
    )

    answer = desk.post("/calls", [call(phone=phone, direction="inbound")])

    chosen = CHOSEN[leads, customers]
    kind = owner if chosen == "owner" else chosen
    card_id = {"owner": owner_id, "lead": (lead_ids or [0])[0], "customer": (customer_ids or [0])[0]}[chosen]
    assert answer.status_code == 200
    [stored] = answer.json()["_embedded"]["calls"]
    assert stored["entity_type"] == kind
    assert stored["entity_id"] == card_id
    href = f"http://house.test/api/v4/{PLURAL[kind]}/{card_id}"
    assert stored["_embedded"] == {"entity": {"id": card_id, "_links": {"self": {"href": href}}}}
    # The link leads to the card, and the note is on it.
    assert desk.get(href.removeprefix("http://house.test/api/v4"))["id"] == card_id
    [note] = desk.get(f"/{PLURAL[kind]}/{card_id}/notes")["_embedded"]["notes"]
    assert note["id"] == stored["id"]
    assert note["note_type"] == "call_in"


def test_a_lead_that_came_in_unsorted_counts_as_active(desk: Desk) -> None:
    phone = str(next(_numbers))
    contact = desk.contact(phone)
    [pipeline] = desk.get("/leads/pipelines")["_embedded"]["pipelines"]
    [unsorted] = [status["id"] for status in pipeline["_embedded"]["statuses"] if status["type"] == 1]
    [lead] = desk.add("leads", {"status_id": unsorted, "_embedded": {"contacts": [{"id": contact}]}})
    [stored] = desk.post("/calls", [call(phone=phone)]).json()["_embedded"]["calls"]
    assert (stored["entity_type"], stored["entity_id"]) == ("lead", lead)


def test_a_lead_stops_counting_when_it_is_closed_and_counts_again_when_reopened(desk: Desk) -> None:
    phone = str(next(_numbers))
    contact = desk.contact(phone)
    [lead] = desk.add("leads", {"_embedded": {"contacts": [{"id": contact}]}})
    first = desk.get(f"/leads/{lead}")["status_id"]
    for status, expected in ((143, contact), (first, lead)):
        assert desk.ask("PATCH", f"/leads/{lead}", json={"status_id": status}).status_code == 200
        [stored] = desk.post("/calls", [call(phone=phone)]).json()["_embedded"]["calls"]
        assert stored["entity_id"] == expected


def test_of_two_contacts_with_one_phone_the_first_is_chosen_every_time(desk: Desk) -> None:
    phone = str(next(_numbers))
    first = desk.contact(phone)
    second = desk.contact(f"8{phone[1:]}")  # the same last ten digits
    assert first < second
    # Whatever is done to either of them.
    desk.ask("PATCH", f"/contacts/{first}", json={"name": "Пётр"})
    desk.ask("PATCH", f"/contacts/{second}", json={"name": "Анна"})
    answer = desk.post("/calls", [call(phone=phone) for _ in range(20)])
    assert {one["entity_id"] for one in answer.json()["_embedded"]["calls"]} == {first}


def test_a_contact_comes_before_a_company_that_was_there_first(desk: Desk) -> None:
    phone = str(next(_numbers))
    company, contact = desk.company(phone), desk.contact(phone)
    assert company < contact
    [stored] = desk.post("/calls", [call(phone=phone)]).json()["_embedded"]["calls"]
    assert (stored["entity_type"], stored["entity_id"]) == ("contact", contact)


def test_a_number_that_is_taken_from_a_card_finds_it_no_more(desk: Desk) -> None:
    old, new = str(next(_numbers)), str(next(_numbers))
    contact = desk.contact(old)
    field = {"field_code": "PHONE", "values": [{"value": new}]}
    assert (
        desk.ask("PATCH", f"/contacts/{contact}", json={"custom_fields_values": [field]}).status_code == 200
    )
    answer = desk.post("/calls", [call(phone=old), call(phone=new)]).json()
    assert [error["request_id"] for error in answer["errors"]] == ["0"]
    assert [stored["entity_id"] for stored in answer["_embedded"]["calls"]] == [contact]


@pytest.mark.parametrize("written", ["+7 (916) 999-88-77", "89169998877", "9169998877", "7-916-999-88-77"])
def test_numbers_are_compared_by_their_last_ten_digits(desk: Desk, written: str) -> None:
    # The first of these tests made the contact that all of them find.
    found = desk.ask("GET", "/contacts", params={"query": "79169998877"})
    contact = found.json()["_embedded"]["contacts"][0]["id"] if found.content else desk.contact("79169998877")
    [stored] = desk.post("/calls", [call(phone=written)]).json()["_embedded"]["calls"]
    assert stored["entity_id"] == contact


def test_a_short_number_matches_as_a_whole_and_no_end_of_a_longer_one(desk: Desk) -> None:
    long, short = desk.contact("+79160123123"), desk.contact("123123")
    answer = desk.post("/calls", [call(phone="123123"), call(phone="123"), call(phone="0123123")]).json()
    assert [one["entity_id"] for one in answer["_embedded"]["calls"]] == [short]
    assert [error["request_id"] for error in answer["errors"]] == ["1", "2"]
    assert long != short


def test_another_accounts_cards_are_never_found(house: House, desk: Desk) -> None:
    phone = str(next(_numbers))
    desk.contact(phone)
    assert Desk(house).post("/calls", [call(phone=phone)]).status_code == 400
