"""Does the running service keep a CRM? Campaigns' calls in the cards of those who were called, and webhooks of them."""

import json
import urllib.error
import urllib.request
from typing import Any

from zvonar.line.asterisk import town

from .house import House
from .processes import PATIENCE


def ask(house: House, method: str, path: str, document: Any = None) -> tuple[int, Any]:
    """A request with the account's long-lived token."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{house.port}/api/v4{path}",
        None if document is None else json.dumps(document).encode(),
        {
            "Authorization": f"Bearer {house.account['amocrm']['access_token']}",
            "Content-Type": "application/json",
        },
        method=method,
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        body = answer.read()
        return answer.status, json.loads(body) if body else None


def test_campaigns_calls_are_noted_in_the_cards_of_those_who_were_called(service: House) -> None:
    digits = "127"
    first = 100 * (service._campaigns + 1)  # the subscribers of the campaign that comes next
    numbers = [town.number(first + place, 0, int(digit)) for place, digit in enumerate(digits)]
    known = numbers[:2]
    contacts = [
        {
            "name": number,
            "custom_fields_values": [{"field_code": "PHONE", "values": [{"value": number}]}],
        }
        for number in known
    ]
    status, made = ask(service, "POST", "/contacts", contacts)
    assert status == 200
    ids = [one["id"] for one in made["_embedded"]["contacts"]]

    dialling = service.campaign(digits)
    assert dialling.numbers == numbers
    dialling.over()

    for number, card_id, call_status in zip(known, ids, (4, 7), strict=True):
        _, listed = ask(service, "GET", f"/contacts/{card_id}/notes")
        [note] = listed["_embedded"]["notes"]
        assert (note["note_type"], note["params"]["phone"]) == ("call_out", number)
        assert note["params"]["call_status"] == call_status
        assert (note["params"]["duration"] > 0) is (call_status == 4)
    assert service.value("SELECT count(*) FROM crm_notes WHERE params ->> 'phone' = %s", numbers[2]) == 0


def test_a_path_without_such_a_method_is_told_in_the_dialects_own_shape(service: House) -> None:
    try:
        ask(service, "GET", "/calls")
    except urllib.error.HTTPError as refusal:
        with refusal:
            assert refusal.code == 405
            assert refusal.headers["content-type"] == "application/problem+json"
            assert json.loads(refusal.read())["status"] == 405
    else:
        raise AssertionError
