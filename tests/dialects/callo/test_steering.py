"""Does what is removed or stopped stay so, and does an error change nothing?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from zvonar.core.result import Disposition, Outcome
from zvonar.dialects.callo.routes import PREFIXES

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

PHONE = "+70001230001"
BUSY = Outcome(disposition=Disposition.busy)
STATES = (
    "SELECT string_agg(state || coalesce('/' || call_end, '') || CASE WHEN removing THEN '!' ELSE '' END, ' ' "
    + ("ORDER BY ordinal) FROM calls WHERE campaign_id = %s")
)


def send(house: House, tenant: Tenant, path: str, *, method: str = "POST", **fields: Any) -> httpx.Response:
    form = {"public_key": tenant.callo, **fields}
    body = {"data": form} if method == "POST" else {"params": form}
    return house.send(method, f"{PREFIXES[0]}/phones/{path}/", pause=10, **body)


def add(house: House, tenant: Tenant, campaign_id: int, phone: str = PHONE) -> int:
    call_id = send(house, tenant, "call", phone=phone, campaign_id=campaign_id).json()["call_id"]
    assert isinstance(call_id, int)
    return call_id


def states(house: House, campaign_id: int) -> str:
    found = house.run(house.db.value(STATES, [campaign_id]))
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_call_is_removed_by_its_id(house: House, tenant: Tenant, method: str) -> None:
    campaign_id = house.campaign(tenant)
    ids = [add(house, tenant, campaign_id) for _ in range(2)]
    answer = send(house, tenant, "remove_call", method=method, call_id=ids[0], campaign_id=campaign_id)
    assert answer.json() == {"status": "ok", "data": {"call_ids": [ids[0]]}}
    assert states(house, campaign_id) == "removed/removed queued"
    row = send(house, tenant, "call_by_id", call_id=ids[0]).json()[0]
    assert (row["status"], row["dial_status"]) == ("deleted", 15)
    assert row["completed"] is not None


def test_by_phone_all_that_are_not_completed_are_removed(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    ids = [add(house, tenant, campaign_id) for _ in range(3)]
    other = add(house, tenant, campaign_id, "+70001230002")
    house.dial(tenant, campaign_id, BUSY)
    answer = send(house, tenant, "remove_call", phone="0001230001", campaign_id=campaign_id)
    assert answer.json() == {"status": "ok", "data": {"call_ids": ids[1:]}}
    assert states(house, campaign_id) == "finished/attempts_exhausted removed/removed removed/removed queued"
    assert send(house, tenant, "call_by_id", call_id=other).json()[0]["status"] == "in_process"


def test_removing_what_is_completed_is_an_error_and_changes_nothing(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    call_id = add(house, tenant, campaign_id)
    house.dial(tenant, campaign_id, BUSY)
    before = house.run(house.db.value("SELECT c::text FROM calls c WHERE call_id = %s", [call_id]))
    by_id = send(house, tenant, "remove_call", call_id=call_id, campaign_id=campaign_id)
    assert by_id.status_code == 400
    assert by_id.json()["data"] == f"Call by ats_call_id={call_id} is already completed"
    by_phone = send(house, tenant, "remove_call", phone=PHONE, campaign_id=campaign_id)
    assert by_phone.json()["data"] == f"Calls by val={PHONE} are already completed"
    assert house.run(house.db.value("SELECT c::text FROM calls c WHERE call_id = %s", [call_id])) == before


@pytest.mark.parametrize("state", ["dialing", "talking"])
def test_a_call_on_the_line_is_removed_at_its_end(house: House, tenant: Tenant, state: str) -> None:
    campaign_id = house.campaign(tenant)
    call_id = add(house, tenant, campaign_id)
    house.run(house.db.execute("UPDATE calls SET state = %s WHERE call_id = %s", [state, call_id]))
    for _ in range(2):
        answer = send(house, tenant, "remove_call", call_id=call_id, campaign_id=campaign_id)
        assert answer.json()["status"] == "ok"
        assert states(house, campaign_id) == f"{state}!"
    house.run(house.db.execute("UPDATE calls SET state = 'queued' WHERE call_id = %s", [call_id]))


def test_a_leased_call_is_removed_and_its_lease_with_it(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    call_id = add(house, tenant, campaign_id)
    house.run(house.db.execute("UPDATE calls SET lease_epoch = 7 WHERE call_id = %s", [call_id]))
    send(house, tenant, "remove_call", call_id=call_id, campaign_id=campaign_id)
    assert states(house, campaign_id) == "removed/removed"
    assert house.run(house.db.value("SELECT lease_epoch IS NULL FROM calls WHERE call_id = %s", [call_id]))


def test_what_is_not_there_is_not_removed(house: House, tenant: Tenant) -> None:
    campaign_id, other = house.campaign(tenant), house.campaign(tenant)
    call_id = add(house, tenant, campaign_id)
    asked: list[tuple[dict[str, Any], str]] = [
        ({"call_id": 123456789}, "Call by ats_call_id=123456789 dnot found"),
        ({"call_id": 10**30}, f"Call by ats_call_id={10**30} dnot found"),
        ({"call_id": call_id, "campaign_id": other}, f"Call by ats_call_id={call_id} dnot found"),
        ({"call_id": call_id, "phone": "+70001230002"}, f"Call by ats_call_id={call_id} dnot found"),
        ({"phone": "+380123456789"}, "Phone by val=+380123456789 not found"),
        ({"phone": "abc"}, "Phone by val=abc not found"),
        ({"campaign_id": 1, "phone": PHONE}, "Campaign by id=1 don't found"),
        ({}, "Form isn't valid: * call_id\n  * This field is required."),
        ({"call_id": "x"}, "Form isn't valid: * call_id\n  * Enter a whole number."),
    ]
    for fields, said in asked:
        answer = send(house, tenant, "remove_call", **{"campaign_id": campaign_id, **fields})
        assert answer.status_code == 400
        assert answer.json() == {"status": "error", "data": said}
    assert states(house, campaign_id) == "queued"
    stranger = house.tenant()
    mine = house.campaign(stranger)
    assert send(house, stranger, "remove_call", call_id=call_id, campaign_id=mine).status_code == 400
    assert states(house, campaign_id) == "queued"
    assert send(
        house, tenant, "remove_call", call_id=call_id, phone=PHONE, campaign_id=campaign_id
    ).is_success


def test_a_stopped_number_stays_stopped(house: House, tenant: Tenant) -> None:
    answer = send(house, tenant, "stoplist", phone="7(916)123-45-67")
    assert answer.json() == {"status": "ok", "data": {"phone": "+79161234567"}}
    assert send(house, tenant, "stoplist", phone="+79161234567").is_success
    held = "SELECT count(*) FROM stop_list WHERE account_id = %s AND phone = '+79161234567' AND until IS NULL"
    assert house.run(house.db.value(held, [tenant.account.account_id])) == 1
    wrong = send(house, tenant, "stoplist", phone="nobody").json()["data"]
    assert wrong == "Form isn't valid: * phone\n  * Enter a valid phone number."
    missing = send(house, tenant, "stoplist").json()["data"]
    assert missing == "Form isn't valid: * phone\n  * This field is required."
