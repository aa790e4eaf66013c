"""Is every error of the reference's catalogue one that a client can meet? Each is provoked by a request, with the
catalogue's code and words; the few that this product cannot have are named with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from zvonar.dialects.uis import limits
from zvonar.dialects.uis.errors import CATALOGUE
from zvonar.dialects.uis.who import KEY_KIND
from zvonar.store import directories, keys

from .rpc import PERIOD
from .test_reference import GOLDEN

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

# Mnemonics of the catalogue that no request can meet here, and why.
IMPOSSIBLE = {
    "method_component_disabled": "No part of Zvonar is sold apart: every account has every method.",
    "parameter_component_disabled": "The same of parameters.",
    "tariff_restrictions": "A tariff prices calls and restricts nothing that this API does.",
    "campaign_is_inactive": "No method puts anything into an advertising campaign.",
    "dependency_error": "No method deletes an entity.",
}
TAGGED = {"communication_type": "call"}
CALL = {"ext_id": "1", "start_time": "2026-11-22 10:00:00", "contact_phone_number": "74951234567"}

Params = dict[str, Any]
Provoke = Callable[["House", "Tenant"], "bytes | tuple[str, Params]"]


def report(**params: Any) -> Provoke:
    return lambda _, tenant: ("get.calls_report", {"access_token": tenant.uis, **PERIOD, **params})


def upload(*calls: Params) -> Provoke:
    return lambda _, tenant: ("upload.calls", {"access_token": tenant.uis, "calls": list(calls)})


def key(house: House, tenant: Tenant, **options: Any) -> str:
    name = f"key of errors {tenant.account.account_id}"
    return house.run(keys.issue(house.db, tenant.account.account_id, kind=KEY_KIND, key=name, **options))


def expired(house: House, tenant: Tenant) -> tuple[str, Params]:
    return "get.account", {"access_token": key(house, tenant, expires_at=house.clock - timedelta(hours=1))}


def blocked(house: House, tenant: Tenant) -> tuple[str, Params]:
    token, account_id = (
        key(house, tenant, expires_at=house.clock + timedelta(hours=1)),
        tenant.account.account_id,
    )
    [state] = [
        one for one in house.run(keys.of_account(house.db, account_id, kind=KEY_KIND)) if one.expires_at
    ]
    house.run(keys.change(house.db, account_id, kind=KEY_KIND, key=state.key, now=house.clock, blocked=True))
    return "get.account", {"access_token": token}


def elsewhere(house: House, tenant: Tenant) -> tuple[str, Params]:
    return "get.account", {"access_token": key(house, tenant, allowed=["203.0.113.0/24"])}


def closed(house: House, tenant: Tenant) -> tuple[str, Params]:
    house.run(keys.set_active(house.db, tenant.account.account_id, False, now=house.clock))
    return "get.account", {"access_token": tenant.uis}


def exhausted(house: House, tenant: Tenant) -> tuple[str, Params]:
    house.run(
        house.db.execute(
            "UPDATE rate_limits SET used = %(n)s WHERE scope = %(scope)s",
            {"n": limits.DAY.count, "scope": limits.DAY.scope},
        )
    )
    return "get.account", {"access_token": tenant.uis}


def broken(house: House, tenant: Tenant) -> tuple[str, Params]:
    house.run(house.db.execute("ALTER TABLE sites RENAME TO sites_away"))
    return "get.sites", {"access_token": tenant.uis}


def tag(house: House, tenant: Tenant, *, times: int = 0) -> tuple[str, Params]:
    account_id = tenant.account.account_id
    tag_id = house.run(directories.put_tag(house.db, account_id, "Заказ"))
    others = [{"tag_id": n, "tag_name": str(n)} for n in range(1, limits.MAX_TAGS + 1)]
    tags = {0: [], 1: [{"tag_id": tag_id, "tag_name": "Заказ"}]}.get(times, others)
    session = house.put(tenant, tags=tags)
    params = {"access_token": tenant.uis, **TAGGED, "communication_id": session, "tag_id": tag_id}
    return "set.tag_communications", params


def taken(house: House, tenant: Tenant) -> tuple[str, Params]:
    session = house.put(tenant)
    return "upload.calls", {"access_token": tenant.uis, "calls": [{**CALL, "communication_id": session}]}


PROVOKED: dict[str, Provoke] = {
    "parse_error": lambda *_: b"{",
    "invalid_request": lambda *_: b"{}",
    "batch_opreations_not_supported": lambda *_: b"[]",
    "notifications_not_supported": lambda *_: b'{"jsonrpc":"2.0","method":"get.account","params":{}}',
    "method_not_found": lambda _, tenant: ("get.nothing", {"access_token": tenant.uis}),
    "access_token_invalid": lambda *_: ("get.account", {"access_token": "nobody's"}),
    "access_token_expired": expired,
    "access_token_blocked": blocked,
    "auth_error": lambda *_: ("login.user", {"login": "nobody", "password": "nothing"}),
    "ip_not_whitelisted": elsewhere,
    "account_inactive": closed,
    "limit_exceeded": exhausted,
    "internal_error": broken,
    "forbidden": report(user_id=1),
    "required_parameter_missed": report(date_from=None),
    "data_type_error": report(limit="10"),
    "invalid_parameter_value": report(limit=0),
    "unexpected_parameters": report(fields=["nothing"]),
    "invalid_parameters_combination": report(date_from="2026-11-24 00:00:00"),
    "error": lambda _, tenant: (
        "get.call_legs_report",
        {
            "access_token": tenant.uis,
            **PERIOD,
            "filter": {"field": "is_operator", "operator": "=", "value": True},
        },
    ),
    "sort_prohibited": report(sort=[{"field": "id"}]),
    "filter_prohibited": report(
        filter={"field": "start_time", "operator": ">", "value": "2026-11-22 00:00:00"}
    ),
    "date_interval_limit_reached": report(date_from="2026-01-01 00:00:00"),
    "entity_not_found": lambda _, tenant: (
        "set.tag_communications",
        {"access_token": tenant.uis, **TAGGED, "communication_id": 1, "tag_id": 10**15},
    ),
    "duplicate_entity": lambda house, tenant: tag(house, tenant, times=1),
    "data_limit_exceeded": lambda house, tenant: tag(house, tenant, times=limits.MAX_TAGS),
    "invalid_date_time": upload({**CALL, "start_time": "2026-11-31 10:00:00"}),
    "already_in_use": taken,
}


@pytest.fixture
def mended(house: House, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whatever a test has broken of the house is whole afterwards."""
    monkeypatch.setattr("zvonar.reports.legs.MOST", -1)
    yield
    house.run(house.db.execute("ALTER TABLE IF EXISTS sites_away RENAME TO sites"))
    house.run(house.db.execute("DELETE FROM rate_limits"))


