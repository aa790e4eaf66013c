"""Do sessions and visits from elsewhere stand in the reports?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from .rpc import PERIOD, error, result

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

CALL = {
    "ext_id": "их-1",
    "start_time": "2026-11-22 10:00:00",
    "finish_time": "2026-11-22 10:01:00",
    "direction": "in",
    "source": "upload_calls",
    "is_lost": False,
    "contact_phone_number": "74951234567",
    "utm_source": "яндекс",
    "utm_referrer": "https://example.org/",
}


def test_an_uploaded_call_is_in_both_reports_and_told_again_it_changes(house: House, tenant: Tenant) -> None:
    [made] = result(house, tenant, "upload.calls", calls=[CALL])["data"]
    fields = ["id", "ext_id", "utm_source", "utm_referrer", "start_time"]
    filter = {"field": "utm_referrer", "operator": "like", "value": "%example%"}
    [row] = result(house, tenant, "get.calls_report", **PERIOD, fields=fields, filter=filter)["data"]
    assert row == {
        "id": made["id"],
        "start_time": "2026-11-22 10:00:00",
        "utm_source": "яндекс",
        "ext_id": "их-1",
        "utm_referrer": "https://example.org/",
    }
    again = result(house, tenant, "upload.calls", calls=[{**CALL, "utm_source": "другой"}])["data"]
    assert again == [made]
    [row] = result(house, tenant, "get.calls_report", **PERIOD, fields=["utm_source"])["data"]
    assert row == {"utm_source": "другой"}
    [row] = result(house, tenant, "get.mgf_calls", report_id=1, **PERIOD, fields=["call_type"])["data"]
    assert row["call_type"] == {"value": "Звонок из внешней системы", "value_id": "upload_calls"}


@pytest.mark.parametrize(
    "calls",
    [
        None,
        {},
        [],
        [1],
        [{}],
        [{**CALL, "source": "дятел"}],
        [{**CALL, "other": 1}],
        [CALL, {**CALL, "is_lost": "да"}],
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_taken(house: House, tenant: Tenant, calls: Any) -> None:
    assert error(house, tenant, "upload.calls", calls=calls)[1].startswith("calls")  # type: ignore[union-attr]
    assert result(house, tenant, "get.calls_report", **PERIOD)["data"] == []


def track(house: House, body: Any, **headers: str) -> httpx.Response:
    return house.send("POST", "/track", content=json.dumps(body), headers=headers)


def test_a_visit_dresses_the_session_of_the_number_that_is_called(house: House, tenant: Tenant) -> None:
    session = house.put(tenant)
    visit = {"call_id": session, "attributes": {"utm_source": "яндекс", "visitor_device": "mobile"}}
    bearer = {"authorization": f"Bearer {tenant.uis}"}
    assert track(house, {**visit, "call_id": 10**14}, **bearer).status_code == 400
    number = {"virtual_phone_number": "74950000001", "attributes": {"utm_source": "яндекс"}}
    answer = track(house, number, **bearer)
    assert answer.status_code == 200, answer.text
    assert isinstance(answer.json()["data"]["visit_id"], int)
    by_query = house.send("POST", f"/track?access_token={tenant.uis}", content=json.dumps(number))
    assert by_query.status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "mnemonic"),
    [
        ("{", 400, "parse_error"),
        ("[]", 400, "invalid_request"),
        ("[" * 5_000, 400, "parse_error"),
        ("{}", 400, "invalid_parameters_combination"),
        ('{"virtual_phone_number":"74950000001"}', 400, "required_parameter_missed"),
        (
            '{"virtual_phone_number":"74950000001","attributes":{"is_lost":true}}',
            400,
            "unexpected_parameters",
        ),
        ('{"virtual_phone_number":"74950000001","attributes":{},"x":1}', 400, "unexpected_parameters"),
    ],
)
def test_a_visit_that_is_none_is_told_so(
    house: House, tenant: Tenant, body: str, status: int, mnemonic: str
) -> None:
    answer = house.send("POST", "/track", content=body, headers={"authorization": f"Bearer {tenant.uis}"})
    assert (answer.status_code, answer.json()["error"]["data"]["mnemonic"]) == (status, mnemonic)


def test_visits_need_a_key(house: House) -> None:
    assert track(house, {}).status_code == 400
    assert track(house, {}, authorization="Bearer nobody").status_code == 401
    assert house.send("GET", "/track").status_code == 405
