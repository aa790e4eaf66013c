"""Are calls that are up now in the report for whoever asks for them, and for nobody else?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zvonar.dialects.callo.routes import PREFIXES

from .rpc import error, result

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

# The clock of these tests goes on; whatever rings, it began within these.
PERIOD = {"date_from": "2026-11-01 00:00:00", "date_till": "2026-12-31 00:00:00"}


def report(house: House, tenant: Tenant, **params: Any) -> list[dict[str, Any]]:
    return list(result(house, tenant, "get.calls_report", **PERIOD, **params)["data"])


def test_a_call_that_rings_is_there_when_asked_for(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    form = {"public_key": tenant.callo, "phone": "+70001230001", "campaign_id": campaign_id}
    assert house.send("POST", PREFIXES[0] + "/phones/call/", data=form).status_code == 200
    house.ring(tenant, campaign_id)
    over = house.put(tenant, contact_phone_number="74950000001")
    assert [row["id"] for row in report(house, tenant)] == [over]
    assert [row["id"] for row in report(house, tenant, include_ongoing_calls=False)] == [over]
    rows = report(house, tenant, include_ongoing_calls=True)
    assert len(rows) == 2
    [ringing] = [row for row in rows if row["id"] != over]
    expected = {
        "finish_time": None,
        "finish_reason": None,
        "direction": "out",
        "contact_phone_number": "70001230001",
        "communication_type": "call",
        "call_records": [],
    }
    assert {name: ringing[name] for name in expected} == expected
    filter = {"field": "contact_phone_number", "operator": "like", "value": "7000%"}
    assert report(house, tenant, include_ongoing_calls=True, filter=filter, fields=["id"]) == [
        {"id": ringing["id"]}
    ]
    assert report(
        house, tenant, include_ongoing_calls=True, sort=[{"field": "start_time"}], limit=1, offset=1
    )
    assert report(house, house.tenant(), include_ongoing_calls=True) == []


def test_it_is_true_or_false(house: House, tenant: Tenant) -> None:
    assert error(house, tenant, "get.calls_report", **PERIOD, include_ongoing_calls=1)[:2] == (
        "data_type_error",
        "include_ongoing_calls",
    )
