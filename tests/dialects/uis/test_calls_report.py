"""Does get.calls_report tell the account's sessions as the reference does?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.dialects.uis import fields as catalogue
from zvonar.dialects.uis.requests import values
from zvonar.reports.postgres import PostgresReportStore

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

BUSY = Outcome(disposition=Disposition.busy)
PRESSED = Outcome(
    disposition=Disposition.answered, script_result=ScriptResult.choice, talk_seconds=7, choice="1"
)
PERIOD = {"date_from": "2026-11-22 00:00:00", "date_till": "2026-11-23 23:59:59"}


def add(house: House, tenant: Tenant, campaign_id: int, phone: str = "+70001230001") -> int:
    form = {"public_key": tenant.callo, "phone": phone, "campaign_id": campaign_id}
    answer = house.send("POST", PREFIXES[0] + "/phones/call/", data=form)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["call_id"])


def dialled(house: House, tenant: Tenant, *outcomes: Outcome) -> list[int]:
    """One session of each outcome, in their order."""
    campaign_id = house.campaign(tenant)
    calls = []
    for n, outcome in enumerate(outcomes):
        add(house, tenant, campaign_id, f"+7000123000{n % 10}")
        calls.append(house.dial(tenant, campaign_id, outcome))
    return calls


def report(house: House, tenant: Tenant, **params: Any) -> dict[str, Any]:
    response = house.send(
        "POST",
        "/v2.0",
        json={
            "jsonrpc": "2.0",
            "id": 1,
            "method": "get.calls_report",
            "params": {"access_token": tenant.uis, **PERIOD, **params},
        },
    )
    assert response.status_code == 200
    answer = response.json()
    assert answer["id"] == 1
    assert isinstance(answer, dict)
    return answer


def result(house: House, tenant: Tenant, **params: Any) -> dict[str, Any]:
    answer = report(house, tenant, **params)
    assert "result" in answer, answer
    assert list(answer) == ["jsonrpc", "id", "result"]
    assert list(answer["result"]) == ["metadata", "data"]
    found = answer["result"]
    assert isinstance(found, dict)
    return found


def error(house: House, tenant: Tenant, **params: Any) -> tuple[str, str | None, str | None]:
    answer = report(house, tenant, **params)
    assert "error" in answer, answer
    data = answer["error"]["data"]
    return data["mnemonic"], data.get("field"), data.get("value")


def test_the_default_row_has_the_references_keys_in_its_order(
    house: House, tenant: Tenant, golden: Callable[[str], Any]
) -> None:
    start = house.clock
    [call_id] = dialled(house, tenant, PRESSED)
    sample = golden("calls_report.json")["result"]["data"][0]
    default = golden("calls_report_defaults.json")
    found = result(house, tenant)
    [row] = found["data"]
    assert len(row) == 23
    assert set(row) == set(default)
    assert [name for name in row if name in sample] == [name for name in sample if name in default]
    local = (start + timedelta(seconds=1)).astimezone(ZoneInfo("Europe/Moscow"))
    expected = {
        "start_time": f"{local:%Y-%m-%d %H:%M:%S}",
        "finish_time": f"{local + timedelta(seconds=11):%Y-%m-%d %H:%M:%S}",
        "finish_reason": "success_finish",
        "direction": "out",
        "source": "auto_out_calls",
        "is_lost": False,
        "communication_type": "call",
        "cpn_country_name": "Россия",
        "cpn_country_id": "RU",
        "cpn_region_id": None,
        "cpn_region_name": None,
        "contact_phone_number": "70001230000",
        "virtual_phone_number": "70009990000",
        "wait_duration": 4,
        "total_wait_duration": 4,
        "talk_duration": 7,
        "clean_talk_duration": 7,
        "total_duration": 11,
        "call_records": [],
        "wav_call_records": [],
        "full_record_file_link": None,
    }
    assert {name: row[name] for name in expected} == expected
    assert isinstance(row["id"], int)
    assert row["communication_id"] == row["id"]
    assert call_id


def test_metadata_is_the_samples(house: House, tenant: Tenant, golden: Callable[[str], Any]) -> None:
    sample = golden("metadata.json")
    metadata = result(house, tenant)["metadata"]
    assert list(metadata) == list(sample)
    assert list(metadata["limits"]) == list(sample["limits"])
    assert {type(value) for value in metadata["limits"].values()} == {int}
    assert metadata["total_items"] == 0
    assert metadata["version"] is None


def test_any_field_may_be_asked_for_and_comes_in_the_references_order(
    house: House, tenant: Tenant, golden: Callable[[str], Any]
) -> None:
    dialled(house, tenant, BUSY)
    sample = golden("calls_report.json")["result"]["data"][0]
    [row] = result(house, tenant, fields=list(reversed(sample)))["data"]
    assert list(row) == list(sample)
    for name, kind in sample.items():
        assert (row[name] == []) == isinstance(kind, list), name
    assert (row["finish_reason"], row["is_lost"], row["is_transfer"]) == ("subscriber_busy", True, False)
    assert row["auto_call_campaign_name"] == "Опрос"
    assert result(house, tenant, fields=["id"])["data"] == [{"id": row["id"]}]
    assert list(result(house, tenant, fields=[])["data"][0]) == list(catalogue.DEFAULT)


def test_pages_add_up_to_the_total_each_row_once(house: House, tenant: Tenant) -> None:
    dialled(house, tenant, *[BUSY] * 5)
    pages = [result(house, tenant, limit=2, offset=offset) for offset in (0, 2, 4, 6)]
    assert {page["metadata"]["total_items"] for page in pages} == {5}
    assert [len(page["data"]) for page in pages] == [2, 2, 1, 0]
    rows = [row for page in pages for row in page["data"]]
    assert len({row["id"] for row in rows}) == 5
    assert rows == sorted(rows, key=lambda row: (row["start_time"], row["id"]))


def test_nobody_reads_another_accounts_sessions(house: House, tenant: Tenant) -> None:
    dialled(house, house.tenant(), BUSY)
    assert result(house, tenant)["data"] == []


@pytest.mark.parametrize(
    ("sort", "field", "expected"),
    [
        (
            [{"field": "finish_reason"}],
            "finish_reason",
            ["subscriber_busy", "subscriber_not_responsible", "success_finish"],
        ),
        ([{"field": "is_lost", "order": "asc"}], "is_lost", [False, True, True]),
        ([{"field": "is_lost", "order": "desc"}, {"field": "is_lost"}], "is_lost", [True, True, False]),
        (
            [{"field": "start_time", "order": "desc"}],
            "contact_phone_number",
            ["70001230002", "70001230001", "70001230000"],
        ),
        (
            [{"field": "visitor_id", "order": "desc"}],
            "contact_phone_number",
            ["70001230000", "70001230001", "70001230002"],
        ),
    ],
)
def test_rows_come_in_the_order_asked(
    house: House, tenant: Tenant, sort: list[dict[str, str]], field: str, expected: list[Any]
) -> None:
    dialled(house, tenant, PRESSED, Outcome(disposition=Disposition.no_answer), BUSY)
    assert [row[field] for row in result(house, tenant, sort=sort)["data"]] == expected


def test_every_sortable_field_is_sorted_by_in_both_directions(house: House, tenant: Tenant) -> None:
    dialled(house, tenant, PRESSED, BUSY)
    sortable = [field.name for field in catalogue.FIELDS.values() if field.sort]
    assert len(sortable) == 28
    for order in ("asc", "desc"):
        rows = result(house, tenant, sort=[{"field": name, "order": order} for name in sortable])["data"]
        assert len(rows) == 2


def test_times_are_the_accounts_and_bounds_fall_where_the_switch_says(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = house.tenant(timezone="Asia/Vladivostok")
    start = house.clock + timedelta(seconds=1)
    dialled(house, tenant, BUSY)
    shown = f"{start.astimezone(ZoneInfo('Asia/Vladivostok')):%Y-%m-%d %H:%M:%S}"
    [row] = result(house, tenant, date_till="2026-11-24 00:00:00")["data"]
    assert row["start_time"] == shown
    bounds = {"date_from": shown, "date_till": shown}
    assert len(result(house, tenant, **bounds)["data"]) == 1
    monkeypatch.setattr(values, "BOUNDS_INCLUSIVE", False)
    assert result(house, tenant, **bounds)["data"] == []
    assert result(house, tenant, date_from=shown)["data"] == []
    assert result(house, tenant, date_till=shown)["data"] == []
    assert len(result(house, tenant)["data"]) == 1


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"date_from": None}, ("required_parameter_missed", "date_from", None)),
        ({"date_from": 1}, ("data_type_error", "date_from", "1")),
        (
            {"date_till": "2026-11-23T00:00:00Z"},
            ("invalid_parameter_value", "date_till", "2026-11-23T00:00:00Z"),
        ),
        (
            {"date_till": "2026-02-30 00:00:00"},
            ("invalid_parameter_value", "date_till", "2026-02-30 00:00:00"),
        ),
        (
            {"date_from": "٢٠٢٦-11-22 00:00:00"},
            ("invalid_parameter_value", "date_from", "٢٠٢٦-11-22 00:00:00"),
        ),
        (
            {"date_from": "0001-01-01 00:00:00"},
            ("invalid_parameter_value", "date_from", "0001-01-01 00:00:00"),
        ),
        (
            {"date_till": "9999-12-31 23:59:59"},
            ("invalid_parameter_value", "date_till", "9999-12-31 23:59:59"),
        ),
        (
            {"date_till": "2026-11-21 00:00:00"},
            ("invalid_parameters_combination", "date_till", "2026-11-21 00:00:00"),
        ),
        (
            {"date_till": "2027-02-22 00:00:01"},
            ("date_interval_limit_reached", "date_till", "2027-02-22 00:00:01"),
        ),
        ({"limit": 10_001}, ("invalid_parameter_value", "limit", "10001")),
        ({"limit": 0}, ("invalid_parameter_value", "limit", "0")),
        ({"limit": 1.5}, ("invalid_parameter_value", "limit", "1.5")),
        ({"limit": "10"}, ("data_type_error", "limit", "10")),
        ({"limit": True}, ("data_type_error", "limit", "true")),
        ({"offset": -1}, ("invalid_parameter_value", "offset", "-1")),
        ({"offset": 10**30}, ("invalid_parameter_value", "offset", "1" + "0" * 30)),
        ({"fields": "id"}, ("data_type_error", "fields", "id")),
        ({"fields": ["id", "comment"]}, ("unexpected_parameters", "fields", "comment")),
        ({"sort": {"field": "id"}}, ("data_type_error", "sort", '{"field":"id"}')),
        ({"sort": [{"order": "asc"}]}, ("required_parameter_missed", "sort.field", None)),
        ({"sort": [{"field": "id"}]}, ("sort_prohibited", "sort.field", "id")),
        ({"sort": [{"field": "comment"}]}, ("unexpected_parameters", "sort.field", "comment")),
        ({"sort": [{"field": "is_lost", "order": "up"}]}, ("invalid_parameter_value", "sort.order", "up")),
        ({"sort": [{"field": "is_lost", "by": 1}]}, ("unexpected_parameters", "sort.by", "1")),
        ({"filter": {"field": "id"}}, ("required_parameter_missed", "filter.operator", None)),
        ({"filter": []}, ("data_type_error", "filter", "[]")),
        ({"include_ongoing_calls": 1}, ("data_type_error", "include_ongoing_calls", "1")),
        ({"user_id": 7}, ("forbidden", "user_id", "7")),
        ({"user_id": "7"}, ("data_type_error", "user_id", "7")),
        ({"virtual_phone_number": "7"}, ("unexpected_parameters", "virtual_phone_number", "7")),
    ],
)
def test_a_wrong_parameter_is_named_with_the_clients_own_value(
    house: House, tenant: Tenant, params: dict[str, Any], expected: tuple[str, str | None, str | None]
) -> None:
    assert error(house, tenant, **params) == expected


@pytest.mark.parametrize(
    "params",
    [
        {"filter": {}, "sort": [], "user_id": None, "include_ongoing_calls": False, "limit": None},
        {"limit": 10.0, "offset": 100_000},
        {"date_till": "2027-02-22 00:00:00"},
        {"date_from": "2026-11-30 00:00:00", "date_till": "2027-02-28 00:00:00"},
    ],
)
def test_what_asks_for_nothing_special_is_served(
    house: House, tenant: Tenant, params: dict[str, Any]
) -> None:
    assert result(house, tenant, **params)["data"] == []


def test_points_are_charged_for_successes_only(house: House, tenant: Tenant) -> None:
    first = result(house, tenant)["metadata"]["limits"]
    failed = report(house, tenant, limit=0)["error"]["data"]["metadata"]["limits"]
    second = result(house, tenant)["metadata"]["limits"]
    assert first["day_remaining"] == first["day_limit"] - 1
    assert failed["day_remaining"] == first["day_remaining"]
    assert second["day_remaining"] == first["day_remaining"] - 1
    assert (first["minute_reset"], failed["minute_reset"], second["minute_reset"]) == (60, 59, 58)
    house.clock += timedelta(seconds=60)
    third = result(house, tenant)["metadata"]["limits"]
    assert third["minute_remaining"] == third["minute_limit"] - 1
    assert third["day_remaining"] == third["day_limit"] - 3


def test_a_used_up_minute_says_so_until_it_is_over(house: House, tenant: Tenant) -> None:
    limits = result(house, tenant)["metadata"]["limits"]
    house.run(house.db.execute("UPDATE rate_limits SET used = 200 WHERE scope = 'uis.minute' AND used = 1"))
    failed = report(house, tenant)["error"]
    assert failed["code"] == -32029
    assert failed["message"] == "Limit per minute has been exceeded. Value of current limit per minute is 200"
    assert list(failed["data"]) == ["mnemonic", "params", "metadata"]
    assert failed["data"]["params"] == {"limit_type": "minute", "limit_max_value": 200}
    assert failed["data"]["metadata"]["limits"]["minute_remaining"] == 0
    assert failed["data"]["metadata"]["limits"]["day_remaining"] == limits["day_remaining"]
    house.clock += timedelta(seconds=60)
    assert result(house, tenant)["metadata"]["limits"]["minute_remaining"] == 199


def test_our_own_failure_is_an_internal_error_and_costs_nothing(
    house: House, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = result(house, tenant)["metadata"]["limits"]["day_remaining"]

    def broken(*_: object) -> None:
        raise RuntimeError("+70001230001 is in the text of this")

    monkeypatch.setattr(PostgresReportStore, "report", broken)
    failed = report(house, tenant)["error"]
    assert failed == {
        "code": -32603,
        "message": "Internal error, contact the support service",
        "data": {"mnemonic": "internal_error"},
    }
    monkeypatch.undo()
    assert result(house, tenant)["metadata"]["limits"]["day_remaining"] == before - 1
