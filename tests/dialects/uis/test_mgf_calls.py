"""Does get.mgf_calls tell calls as the page's sample does, and is the page's own request understood?"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from zvonar.core.schedule import zone_of
from zvonar.dialects.uis import mgf_fields, words
from zvonar.store import directories

from .rpc import PERIOD, call, error, result

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

METHOD: Final = "get.mgf_calls"
ALL: Final = list(mgf_fields.DOCUMENTED)
PAGE: Final = Path(__file__).parents[2] / "golden" / "uis" / "get.mgf_calls.md"
COMMUNICATION: Final = 26016


def sampled(house: House, tenant: Tenant) -> None:
    """The call of the page's sample."""
    start = datetime(2024, 10, 21, 13, 8, 19, tzinfo=UTC)
    tag = house.run(directories.put_tag(house.db, tenant.account.account_id, "Обработано", color="color2"))
    house.put(
        tenant,
        start_time=start,
        finish_time=start + timedelta(seconds=24),
        communication_id=COMMUNICATION,
        direction="in",
        source="va",
        is_lost=True,
        finish_reason="no_success_operator_call",
        contact_phone_number="74950230625",
        virtual_phone_number="79201234567",
        virtual_number_comment="Заметка о ВН",
        wait_duration=24,
        talk_duration=0,
        total_duration=24,
        processed_mark_duration=111,
        employees=[{"employee_id": 1, "employee_full_name": "Иванов Иван"}],
        tags=[{"tag_id": tag, "tag_name": "Обработано", "tag_type": "manual"}],
    )


def asked(house: House, tenant: Tenant, **params: Any) -> list[dict[str, Any]]:
    given = {"report_id": 1015, **PERIOD, "fields": ["communication_id"], **params}
    return list(result(house, tenant, METHOD, **given)["data"])


def refused(house: House, tenant: Tenant, **params: Any) -> tuple[str, str | None, Any]:
    return error(
        house, tenant, METHOD, **{"report_id": 1015, **PERIOD, "fields": ["communication_id"], **params}
    )


def test_a_row_is_the_samples_key_by_key(house: House, tenant: Tenant, golden: Callable[[str], Any]) -> None:
    sampled(house, tenant)
    sample = golden("mgf_calls.json")
    answer = call(
        house,
        METHOD,
        {
            "access_token": tenant.uis,
            "report_id": 1015,
            "date_from": "2024-10-21 00:00:00",
            "date_till": "2024-10-21 23:59:59",
            "fields": list(reversed(ALL)),
        },
    )
    expected = sample["result"]["data"][0]
    expected["tags"]["items"][0]["id"] = answer["result"]["data"][0]["tags"]["items"][0]["id"]
    assert len(expected) == len(ALL)
    # As text, so that the order of keys counts at every depth, and types do.
    assert msgspec.json.encode(answer["result"]) == msgspec.json.encode(sample["result"])


def test_the_pages_own_request_works_with_a_token(house: House, tenant: Tenant) -> None:
    sampled(house, tenant)
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(r"## Структура запроса:\s+```json\n(.*?)```", text, re.DOTALL)
    assert found is not None
    request = msgspec.json.decode(found[1].replace("\xa0", " "))
    assert len(request["params"]["fields"]) == len(set(request["params"]["fields"])) + 1
    refused_ = call(house, request["method"], request["params"])
    assert refused_["error"]["data"]["mnemonic"] == "required_parameter_missed"
    for method in (request["method"], "get_mgf_calls"):
        answer = call(house, method, {"access_token": tenant.uis, **request["params"]})
        assert len(answer["result"]["data"]) == 1


def test_the_report_is_in_the_list_of_reports(house: House, tenant: Tenant) -> None:
    for method in ("get.reports_list", "get.reportslist"):
        [report] = result(house, tenant, method)["data"]
        assert report["type"] == "mgf_calls"
        assert asked(house, tenant, report_id=report["id"]) == []


