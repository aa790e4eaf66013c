"""Does a tag that somebody sets stand in the reports at once?"""

from __future__ import annotations

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
    assert {name: shown[name] for name in ("tag_id", "tag_name", "tag_type")} == {
        "tag_id": tag_id,
        "tag_name": "Заказ",
        "tag_type": "manual",
    }
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
