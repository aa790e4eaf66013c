"""Do calls of one account get into another's CRM, over HTTP and by nothing else, each once, with its recording?"""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from zvonar.line.asterisk import town

from .dialling import Dialling
from .house import House, house
from .processes import PATIENCE, until

SETTINGS = {
    "record": True,
    "window": {"start": "00:00:00", "end": "00:00:00"},
    "ring_timeout": 5,
    "max_call_time": 30,
}
RESTED = 180.0  # seconds; a doubtful call rests for thirty


class Company:
    """Another account, whose CRM it is."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.keys = house.json("account", "add", "company", "--timezone", "UTC")["amocrm"]
        self.url = f"http://127.0.0.1:{house.port}"

    def get(self, path: str, **query: Any) -> Any:
        request = urllib.request.Request(
            f"{self.url}/api/v4/{path}?{urlencode(query)}",
            headers={"Authorization": f"Bearer {self.keys['access_token']}"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.loads(answer.read() or "null")

    def notes(self, cards: str) -> list[dict[str, Any]]:
        page = self.get(f"{cards}/notes", **{"filter[note_type]": "call_out", "limit": 250})
        return page["_embedded"]["notes"] if page else []


@pytest.fixture(scope="module")
def served(installed: Path) -> Iterator[House]:
    """A service that is reached from outside as from here."""
    with house(installed, ZVONAR_ALLOW_NETWORKS="127.0.0.0/8") as made:
        made.environment["ZVONAR_PUBLIC_URL"] = f"http://127.0.0.1:{made.port}"
        made.serve()
        yield made


@pytest.fixture(scope="module")
def company(served: House) -> Company:
    return Company(served)


def dial(house: House, name: str, digits: str) -> list[str]:
    """A recorded campaign of town numbers with these last digits, to its end; the numbers."""
    settings = house.room / f"{name}.json"
    settings.write_text(json.dumps({**SETTINGS, "callback_url": house.receiver.url(name)}))
    account = house.account["account_id"]
    made = house.json(
        *("campaign", "add", "--account", account, "--name", name, "--settings", settings),
        *("--text", "Здравствуйте!", "--attempts", "1"),
    )
    numbers = [town.number(len(name) * 100 + who, 0, int(digit)) for who, digit in enumerate(digits)]
    listed = house.room / f"{name}.csv"
    listed.write_text("\n".join(numbers) + "\n")
    house.json("campaign", "import", made["id"], listed)
    Dialling(house, made["id"], name, numbers).over()
    return numbers


def logged(house: House) -> list[dict[str, Any]]:
    found = house.json("crm", "log", "--account", house.account["account_id"], "--state", "logged")
    assert isinstance(found, list)
    return found


def test_calls_get_onto_cards_of_the_crm_once_and_their_recordings_play(
    served: House, company: Company
) -> None:
    account = served.account["account_id"]
    made = served.json(
        *("crm", "connect", "--account", account, "--domain", company.url),
        *("--client-id", company.keys["client_id"], "--client-secret", company.keys["client_secret"]),
        *("--code", company.keys["code"]),
    )
    assert made["kind"] == "oauth"
    served.json("crm", "set", "--account", account, "--unknown", "lead", "--map", "busy=7:Позвонить вечером")
    numbers = dial(served, "push", "002")
    until(lambda: len(logged(served)) == 3, about=lambda: served.serving and served.serving.said)
    # A contact with a lead for each number, and the call on the lead, as the CRM's own rule has it.
    notes = company.notes("leads")
    assert sorted(note["params"]["phone"] for note in notes) == sorted(numbers)
    told = {note["params"]["phone"]: note["params"] for note in notes}
    assert [(told[n]["call_status"], told[n]["call_result"]) for n in numbers] == [
        (4, "Прослушал сообщение"),
        (4, "Прослушал сообщение"),
        (7, "Позвонить вечером"),
    ]
    assert "link" not in told[numbers[2]]
    with urllib.request.urlopen(
        urllib.request.Request(told[numbers[0]]["link"], headers={"Range": "bytes=0-99"}), timeout=PATIENCE
    ) as part:
        assert (part.status, len(part.read())) == (206, 100)
        assert part.headers["Accept-Ranges"] == "bytes"
        assert part.headers["Content-Type"] == "audio/mpeg"
    cards = {one["card"] for one in logged(served)}
    assert cards == {f"{company.url}/leads/detail/{note['entity_id']}" for note in notes}


def test_what_is_in_doubt_is_found_by_reading_back(served: House, company: Company) -> None:
    before = {
        note["id"]: note["params"]["uniq"] for cards in ("leads", "contacts") for note in company.notes(cards)
    }
    assert before
    with served.store() as connection:
        connection.execute(
            "UPDATE push_calls SET state = 'posting', note_id = NULL, posted_at = settled_at - interval '1 second'"
        )
        connection.execute("UPDATE deliveries SET state = 'pending', next_at = now() WHERE kind = 'amocrm'")
        connection.execute("NOTIFY zvonar_deliveries")
    until(lambda: len(logged(served)) == len(before), RESTED)
    assert {one["note_id"]: one["uniq"] for one in logged(served)} == before
    assert len(company.notes("leads")) + len(company.notes("contacts")) == len(before)


def test_a_period_that_was_pushed_is_not_pushed_again(served: House) -> None:
    account = served.account["account_id"]
    done = served.json("crm", "backfill", "--account", account, "--since", "2025-01-01")
    assert done == {"seen": 3, "added": 0}


def test_tokens_are_refreshed_by_our_own_rules_and_theirs(served: House, company: Company) -> None:
    """The access token is about to end: the refresh rotates both, and the next calls go with the new ones."""
    served.rows("UPDATE push_connections SET expires_at = now() RETURNING 1")
    before = len(logged(served))
    dial(served, "rotated", "0")
    until(lambda: len(logged(served)) == before + 1)
    shown = served.json("crm", "show", "--account", served.account["account_id"])
    assert (shown["state"], shown["trouble"]) == ("connected", None)
    assert served.value("SELECT version FROM push_connections") == 2


def test_what_the_crm_knows_nothing_of_becomes_unsorted(served: House, company: Company) -> None:
    served.json("crm", "set", "--account", served.account["account_id"], "--unknown", "unsorted")
    before = len(logged(served))
    [number] = dial(served, "unsorted", "0")
    until(lambda: len(logged(served)) == before + 1)
    [one] = [one for one in logged(served) if one["entity_type"] == "unsorted"]
    listed = company.get("leads/unsorted", **{"filter[category][]": "sip"})["_embedded"]["unsorted"]
    [there] = [item for item in listed if item["uid"] == one["entity_id"]]
    assert there["metadata"]["uniq"] == one["uniq"]
    assert number in json.dumps(there)
