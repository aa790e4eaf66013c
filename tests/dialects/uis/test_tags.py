"""Does a tag that somebody sets stand in the reports at once?"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from zvonar.core.schedule import zone_of
from zvonar.store import directories

from .rpc import PERIOD, error, result

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

SET, UNSET = "set.tag_communications", "unset.tag_communications"


def tag(house: House, tenant: Tenant) -> int:
    return house.run(directories.put_tag(house.db, tenant.account.account_id, "Заказ", color="color3"))


def tagged(house: House, tenant: Tenant, tag_id: int) -> list[dict[str, Any]]:
    filter = {"field": "tags", "operator": "jsquery", "value": f"#.tag_id = {tag_id}"}
    return list(
        result(house, tenant, "get.calls_report", **PERIOD, fields=["id", "tags"], filter=filter)["data"]
    )


def test_a_tag_is_there_once_it_is_set_and_gone_once_it_is_not(house: House, tenant: Tenant) -> None:
    session, tag_id = house.put(tenant), tag(house, tenant)
    assert tagged(house, tenant, tag_id) == []
    params = {"communication_id": session, "communication_type": "call", "tag_id": tag_id}
    assert result(house, tenant, SET, **params)["data"] == {}
    [row] = tagged(house, tenant, tag_id)
    [shown] = row["tags"]
    assert row["id"] == session
    expected = {
        "tag_id": tag_id,
        "tag_name": "Заказ",
        "tag_type": "manual",
        "tag_user_id": tenant.account.account_id,
        "tag_user_login": tenant.account.name,
    }
    assert {name: shown[name] for name in expected} == expected
    local = house.clock.astimezone(zone_of(tenant.account.timezone))
    assert shown["tag_change_time"].startswith(local.strftime("%Y-%m-%d %H:"))
    mgf = result(house, tenant, "get.mgf_calls", report_id=1, **PERIOD, fields=["tags"])["data"]
    assert mgf[0]["tags"]["items"] == [{"id": tag_id, "name": "Заказ", "color": "color3"}]
    assert error(house, tenant, SET, **params)[:2] == ("duplicate_entity", "tag_id")
    assert result(house, tenant, UNSET, **params)["data"] == {}
    assert tagged(house, tenant, tag_id) == []
    assert error(house, tenant, UNSET, **params)[:2] == ("entity_not_found", "tag_id")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"communication_id": None}, ("required_parameter_missed", "communication_id")),
        ({"communication_id": "1"}, ("data_type_error", "communication_id")),
        ({"communication_id": 10**30}, ("invalid_parameter_value", "communication_id")),
        ({"communication_id": 10**15}, ("entity_not_found", "communication_id")),
        ({"communication_type": None}, ("required_parameter_missed", "communication_type")),
        ({"communication_type": "letter"}, ("invalid_parameter_value", "communication_type")),
        ({"communication_type": "chat"}, ("entity_not_found", "communication_id")),
        ({"tag_id": 10**15}, ("entity_not_found", "tag_id")),
        ({"tags": []}, ("unexpected_parameters", "tags")),
    ],
)
@pytest.mark.parametrize("method", [SET, UNSET])
def test_what_is_wrong_is_named_and_changes_nothing(
    house: House, tenant: Tenant, method: str, change: dict[str, Any], expected: tuple[str, str]
) -> None:
    session, tag_id = house.put(tenant), tag(house, tenant)
    params = {"communication_id": session, "communication_type": "call", "tag_id": tag_id, **change}
    assert error(house, tenant, method, **params)[:2] == expected
    assert tagged(house, tenant, tag_id) == []


def test_nobody_tags_anothers_call_or_with_anothers_tag(house: House, tenant: Tenant) -> None:
    other = house.tenant()
    mine, theirs = house.put(tenant), house.put(other)
    my_tag, their_tag = tag(house, tenant), tag(house, other)
    assert error(house, tenant, SET, communication_id=theirs, communication_type="call", tag_id=my_tag)[
        0
    ] == ("entity_not_found")
    assert error(house, tenant, SET, communication_id=mine, communication_type="call", tag_id=their_tag)[
        0
    ] == ("entity_not_found")
    assert tagged(house, other, their_tag) == tagged(house, other, my_tag) == []


def test_the_mark_that_a_call_was_dealt_with_says_how_long_that_took(house: House, tenant: Tenant) -> None:
    start = house.clock.replace(microsecond=0)
    session = house.put(tenant, is_lost=True, start_time=start, finish_time=start + timedelta(seconds=24))
    mark = house.run(directories.put_tag(house.db, tenant.account.account_id, "Обработано", is_system=True))
    params = {"communication_id": session, "communication_type": "call", "tag_id": mark}

    def took(**filter: Any) -> list[str | None]:
        answer = result(
            house,
            tenant,
            "get.mgf_calls",
            report_id=1,
            **PERIOD,
            fields=["call_processed_mark_duration"],
            **filter,
        )
        return [row["call_processed_mark_duration"] for row in answer["data"]]

    assert took() == [None]
    house.clock = start + timedelta(seconds=24 + 110)
    assert result(house, tenant, SET, **params)["data"] == {}
    assert took() == ["00:01:51"], "every request here takes a second"
    field = {"field": "call_processed_mark_duration", "operator": ">", "value": "00:01:00"}
    assert took(filter=field) == ["00:01:51"]
    assert result(house, tenant, UNSET, **params)["data"] == {}
    assert took() == [None]


def test_a_communication_that_others_have_numbered_is_tagged_by_its_number(
    house: House, tenant: Tenant
) -> None:
    tag_id = tag(house, tenant)
    told = {
        "ext_id": "их-7",
        "start_time": "2026-11-22 10:00:00",
        "contact_phone_number": "74951234567",
        "communication_id": 777_000_777,
    }
    [made] = result(house, tenant, "upload.calls", calls=[told])["data"]
    params = {"communication_type": "call", "tag_id": tag_id}
    assert result(house, tenant, SET, **params, communication_id=777_000_777)["data"] == {}
    assert [row["id"] for row in tagged(house, tenant, tag_id)] == [made["id"]]
    assert result(house, tenant, UNSET, **params, communication_id=777_000_777)["data"] == {}
    # The same call may come again, and no other may have its number.
    assert result(house, tenant, "upload.calls", calls=[told])["data"] == [made]
    again = [{**told, "ext_id": "их-8"}]
    assert error(house, tenant, "upload.calls", calls=again) == (
        "already_in_use",
        "calls.0.communication_id",
        "777000777",
    )
    twice = [{**told, "ext_id": f"их-{n}", "communication_id": 5_000_000} for n in (9, 10)]
    assert error(house, tenant, "upload.calls", calls=twice)[:2] == (
        "already_in_use",
        "calls.0.communication_id",
    )
    other = house.tenant()
    assert result(house, other, "upload.calls", calls=[told])["data"] != [made]
