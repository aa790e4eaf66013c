"""Do directories list what the account has, and does the grammar of every `get` hold there?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.dialects.conftest import MENU

from zvonar.store import dids, directories, scenarios

from .rpc import error, result

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant


@pytest.fixture
def filled(house: House, tenant: Tenant) -> Tenant:
    account_id = tenant.account.account_id
    house.run(
        directories.put_employee(
            house.db, account_id, full_name="Иванов Иван Иванович", phone="+74951234567", extension="101"
        )
    )
    house.run(directories.put_employee(house.db, account_id, full_name="Петров", is_active=False))
    house.run(directories.put_tag(house.db, account_id, "Заказ", color="color3"))
    house.run(directories.put_site(house.db, account_id, "example.org"))
    house.run(directories.put_virtual_number(house.db, account_id, "+74950000001", comment="Реклама"))
    house.campaign(tenant)
    return tenant


def test_every_directory_lists_its_own(house: House, filled: Tenant) -> None:
    employees = result(house, filled, "get.employees")
    assert employees["metadata"]["total_items"] == 2
    ivanov = employees["data"][0]
    assert {name: ivanov[name] for name in ("last_name", "first_name", "patronymic", "status")} == {
        "last_name": "Иванов",
        "first_name": "Иван",
        "patronymic": "Иванович",
        "status": "active",
    }
    [tag] = result(house, filled, "get.tags")["data"]
    assert (tag["name"], tag["is_system"]) == ("Заказ", False)
    [site] = result(house, filled, "get.sites")["data"]
    assert site["domain_name"] == "example.org"
    [number] = result(house, filled, "get.virtual_numbers")["data"]
    assert (number["virtual_phone_number"], number["comment"]) == ("74950000001", "Реклама")
    [campaign] = result(house, filled, "get.campaigns")["data"]
    [scenario] = result(house, filled, "get.scenarios")["data"]
    assert campaign["id"] == scenario["id"]
    assert campaign["name"] == scenario["name"] == "Опрос"
    assert result(house, filled, "get.customer_users")["data"] == []


def test_numbers_on_which_an_account_is_called_are_its_virtual_numbers(house: House, tenant: Tenant) -> None:
    account_id, other = tenant.account.account_id, house.tenant()
    phone = f"+7000{account_id:07}"

    def listed(whose: Tenant) -> list[tuple[str, str]]:
        rows = result(house, whose, "get.virtual_numbers")["data"]
        return [(row["virtual_phone_number"], row["status"]) for row in rows]

    for _ in range(2):
        house.run(dids.put(house.db, account_id, phone, None, now=house.clock))
        assert listed(tenant) == [(phone.removeprefix("+"), "active")]
    with pytest.raises(dids.DidTaken):
        house.run(dids.put(house.db, other.account.account_id, phone, None, now=house.clock))
    assert listed(other) == []
    house.run(dids.remove(house.db, account_id, phone))
    assert listed(tenant) == [(phone.removeprefix("+"), "inactive")]
    with pytest.raises(dids.DidNotFound):
        house.run(dids.remove(house.db, account_id, phone))


def test_nobody_lists_anothers(house: House, filled: Tenant) -> None:
    other = house.tenant()
    for method in ("get.employees", "get.tags", "get.sites", "get.virtual_numbers", "get.campaigns"):
        assert result(house, other, method)["data"] == []


def test_scenarios_are_those_that_lead_calls(house: House, tenant: Tenant) -> None:
    """Those that are kept, and the scripts of campaigns that have one of their own; a copy is the kept one."""
    kept = house.run(
        scenarios.add(house.db, tenant.account.account_id, name="Доставка", script=MENU, now=house.clock)
    )
    own = house.campaign(tenant)
    house.campaign(tenant, scenario_id=kept.scenario_id)
    found = result(house, tenant, "get.scenarios")
    assert found["data"] == [{"id": own, "name": "Опрос"}, {"id": kept.scenario_id, "name": "Доставка"}]
    assert found["metadata"]["total_items"] == 2
    assert len(result(house, tenant, "get.campaigns")["data"]) == 2
    house.run(scenarios.delete(house.db, tenant.account.account_id, kept.scenario_id))
    assert len(result(house, tenant, "get.scenarios")["data"]) == 2
    assert result(house, house.tenant(), "get.scenarios")["data"] == []


@pytest.mark.parametrize(
    ("filter", "count"),
    [
        ({"field": "extension", "operator": "jsquery", "value": 'extension_phone_number="101"'}, 1),
        ({"field": "phone_numbers", "operator": "jsquery", "value": '#.phone_number = "74951234567"'}, 1),
        ({"field": "phone_numbers", "operator": "jsquery", "value": 'NOT #.phone_number = "74951234567"'}, 1),
        ({"field": "full_name", "operator": "ilike", "value": "%ИВАН%"}, 1),
        ({"field": "full_name", "operator": "in", "value": ["Петров"]}, 1),
        ({"field": "first_name", "operator": "=", "value": None}, 1),
        ({"field": "id", "operator": ">", "value": 0}, 2),
        ({"filters": [{"field": "status", "operator": "=", "value": "active"}], "condition": "and"}, 1),
    ],
)
def test_the_filters_of_public_clients_work(
    house: House, filled: Tenant, filter: dict[str, Any], count: int
) -> None:
    assert result(house, filled, "get.employees", filter=filter)["metadata"]["total_items"] == count


def test_pages_fields_and_order_are_as_asked(house: House, filled: Tenant) -> None:
    rows = result(
        house, filled, "get.employees", fields=["full_name"], sort=[{"field": "full_name", "order": "desc"}]
    )
    assert rows["data"] == [{"full_name": "Петров"}, {"full_name": "Иванов Иван Иванович"}]
    rows = result(house, filled, "get.employees", fields=["id"], sort=[{"field": "patronymic"}], offset=1)
    assert len(rows["data"]) == 1
    assert rows["metadata"]["total_items"] == 2


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (
            {"filter": {"field": "full_name", "operator": "regexp", "value": "(a*)*"}},
            ("invalid_parameter_value", "filter.operator"),
        ),
        (
            {"filter": {"field": "extension", "operator": "=", "value": "101"}},
            ("invalid_parameter_value", "filter.operator"),
        ),
        (
            {"filter": {"field": "extension", "operator": "jsquery", "value": "a ="}},
            ("invalid_parameter_value", "filter.value"),
        ),
        (
            {"filter": {"field": "phone", "operator": "=", "value": "1"}},
            ("unexpected_parameters", "filter.field"),
        ),
        ({"sort": [{"field": "phone_numbers"}]}, ("sort_prohibited", "sort.field")),
        ({"fields": ["phone"]}, ("unexpected_parameters", "fields")),
        ({"limit": 0}, ("invalid_parameter_value", "limit")),
        ({"date_from": "2026-01-01 00:00:00"}, ("unexpected_parameters", "date_from")),
    ],
)
def test_what_is_wrong_is_named(
    house: House, filled: Tenant, params: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert error(house, filled, "get.employees", **params)[:2] == expected