def test_a_call_that_was_talked_in_has_its_own_words(house: House, tenant: Tenant) -> None:
    house.put(
        tenant,
        direction="out",
        source="auto_out_calls",
        finish_reason="subscriber_disconnects",
        is_internal=True,
        is_coach_handled=True,
        is_blacklisted=True,
        wait_duration=3661,
        talk_duration=400_000,
        coaches=["Петров Пётр"],
        call_records=["a" * 32],
        last_answered_employee_rating=5,
        received_by="Иванов Иван",
        communication_comment="перезвонить",
        communication_comment_author="Сидоров",
        internal_first_employee="Первый",
        internal_second_employee="Второй",
    )
    [row] = asked(house, tenant, fields=ALL)
    expected = {
        "call_direction": {"value": "Исходящий звонок", "value_id": "out"},
        "call_status": {"value": "Принятый", "value_id": "received"},
        "call_type": {"value": "Исходящий обзвон", "value_id": "auto_out_calls"},
        "call_finish_reason": {"value": "Абонент положил трубку", "value_id": "subscriber_disconnects"},
        "call_is_internal": {"value": "Внутренний", "value_id": "internal"},
        "is_coach_handled_call": {"value": "Да", "value_id": True},
        "is_blacklisted_phone": {"value": "Да", "value_id": True},
        "call_await_talk_duration": "01:01:01",
        "call_talk_duration": "111:06:40",
        "coaches": ["Петров Пётр"],
        "call_records": ["a" * 32],
        "employee_rating": 5,
        "received_call": "Иванов Иван",
        "communication_comment_author": "Сидоров",
        "first_employee_for_internal_call": "Первый",
        "second_employee_for_internal_call": "Второй",
        "employees": None,
    }
    assert {name: row[name] for name in expected} == expected
    assert row["communication_comment"]["comment"] == "перезвонить"
    assert row["contact_phone_number"]["extra"] == {"call_status": "received", "call_direction": "out"}


def test_every_field_can_be_filtered_by_and_every_sortable_one_sorted_by(
    house: House, tenant: Tenant
) -> None:
    sampled(house, tenant)
    period = {"date_from": "2024-10-21 00:00:00", "date_till": "2024-10-21 23:59:59"}
    values = {
        "communication_id": str(COMMUNICATION),
        "call_start_date": "2024-10-21",
        "call_start_time": "16:08:19",
        "call_start_date_time": "2024-10-21 16:08:19",
        "call_finish_date_time": "2024-10-21 16:08:43",
        "contact_phone_number": "74950230625",
        "virtual_phone_number": "79201234567",
        "virtual_number_comment": "Заметка о ВН",
        "call_direction": "Входящий звонок",
        "call_status": "Потерянный",
        "call_type": "ВАТС",
        "call_finish_reason": "no_success_operator_call",
        "call_is_internal": "Внешний",
        "is_coach_handled_call": False,
        "is_blacklisted_phone": "Нет",
        "employees": "Иванов Иван",
        "tags": "Обработано",
        "call_total_duration": "00:00:24",
        "call_talk_duration": "00:00:00",
        "call_processed_mark_duration": "00:01:51",
    }
    for name in ALL:
        test = {"field": name, "operator": "=", "value": values.get(name)}
        assert len(asked(house, tenant, **period, filter=test)) == 1, name
        other = {"field": name, "operator": "!=", "value": values.get(name)}
        assert asked(house, tenant, **period, filter=other) == [], name
    for name, sortable in mgf_fields.SORTABLE.items():
        sort = [{"field": name, "order": "desc"}]
        if sortable:
            assert len(asked(house, tenant, **period, sort=sort)) == 1, name
        else:
            assert refused(house, tenant, **period, sort=sort)[0] == "sort_prohibited"


def test_every_word_and_every_id_filters(house: House, tenant: Tenant) -> None:
    for source in words.TYPES:
        house.put(tenant, source=source)
    for value_id, word in words.TYPES.items():
        for value in (value_id, word, {"value": word, "value_id": value_id}):
            test = {"field": "call_type", "operator": "=", "value": value}
            [row] = asked(house, tenant, fields=["call_type"], filter=test)
            assert row == {"call_type": {"value": word, "value_id": value_id}}
    total = len(words.TYPES)
    for operator, value, count in (
        ("!=", "va", total - 1),
        ("in", ["va", "amoCRM"], 2),
        ("not_in", ["va", "amoCRM"], total - 2),
        ("ilike", "AMOCRM", 1),
        ("like", "%RM", 3),
        ("not_ilike", "crm", total - 3),
        ("jsquery", 'value_id = "va" OR value = "Callback"', 2),
        ("is_null", None, 0),
        ("is_not_null", None, total),
    ):
        test = {"field": "call_type", "operator": operator, "value": value}
        assert len(asked(house, tenant, filter=test)) == count, (operator, value)
    assert refused(house, tenant, filter={"field": "call_type", "operator": "=", "value": "дятел"}) == (
        "invalid_parameter_value",
        "filter.value",
        "дятел",
    )


