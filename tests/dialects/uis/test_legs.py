"""Who was called in a session, who answered, and what was recorded of each? get.call_legs_report, and the session that
is made of the same legs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.types.json import Jsonb
from tests.sounds import sound

from zvonar.core.result import Disposition, Outcome
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.dialects.uis.methods import legs as method
from zvonar.reports import legs as store
from zvonar.store import directories

from .rpc import error, result
from .through import CONTACT, OWN, Second, put_through

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

# The clock of these tests goes on; whatever was called, it was within these.
PERIOD = {"date_from": "2026-11-01 00:00:00", "date_till": "2026-12-31 00:00:00"}
IVANOV, PETROV = "+70001110000", "102"
FIELDS = [
    *("id", "call_session_id", "call_records", "start_time", "connect_time", "duration", "total_duration"),
    *("finish_reason", "finish_reason_description", "virtual_phone_number", "calling_phone_number"),
    *(
        "called_phone_number",
        "direction",
        "is_transfered",
        "is_operator",
        "employee_id",
        "employee_full_name",
    ),
    *("employee_phone_number", "employee_rating", "scenario_id", "scenario_name", "is_coach"),
    *("release_cause_code", "release_cause_description", "is_failed", "is_talked", "contact_id"),
    *("contact_full_name", "contact_phone_number", "action_id", "action_name", "group_id", "group_name"),
]


@pytest.fixture
def staff(house: House, tenant: Tenant) -> dict[str, int]:
    account_id = tenant.account.account_id
    put = directories.put_employee
    return {
        "Иванов": house.run(put(house.db, account_id, full_name="Иванов Иван", phone=IVANOV)),
        "Петров": house.run(put(house.db, account_id, full_name="Петров Пётр", extension=PETROV)),
    }


def legs(house: House, tenant: Tenant, **params: Any) -> list[dict[str, Any]]:
    return list(result(house, tenant, "get.call_legs_report", **{**PERIOD, **params})["data"])


def test_each_leg_says_whom_it_called_and_what_came_of_it(
    house: House, tenant: Tenant, staff: dict[str, int]
) -> None:
    put_through(
        house,
        tenant,
        Second(IVANOV, rings=5, talks=None, otherwise=Disposition.busy),
        Second(PETROV, rings=2, talks=10),
        recorded=True,
    )
    [session] = result(
        house,
        tenant,
        "get.calls_report",
        **PERIOD,
        fields=["id", "scenario_id", "finish_reason", "call_records"],
    )["data"]
    first, busy, talked = legs(house, tenant, fields=FIELDS)
    assert list(first) == [name for name in method._LEGS._columns if name in FIELDS]
    assert [one["id"] for one in (first, busy, talked)] == [session["id"] * 1000 + n for n in (1, 2, 3)]
    assert {one["call_session_id"] for one in (first, busy, talked)} == {session["id"]}
    expected = {
        "direction": "out",
        "calling_phone_number": OWN,
        "called_phone_number": CONTACT,
        "virtual_phone_number": OWN,
        "contact_phone_number": CONTACT,
        "is_operator": False,
        "is_transfered": False,
        "is_talked": True,
        "is_failed": False,
        "employee_id": None,
        "duration": 21,
        "total_duration": 25,
        "finish_reason": session["finish_reason"],
        "scenario_id": session["scenario_id"],
        "scenario_name": "Опрос",
        "release_cause_code": 16,
        "release_cause_description": "Normal call clearing",
        "is_coach": False,
        "call_records": [],
    }
    assert {name: first[name] for name in expected} == expected
    expected = {
        "called_phone_number": IVANOV.removeprefix("+"),
        "is_operator": True,
        "is_transfered": True,
        "is_talked": False,
        "is_failed": True,
        "employee_id": staff["Иванов"],
        "employee_full_name": "Иванов Иван",
        "employee_phone_number": IVANOV.removeprefix("+"),
        "duration": 0,
        "total_duration": 5,
        "connect_time": None,
        "finish_reason": "operator_busy",
        "finish_reason_description": "Сотрудник занят",
        "release_cause_code": 17,
    }
    assert {name: busy[name] for name in expected} == expected
    expected = {
        "called_phone_number": PETROV,
        "is_operator": True,
        "is_talked": True,
        "employee_id": staff["Петров"],
        "employee_full_name": "Петров Пётр",
        "employee_phone_number": None,
        "duration": 10,
        "total_duration": 12,
        "finish_reason": "operator_answer",
        "call_records": session["call_records"],
    }
    assert {name: talked[name] for name in expected} == expected
    assert len(talked["call_records"]) == 1


def test_the_record_of_a_leg_plays_under_its_link(
    house: House, tenant: Tenant, staff: dict[str, int]
) -> None:
    call_id = put_through(house, tenant, Second(IVANOV, rings=1, talks=5), recorded=True)
    for number in (1, 2):
        (house.recordings / f"{call_id}.1.{number}.wav").write_bytes(sound(0.3 * number))
    *_, talked = legs(house, tenant)
    [token] = talked["wav_call_records"]
    path = f"/system/media/wav/{talked['call_session_id']}/{token}/"
    answer = house.send("GET", path)
    assert answer.status_code == 200
    assert answer.content == sound(0.6)


def test_the_session_tells_the_same_of_its_employees(
    house: House, tenant: Tenant, staff: dict[str, int]
) -> None:
    put_through(
        house,
        tenant,
        Second(IVANOV, rings=5, talks=6),
        Second("+70002220003", rings=3, talks=None),
        Second(PETROV, rings=2, talks=10),
        Second(IVANOV, rings=4, talks=None),
    )
    names = [
        *("is_transfer", "is_lost", "employees", "operator_phone_number", "wait_duration", "talk_duration"),
        *("total_wait_duration", "clean_talk_duration", "total_duration", "postprocess_duration"),
        *("finish_reason", "scenario_operations", "direction", "source"),
        *(
            f"{which}_{what}_employee_{part}"
            for which in ("first", "last")
            for what in ("answered", "talked")
            for part in ("id", "full_name")
        ),
    ]
    [row] = result(house, tenant, "get.calls_report", **PERIOD, fields=names)["data"]
    ivanov, petrov = staff["Иванов"], staff["Петров"]
    # 4 s of ringing, 3 of the menu, then 5+6, 3, 2+10 and 4, and a second to hang up.
    expected = {
        "is_transfer": True,
        "is_lost": False,
        "employees": [
            {
                "employee_id": ivanov,
                "employee_full_name": "Иванов Иван",
                "is_answered": True,
                "is_talked": True,
            },
            {
                "employee_id": petrov,
                "employee_full_name": "Петров Пётр",
                "is_answered": True,
                "is_talked": True,
            },
        ],
        "operator_phone_number": PETROV,
        "wait_duration": 12,
        "talk_duration": 26,
        "total_wait_duration": 22,
        "clean_talk_duration": 16,
        "total_duration": 38,
        "postprocess_duration": 0,
        "finish_reason": "operator_answer",
        "direction": "out",
        "source": "auto_out_calls",
        "first_answered_employee_id": ivanov,
        "first_answered_employee_full_name": "Иванов Иван",
        "first_talked_employee_id": ivanov,
        "first_talked_employee_full_name": "Иванов Иван",
        "last_answered_employee_id": petrov,
        "last_answered_employee_full_name": "Петров Пётр",
        "last_talked_employee_id": petrov,
        "last_talked_employee_full_name": "Петров Пётр",
    }
    assert {name: row[name] for name in expected} == expected
    assert [one["name"] for one in row["scenario_operations"]] == ["1", *["transfer"] * 4]


def test_a_call_that_came_in_was_one_leg(house: House, tenant: Tenant) -> None:
    start = house.clock.replace(microsecond=0)
    facts = {
        "direction": "in",
        "start_time": start.isoformat(),
        "answered_at": (start + timedelta(seconds=3)).isoformat(),
        "finish_time": (start + timedelta(seconds=10)).isoformat(),
        "disposition": "answered",
        "script_result": "completed",
        "contact_phone": "+79161112233",
        "own_phone": "+74950000000",
        "hangup_cause": 16,
    }

    async def work() -> int:
        session = await house.db.value(
            """INSERT INTO ended_sessions (session_id, account_id, facts)
            VALUES (nextval('session_ids'), %(account_id)s, %(facts)s) RETURNING session_id""",
            {"account_id": tenant.account.account_id, "facts": Jsonb(facts)},
        )
        await house.filling.once()
        return int(session)

    session = house.run(work())
    house.put(tenant, contact_phone_number="79160000000")  # told by somebody: it has no legs
    [leg] = legs(house, tenant)
    expected = {
        "id": session * 1000 + 1,
        "direction": "in",
        "calling_phone_number": "79161112233",
        "called_phone_number": "74950000000",
        "virtual_phone_number": "74950000000",
        "duration": 7,
        "total_duration": 10,
        "is_operator": False,
        "is_talked": True,
        "employee_id": None,
        "call_records": [],
    }
    assert {name: leg[name] for name in expected} == expected


def test_legs_are_filtered_sorted_and_paged(
    house: House, tenant: Tenant, staff: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        put_through(house, tenant, Second(IVANOV, rings=1, talks=5))
    every = legs(house, tenant, fields=["id", "call_session_id"])
    assert len(every) == 4
    pages = [
        result(house, tenant, "get.call_legs_report", **PERIOD, fields=["id"], limit=3, offset=offset)
        for offset in (0, 3, 4)
    ]
    assert [row["id"] for page in pages for row in page["data"]] == [one["id"] for one in every]
    assert {page["metadata"]["total_items"] for page in pages} == {4}
    operators = {"field": "is_operator", "operator": "=", "value": True}
    found = legs(house, tenant, filter=operators, sort=[{"field": "id", "order": "desc"}], fields=["id"])
    assert [one["id"] for one in found] == sorted(
        (one["id"] for one in every if one["id"] % 1000 == 2), reverse=True
    )
    session = every[0]["call_session_id"]
    for operator, value in (("=", session), ("in", [session])):
        filter = {"field": "call_session_id", "operator": operator, "value": value}
        answer = result(house, tenant, "get.call_legs_report", filter=filter, fields=["id"])
        assert [one["id"] for one in answer["data"]] == [session * 1000 + 1, session * 1000 + 2]
    records = {"field": "call_records", "operator": "is_null", "value": None}
    assert len(legs(house, tenant, filter=records)) == 4
    # More than can be looked at is asked for page by page all the same.
    monkeypatch.setattr(store, "MOST", 3)
    assert len(legs(house, tenant)) == 4
    assert error(house, tenant, "get.call_legs_report", **PERIOD, filter=operators)[0] == "error"


def test_legs_of_another_account_are_nobodys(house: House, tenant: Tenant) -> None:
    put_through(house, tenant, Second(IVANOV, rings=1, talks=5))
    other = house.tenant()
    [first, _] = legs(house, tenant)
    filter = {"field": "call_session_id", "operator": "=", "value": first["call_session_id"]}
    assert legs(house, other) == []
    assert result(house, other, "get.call_legs_report", filter=filter)["data"] == []


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"date_from": None}, ("required_parameter_missed", "date_from")),
        ({"date_till": "2027-12-31 00:00:00"}, ("date_interval_limit_reached", "date_till")),
        ({"fields": ["leg"]}, ("unexpected_parameters", "fields")),
        ({"sort": [{"field": "call_records"}]}, ("sort_prohibited", "sort.field")),
        (
            {"filter": {"field": "call_session_id", "operator": "in", "value": "1"}},
            ("data_type_error", "filter.value"),
        ),
        ({"include_ongoing_calls": True}, ("unexpected_parameters", "include_ongoing_calls")),
    ],
)
def test_what_is_wrong_is_named(
    house: House, tenant: Tenant, params: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert error(house, tenant, "get.call_legs_report", **{**PERIOD, **params})[:2] == expected


def test_a_trunk_that_failed_over_is_a_leg_of_its_own(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    form = {"public_key": tenant.callo, "phone": f"+{CONTACT}", "campaign_id": campaign_id}
    assert house.send("POST", PREFIXES[0] + "/phones/call/", data=form).status_code == 200
    house.dial(tenant, campaign_id, Outcome(disposition=Disposition.busy, hangup_cause=17))
    house.run(
        house.db.execute(
            """INSERT INTO legs (account_id, leg_id, call_id, attempt, leg, direction, trunk_id, gateway, epoch, phase,
                caller_id, hold, held_by, guarded, rate, placed_at, ended_at, disposition, hangup_cause)
            SELECT account_id, leg_id || 'x', call_id, attempt, 0, direction, trunk_id, gateway, epoch, phase,
                caller_id, 0, held_by, guarded, rate, placed_at, placed_at, 'congestion', 34
            FROM legs WHERE account_id = %(a)s""",
            {"a": tenant.account.account_id},
        )
    )
    [failed, last] = legs(house, tenant)
    assert (failed["finish_reason"], failed["release_cause_code"]) == ("max_out_call_reached", 34)
    assert (last["finish_reason"], last["is_failed"]) == ("subscriber_busy", True)
