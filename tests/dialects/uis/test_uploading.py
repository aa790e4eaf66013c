"""Do sessions and visits from elsewhere stand in the reports?"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from psycopg.types.json import Jsonb

from zvonar.core.result import Disposition, Outcome
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.reports import rules
from zvonar.store import directories

from .rpc import PERIOD, error, result

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

SINCE = {"date_from": "2026-11-01 00:00:00", "date_till": "2026-12-31 00:00:00"}
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


ATTRIBUTES: dict[str, Any] = {
    "utm_source": "яндекс",
    "visitor_device": "mobile",
    "site_domain_name": "example.org",
    "segments": [{"segment_id": 7, "segment_name": "Постоянные"}],
    "attributes": ["first", "target"],
    "sale_date": "2026-11-22 12:30:00",
    "sale_cost": 99.5,
}


def visited(house: House, tenant: Tenant) -> list[dict[str, Any]]:
    period = {"date_from": "2026-11-01 00:00:00", "date_till": "2026-12-31 00:00:00"}
    fields = ["id", *ATTRIBUTES]
    return list(result(house, tenant, "get.calls_report", **period, fields=fields)["data"])


def comes_in(house: House, tenant: Tenant, own: str) -> int:
    """A call to a number of ours, that is over."""
    facts = {
        "direction": "in",
        "start_time": house.clock.isoformat(),
        "finish_time": (house.clock + timedelta(seconds=5)).isoformat(),
        "disposition": "no_answer",
        "contact_phone": "+79161112233",
        "own_phone": own,
    }

    async def work() -> int:
        session = await house.db.value(
            """INSERT INTO ended_sessions (session_id, account_id, facts)
            VALUES (nextval('session_ids'), %(account_id)s, %(facts)s) RETURNING session_id""",
            {"account_id": tenant.account.account_id, "facts": Jsonb(facts)},
        )
        await house.filling.once()
        return int(session)

    return house.run(work())


def test_a_visit_dresses_the_sessions_of_the_number_while_it_is_valid(house: House, tenant: Tenant) -> None:
    bearer = {"authorization": f"Bearer {tenant.uis}"}
    visit = {"virtual_phone_number": "74950000001", "attributes": ATTRIBUTES, "valid_seconds": 60}
    answer = track(house, visit, **bearer)
    assert answer.status_code == 200, answer.text
    assert isinstance(answer.json()["data"]["visit_id"], int)
    dressed = comes_in(house, tenant, "+74950000001")
    elsewhere = comes_in(house, tenant, "+74950000002")
    # A later visit speaks before an earlier one.
    by_query = {
        "virtual_phone_number": "+74950000001",
        "attributes": {"utm_source": "другой"},
        "valid_seconds": 60,
    }
    answer = house.send("POST", f"/track?access_token={tenant.uis}", content=json.dumps(by_query))
    assert answer.status_code == 200, answer.text
    redressed = comes_in(house, tenant, "+74950000001")
    house.clock += timedelta(seconds=61)
    late = comes_in(house, tenant, "+74950000001")
    rows = {row.pop("id"): row for row in visited(house, tenant)}
    assert rows[dressed] == ATTRIBUTES
    assert rows[redressed]["utm_source"] == "другой"
    for session in (elsewhere, late):
        assert rows[session]["utm_source"] is None
        assert rows[session]["segments"] == rows[session]["attributes"] == []


def test_a_visit_dresses_a_call_before_and_after_it_has_ended(house: House, tenant: Tenant) -> None:
    bearer = {"authorization": f"Bearer {tenant.uis}"}
    campaign_id = house.campaign(tenant)

    def add() -> int:
        form = {"public_key": tenant.callo, "phone": "+70001230001", "campaign_id": campaign_id}
        answer = house.send("POST", PREFIXES[0] + "/phones/call/", data=form)
        return int(answer.json()["call_id"])

    busy = Outcome(disposition=Disposition.busy, hangup_cause=17)
    call_id = add()
    assert (
        track(house, {"call_id": call_id, "attributes": {"utm_source": "раньше"}}, **bearer).status_code
        == 200
    )
    assert house.dial(tenant, campaign_id, busy) == call_id
    [row] = visited(house, tenant)
    assert row["utm_source"] == "раньше"
    assert track(house, {"call_id": call_id, "attributes": ATTRIBUTES}, **bearer).status_code == 200
    [row] = visited(house, tenant)
    assert {name: row[name] for name in ATTRIBUTES} == ATTRIBUTES
    filter = {"field": "segments", "operator": "jsquery", "value": "#.segment_id = 7"}
    assert result(house, tenant, "get.calls_report", **SINCE, filter=filter)["metadata"]["total_items"] == 1
    for nobodys in (10**14, call_id + 1):
        answer = track(house, {"call_id": nobodys, "attributes": ATTRIBUTES}, **bearer)
        assert (answer.status_code, answer.json()["error"]["data"]["field"]) == (400, "call_id")
    theirs = {"authorization": f"Bearer {house.tenant().uis}"}
    assert track(house, {"call_id": call_id, "attributes": {}}, **theirs).status_code == 400


@pytest.mark.parametrize("direction", ["in", "out", None])
def test_a_call_is_told_by_its_two_sides_as_the_vendors_page_has_it(
    house: House, tenant: Tenant, direction: str | None
) -> None:
    told = {
        "ext_id": "1",
        "calling_phone_number": "+79096004875",
        "called_phone_number": "74951234500",
        "start_time": "2026-11-22 10:00:00",
        "finish_time": "2026-11-22 10:01:00",
        "is_lost": False,
        "talk_duration": 40,
        **({} if direction is None else {"direction": direction}),
    }
    result(house, tenant, "upload.calls", calls=[told])
    fields = ["contact_phone_number", "virtual_phone_number", "direction", "wait_duration", "total_duration"]
    [row] = result(house, tenant, "get.calls_report", **PERIOD, fields=fields)["data"]
    sides = {"contact_phone_number": "79096004875", "virtual_phone_number": "74951234500"}
    if direction == "out":
        sides = {"contact_phone_number": "74951234500", "virtual_phone_number": "79096004875"}
    assert row == {**sides, "direction": direction or "in", "wait_duration": 20, "total_duration": 60}
    for changed, field in (
        ({"contact_phone_number": "79096004875"}, "calls.0.calling_phone_number"),
        ({"calling_phone_number": "одиннадцать"}, "calls.0.calling_phone_number"),
        ({"calling_phone_number": 79096004875}, "calls.0.calling_phone_number"),
        ({"calling_phone_number": ""}, "calls.0.contact_phone_number"),
    ):
        assert (
            error(house, tenant, "upload.calls", calls=[{**told, "direction": "in", **changed}])[1] == field
        )


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


def ruled(house: House, tenant: Tenant, *, contains: str) -> int:
    """A tag that a session gets by itself when its utm_source has this."""
    account_id = tenant.account.account_id
    tag_id: int = house.run(directories.put_tag(house.db, account_id, f"тег {contains}"))
    condition = rules.Condition(field="utm_source", operator="contains", value=contains)
    house.run(rules.add(house.db, account_id, tag_id, [condition]))
    return tag_id


def tags(house: House, tenant: Tenant) -> list[tuple[int, str]]:
    [row] = result(house, tenant, "get.calls_report", **SINCE, fields=["tags"])["data"]
    return [(tag["tag_id"], tag["tag_type"]) for tag in row["tags"]]


def test_a_call_that_is_told_again_keeps_its_tags_and_is_weighed_by_rules(
    house: House, tenant: Tenant
) -> None:
    account_id = tenant.account.account_id
    by_hand = house.run(directories.put_tag(house.db, account_id, "по руке"))
    russian, paid = ruled(house, tenant, contains="яндекс"), ruled(house, tenant, contains="реклама")
    [made] = result(house, tenant, "upload.calls", calls=[CALL])["data"]
    assert tags(house, tenant) == [(russian, "auto")]
    tag = {"communication_id": made["id"], "communication_type": "call", "tag_id": by_hand}
    result(house, tenant, "set.tag_communications", **tag)
    tagged = [(russian, "auto"), (by_hand, "manual")]
    assert tags(house, tenant) == tagged
    result(house, tenant, "upload.calls", calls=[{**CALL, "utm_campaign": "осень"}])
    assert tags(house, tenant) == tagged
    result(house, tenant, "upload.calls", calls=[{**CALL, "utm_source": "реклама"}])
    assert tags(house, tenant) == [*tagged, (paid, "auto")], (
        "a tag stays though its rule does not fit any more"
    )
    result(house, tenant, "unset.tag_communications", **{**tag, "tag_id": paid})
    result(house, tenant, "upload.calls", calls=[{**CALL, "utm_source": "реклама"}])
    assert tags(house, tenant) == tagged, "nothing has changed since somebody took it away"


def test_a_visit_that_is_told_late_is_weighed_by_rules(house: House, tenant: Tenant) -> None:
    paid = ruled(house, tenant, contains="реклама")
    campaign_id = house.campaign(tenant)
    form = {"public_key": tenant.callo, "phone": "+70001230001", "campaign_id": campaign_id}
    call_id = int(house.send("POST", PREFIXES[0] + "/phones/call/", data=form).json()["call_id"])
    house.dial(tenant, campaign_id, Outcome(disposition=Disposition.busy, hangup_cause=17))
    assert tags(house, tenant) == []
    told = {"call_id": call_id, "attributes": {"utm_source": "реклама"}}
    assert track(house, told, authorization=f"Bearer {tenant.uis}").status_code == 200
    assert tags(house, tenant) == [(paid, "auto")]