NOW = "now"  # stands for the time of day at which the sessions are put


@pytest.mark.parametrize(
    ("filter", "count"),
    [
        ({"field": "tags", "operator": "ilike", "value": "ОБРАБ"}, 1),
        ({"field": "tags", "operator": "not_ilike", "value": "ОБРАБ"}, 1),
        ({"field": "tags", "operator": "jsquery", "value": 'items.#.name = "Обработано"'}, 1),
        ({"field": "tags", "operator": "jsquery", "value": 'NOT #.name = "Обработано"'}, 1),
        ({"field": "employees", "operator": "like", "value": "Иванов%"}, 1),
        ({"field": "employees", "operator": "in", "value": ["Иванов Иван", "Никто"]}, 1),
        ({"field": "employees", "operator": "overlap", "value": ["Никто"]}, 0),
        ({"field": "contact_phone_number", "operator": "ilike", "value": "9502"}, 1),
        ({"field": "call_await_talk_duration", "operator": "=", "value": None}, 1),
        ({"field": "call_await_talk_duration", "operator": ">=", "value": "00:00:05"}, 1),
        ({"field": "call_start_time", "operator": "<", "value": NOW}, 0),
        ({"field": "call_start_date", "operator": ">", "value": "2026-11-21"}, 2),
        ({"filters": [{"field": "call_status", "operator": "=", "value": "lost"}]}, 1),
        (
            {
                "filters": [
                    {"filters": [{"field": "call_status", "operator": "=", "value": "received"}]},
                    {"field": "call_direction", "operator": "=", "value": "in"},
                ],
                "condition": "or",
            },
            2,
        ),
    ],
)
def test_filters_find_what_is_shown(house: House, tenant: Tenant, filter: dict[str, Any], count: int) -> None:
    if filter.get("value") == NOW:
        local = house.clock.astimezone(zone_of(tenant.account.timezone))
        filter = {**filter, "value": local.strftime("%H:%M:%S")}
    lost = {"is_lost": True, "direction": "in", "wait_duration": 9, "contact_phone_number": "74950230625"}
    house.put(
        tenant,
        **lost,
        tags=[{"tag_id": 1, "tag_name": "Обработано"}],
        employees=[{"employee_id": 1, "employee_full_name": "Иванов Иван"}],
    )
    house.put(tenant, direction="out", wait_duration=5, contact_phone_number="74951111111")
    assert len(asked(house, tenant, filter=filter)) == count


def test_more_than_two_levels_or_a_year_and_a_day_are_refused(house: House, tenant: Tenant) -> None:
    simple = {"field": "call_status", "operator": "=", "value": "lost"}
    two = {"filters": [{"filters": [simple]}]}
    assert asked(house, tenant, filter=two) == []
    assert refused(house, tenant, filter={"filters": [two]})[:2] == (
        "invalid_parameter_value",
        "filter.filters",
    )
    assert asked(house, tenant, date_till="2027-11-23 00:00:00") == []
    assert refused(house, tenant, date_till="2027-11-23 00:00:01")[:2] == (
        "date_interval_limit_reached",
        "date_till",
    )


def test_fields_have_to_be_named_and_without_any_rows_are_empty(house: House, tenant: Tenant) -> None:
    house.put(tenant)
    assert refused(house, tenant, fields=None)[:2] == ("required_parameter_missed", "fields")
    assert refused(house, tenant, fields=["start_time"]) == ("unexpected_parameters", "fields", "start_time")
    assert refused(house, tenant, report_id=None)[:2] == ("required_parameter_missed", "report_id")
    assert asked(house, tenant, fields=[]) == [{}]


def test_pages_and_order_are_as_asked(house: House, tenant: Tenant) -> None:
    for seconds in (5, 1, 3):
        house.put(tenant, talk_duration=seconds)
    sort = [{"field": "call_talk_duration", "order": "desc"}]
    rows = asked(house, tenant, fields=["call_talk_duration"], sort=sort, limit=2, offset=1)
    assert [row["call_talk_duration"] for row in rows] == ["00:00:03", "00:00:01"]
