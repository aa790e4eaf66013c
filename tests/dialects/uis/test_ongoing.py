"""Are calls that are up now in the report for whoever asks for them, and for nobody else?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zvonar.core.call import CallState, Next
from zvonar.core.facts import CallFacts
from zvonar.core.inbound import Received
from zvonar.core.leg import InboundLeg
from zvonar.core.result import CallEnd, Disposition, Outcome, ScriptResult
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.store import directories, epochs, inbound, legs

from .rpc import error, result
from .through import Second, put_through

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


def total(house: House, tenant: Tenant, *, ongoing: bool) -> int:
    said = result(house, tenant, "get.calls_report", **PERIOD, include_ongoing_calls=ongoing)
    return int(said["metadata"]["total_items"])


def test_what_is_up_is_counted_for_whoever_asks_for_it_only(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    form = {"public_key": tenant.callo, "phone": "+70001230003", "campaign_id": campaign_id}
    assert house.send("POST", PREFIXES[0] + "/phones/call/", data=form).status_code == 200
    house.ring(tenant, campaign_id)
    house.put(tenant, contact_phone_number="74950000003")
    asked = (True, False, True, False)
    assert [total(house, tenant, ongoing=ongoing) for ongoing in asked] == [2, 1, 2, 1]


def test_a_call_that_was_up_is_the_same_one_when_it_is_over(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    form = {"public_key": tenant.callo, "phone": "+70001230001", "campaign_id": campaign_id}
    assert house.send("POST", PREFIXES[0] + "/phones/call/", data=form).status_code == 200
    leased, leg = house.run(house._ringing(tenant, campaign_id))
    [up] = report(house, tenant, include_ongoing_calls=True)
    assert up["finish_time"] is None
    ended = legs.LegEnd(
        account_id=tenant.account.account_id,
        campaign_id=campaign_id,
        leg_id=leg,
        outcome=Outcome(disposition=Disposition.busy, hangup_cause=17),
        ended_at=house.clock,
        answered_at=None,
        next=Next(state=CallState.finished, call_end=CallEnd.attempts_exhausted),
    )
    assert house.run(legs.end(house.db, ended, now=house.clock))
    house.run(house.filling.once())
    [over] = report(house, tenant, include_ongoing_calls=True)
    assert over["finish_time"] is not None
    assert (over["id"], over["communication_id"]) == (up["id"], up["communication_id"])
    assert leased.call_id != up["id"]


def test_a_call_that_is_put_through_says_to_whom(house: House, tenant: Tenant) -> None:
    account_id = tenant.account.account_id
    put = directories.put_employee(house.db, account_id, full_name="Иванов Иван", phone="+70001110000")
    employee = house.run(put)
    house.put(tenant, last_answered_employee_full_name="Иванов Иван", received_by="Иванов Иван")
    seen: list[dict[str, Any]] = []
    by_id = {"field": "employees", "operator": "jsquery", "value": f"#.employee_id = {employee}"}
    answered = [
        {"field": "last_answered_employee_id", "operator": "=", "value": employee},
        {"field": "first_talked_employee_id", "operator": "=", "value": employee},
        {"field": "last_answered_employee_full_name", "operator": "=", "value": "Иванов Иван"},
    ]
    found: list[list[dict[str, Any]]] = []

    async def meanwhile() -> None:
        await ask_meanwhile(house, tenant, seen)
        for one in (by_id, *answered):
            await ask_meanwhile(house, tenant, found, filter=one)

    put_through(house, tenant, Second("+70001110000", rings=2, talks=5), meanwhile=meanwhile)
    up = [[row for row in rows if row["is_transfer"]] for rows in (*found, *seen)]
    assert [len(rows) for rows in up] == [1, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    [ringing], [talking] = up[-2:]
    expected = {"employee_id": employee, "employee_full_name": "Иванов Иван"}
    assert ringing["is_transfer"] is talking["is_transfer"] is True
    assert ringing["employees"] == [{**expected, "is_answered": False, "is_talked": False}]
    assert talking["employees"] == [{**expected, "is_answered": True, "is_talked": True}]
    assert ringing["talk_duration"] == 0
    [over] = report(house, tenant, fields=["id", "employees"], filter=by_id)
    assert over == {"id": talking["id"], "employees": talking["employees"]}
    assert ringing["id"] == talking["id"]


async def ask_meanwhile(house: House, tenant: Tenant, seen: list[Any], **others: Any) -> None:
    fields = ["id", "is_transfer", "employees", "talk_duration"]
    params = {"access_token": tenant.uis, **PERIOD, "include_ongoing_calls": True, "fields": fields, **others}
    request = {"jsonrpc": "2.0", "id": 1, "method": "get.calls_report", "params": params}
    answer = (await house.client.post("/v2.0", json=request)).json()
    seen.append(answer["result"]["data"])


def test_a_call_that_comes_in_is_there_while_it_is_up(house: House, tenant: Tenant) -> None:
    leg = InboundLeg(f"in-{tenant.account.account_id}")

    async def comes() -> None:
        epoch = await epochs.claim(house.db, "gateway", now=house.clock)
        await inbound.begin(
            house.db,
            tenant.account.account_id,
            leg,
            gateway="gateway",
            epoch=epoch,
            trunk_id=house.trunk.trunk_id,
            own_phone="+74950000000",
            contact="+79161112233",
            now=house.clock,
        )

    before = house.put(tenant, cpn_country_id="RU", contact_phone_number="79161112234")
    house.run(comes())
    russian = {"field": "cpn_country_id", "operator": "=", "value": "RU"}
    rows = report(house, tenant, include_ongoing_calls=True, filter=russian)
    [up] = [row for row in rows if row["id"] != before]
    expected = {
        "direction": "in",
        "source": "va",
        "contact_phone_number": "79161112233",
        "virtual_phone_number": "74950000000",
        "finish_time": None,
    }
    assert {name: up[name] for name in expected} == expected
    received = Received(
        account_id=tenant.account.account_id,
        phone="+79161112233",
        own_phone="+74950000000",
        began_at=house.clock,
        answered_at=None,
        ended_at=house.clock,
        disposition=Disposition.declined,
        script_result=ScriptResult.none,
    )
    facts = CallFacts(direction="in")
    ending = inbound.end(house.db, leg, received, country="RU", hangup_cause=21, facts=facts, now=house.clock)
    house.run(ending)
    house.run(house.filling.once())
    rows = report(house, tenant, include_ongoing_calls=True, filter=russian)
    [over] = [row for row in rows if row["id"] != before]
    assert over["id"] == up["id"]
    assert over["finish_time"] is not None
    [leg_] = result(house, tenant, "get.call_legs_report", **PERIOD)["data"]
    assert (leg_["call_session_id"], leg_["release_cause_code"]) == (up["id"], 21)


def test_it_is_true_or_false(house: House, tenant: Tenant) -> None:
    assert error(house, tenant, "get.calls_report", **PERIOD, include_ongoing_calls=1)[:2] == (
        "data_type_error",
        "include_ongoing_calls",
    )