@pytest.mark.usefixtures("mended")
@pytest.mark.parametrize("mnemonic", PROVOKED)
def test_each_error_is_met_with_its_code_and_words(house: House, tenant: Tenant, mnemonic: str) -> None:
    # A request before, so that there are points to be counted.
    house.send("POST", "/v2.0", json=_request("get.account", {"access_token": tenant.uis}))
    provoked = PROVOKED[mnemonic](house, tenant)
    body = provoked if isinstance(provoked, bytes) else json.dumps(_request(*provoked)).encode()
    response = house.send("POST", "/v2.0", content=body)
    assert response.status_code == 200
    answer = response.json()
    assert list(answer) == ["jsonrpc", "id", "error"]
    found = answer["error"]
    assert found["data"]["mnemonic"] == mnemonic
    entry = _reference()[mnemonic]
    assert found["code"] == entry["code"]
    # The template's parameters are told beside it.
    assert found["message"] == entry["message"].format(**found["data"].get("params", {}))
    counted = not isinstance(provoked, bytes) and mnemonic not in _UNCOUNTED
    assert ("limits" in found["data"].get("metadata", {})) == counted


# UIS, Call API: no limits are told where nobody is known to have asked.
_UNCOUNTED = {
    *(
        "method_not_found",
        "access_token_invalid",
        "access_token_expired",
        "access_token_blocked",
        "auth_error",
    ),
    *("ip_not_whitelisted", "account_inactive", "internal_error"),
}


def test_every_error_of_the_catalogue_is_met_or_cannot_be() -> None:
    assert PROVOKED.keys() | IMPOSSIBLE.keys() == _reference().keys() == CATALOGUE.keys()
    assert not PROVOKED.keys() & IMPOSSIBLE.keys()
    assert len(IMPOSSIBLE) <= 5


def test_a_refused_request_costs_nothing(house: House, tenant: Tenant) -> None:
    def left(method: str, **params: Any) -> int:
        answer = house.send(
            "POST", "/v2.0", json=_request(method, {"access_token": tenant.uis, **params})
        ).json()
        told = answer["result"] if "result" in answer else answer["error"]["data"]
        return int(told["metadata"]["limits"]["day_remaining"])

    before = left("get.account")
    for mnemonic in ("data_type_error", "sort_prohibited", "invalid_date_time", "entity_not_found"):
        provoked = PROVOKED[mnemonic](house, tenant)
        assert not isinstance(provoked, bytes)
        assert left(*provoked[:1], **provoked[1]) == before
    assert left("get.account") == before - 1


def _request(method: str, params: Params) -> Params:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def _reference() -> dict[str, Params]:
    """The catalogue by mnemonic. One mnemonic has two codes: `forbidden` of the methods that delete, which are none."""
    entries = msgspec.json.decode((GOLDEN / "errors.json").read_bytes())
    found: dict[str, Params] = {}
    for group in entries.values():
        for entry in group:
            found.setdefault(entry["mnemonic"], entry)
    return found
