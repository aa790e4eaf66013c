"""Who may ask, from where, and for whom? Sessions of an hour, keys with an end, networks, and agents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from zvonar.dialects.uis.who import KEY_KIND, LOGIN_KIND
from zvonar.store import accounts, keys

from .rpc import PERIOD, call, error, result

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

_serial = count(1)
ELSEWHERE = ["203.0.113.0/24"]


def with_login(house: House, tenant: Tenant) -> tuple[str, str]:
    login = f"login {next(_serial)}"
    params = {
        "kind": LOGIN_KIND,
        "login": login,
        "account_id": tenant.account.account_id,
        "password_hash": accounts.hash_password("пароль"),
        "networks": None,
    }
    house.run(house.db.execute(accounts.ADD_LOGIN, params))
    return login, "пароль"


def mnemonic(answer: dict[str, Any]) -> str:
    return str(answer["error"]["data"]["mnemonic"])


def ask(house: House, token: str, method: str = "get.account", **params: Any) -> dict[str, Any]:
    return call(house, method, {"access_token": token, **params})


def test_a_login_opens_a_session_of_an_hour_that_logout_ends(house: House, tenant: Tenant) -> None:
    login, password = with_login(house, tenant)
    answer = call(house, "login.user", {"login": login, "password": password})
    data = answer["result"]["data"]
    assert list(answer["result"]) == ["data"]
    assert list(data) == ["access_token", "expire_at", "app_id"]
    assert data["expire_at"] == int((house.clock + timedelta(hours=1)).timestamp())
    token = data["access_token"]
    [account] = ask(house, token)["result"]["data"]
    assert account == {
        "app_id": data["app_id"],
        "name": tenant.account.name,
        "timezone": tenant.account.timezone,
    }
    assert ask(house, token, "logout.user")["result"] == {"data": {}}
    assert mnemonic(ask(house, token)) == "access_token_invalid"
    assert mnemonic(ask(house, token, "logout.user")) == "access_token_invalid"


@pytest.mark.usefixtures("travelling")
def test_a_session_ends_by_itself(house: House, tenant: Tenant) -> None:
    login, password = with_login(house, tenant)
    token = call(house, "login.user", {"login": login, "password": password})["result"]["data"][
        "access_token"
    ]
    house.clock += timedelta(minutes=59)
    assert "result" in ask(house, token)
    house.clock += timedelta(minutes=1)
    assert mnemonic(ask(house, token)) == "access_token_invalid"
    assert mnemonic(ask(house, token, "logout.user")) == "access_token_invalid"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ("required_parameter_missed", "login")),
        ({"login": "x"}, ("required_parameter_missed", "password")),
        ({"login": 1, "password": "x"}, ("data_type_error", "login")),
        ({"login": "x", "password": "y", "remember": True}, ("unexpected_parameters", "remember")),
        ({"login": "nobody", "password": "y"}, ("auth_error", None)),
        ({"login": "no\0body", "password": "y"}, ("auth_error", None)),
        ({"login": "x" * 10_000, "password": "y"}, ("auth_error", None)),
        ({"login": "x", "password": "y" * 100_000}, ("auth_error", None)),
    ],
)
def test_a_wrong_login_says_what_is_wrong(
    house: House, params: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    data = call(house, "login.user", params)["error"]["data"]
    assert (data["mnemonic"], data.get("field")) == expected
    assert "metadata" not in data


def test_passwords_are_not_to_be_guessed(house: House, tenant: Tenant) -> None:
    login, password = with_login(house, tenant)
    for _ in range(20):
        request = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "login.user",
            "params": {"login": login, "password": "?"},
        }
        assert mnemonic(house.send("POST", "/v2.0", json=request, pause=0.1).json()) == "auth_error"
    answer = call(house, "login.user", {"login": login, "password": password})
    assert mnemonic(answer) == "limit_exceeded"
    house.clock += timedelta(minutes=1)
    assert "result" in call(house, "login.user", {"login": login, "password": password})


def issued(house: House, tenant: Tenant, **options: Any) -> str:
    key = f"key {next(_serial)}"
    return house.run(keys.issue(house.db, tenant.account.account_id, kind=KEY_KIND, key=key, **options))


def test_a_new_key_is_for_this_machine_until_its_networks_are_named(house: House, tenant: Tenant) -> None:
    token = issued(house, tenant)
    assert "result" in ask(house, token)
    [state] = [
        state
        for state in house.run(keys.of_account(house.db, tenant.account.account_id, kind=KEY_KIND))
        if state.networks == list(keys.LOOPBACK)
    ]
    account_id = tenant.account.account_id
    change = keys.change(
        house.db, account_id, kind=KEY_KIND, key=state.key, now=house.clock, allowed=ELSEWHERE
    )
    house.run(change)
    answer = ask(house, token, limit="wrong too")
    assert answer["error"]["code"] == -32003
    assert answer["error"]["message"] == "Your IP 127.0.0.1 is not whitelisted"
    assert answer["error"]["data"] == {"mnemonic": "ip_not_whitelisted", "params": {"ip": "127.0.0.1"}}
    opened = keys.networks(["0.0.0.0/0"])
    house.run(
        keys.change(house.db, account_id, kind=KEY_KIND, key=state.key, now=house.clock, allowed=opened)
    )
    assert "result" in ask(house, token)


def test_networks_are_read_and_looked_into() -> None:
    assert keys.networks(["203.0.113.7", "10.0.0.0/8"]) == ["203.0.113.7/32", "10.0.0.0/8"]
    assert keys.within("::ffff:10.1.2.3", ["10.0.0.0/8"])
    assert not keys.within("unknown", keys.networks(["0.0.0.0/0"]))
    assert keys.within("2001:db8::1", keys.networks(["0.0.0.0/0"]))
    with pytest.raises(keys.NetworkInvalid):
        keys.networks(["10.0.0.0/33"])


def test_keys_run_out_are_blocked_and_close_with_their_account(house: House, tenant: Tenant) -> None:
    dated = issued(house, tenant, expires_at=house.clock + timedelta(hours=2))
    assert "result" in ask(house, dated)
    before = house.clock
    house.clock += timedelta(hours=2)
    assert mnemonic(ask(house, dated)) == "access_token_expired"
    house.clock = before
    account_id = tenant.account.account_id
    states = house.run(keys.of_account(house.db, account_id, kind=KEY_KIND))
    [key] = [state.key for state in states if state.expires_at]
    house.run(keys.change(house.db, account_id, kind=KEY_KIND, key=key, now=house.clock, blocked=True))
    assert mnemonic(ask(house, dated)) == "access_token_blocked"
    house.run(keys.change(house.db, account_id, kind=KEY_KIND, key=key, now=house.clock, blocked=False))
    assert "result" in ask(house, dated)
    house.run(keys.set_active(house.db, account_id, False, now=house.clock))
    assert mnemonic(ask(house, dated)) == "account_inactive"
    assert house.send("POST", "/manager/cabapi_external/api/v1/phones/call/", data={}).status_code == 400
    house.run(keys.set_active(house.db, account_id, True, now=house.clock))
    assert "result" in ask(house, dated)


def test_a_key_of_another_dialect_opens_nothing(house: House, tenant: Tenant) -> None:
    assert mnemonic(ask(house, tenant.callo)) == "access_token_invalid"


def test_an_agent_acts_for_its_customers_and_for_nobody_else(house: House, tenant: Tenant) -> None:
    customer, stranger = house.tenant(timezone="Asia/Vladivostok"), house.tenant()
    agent = tenant
    add = keys.add_customer(house.db, agent.account.account_id, customer.account.account_id)
    user_id = house.run(add)
    start = datetime(2026, 11, 22, 9, tzinfo=UTC)
    theirs = house.put(customer, start_time=start)
    house.put(agent)
    house.put(stranger)
    [user] = result(house, agent, "get.customer_users")["data"]
    assert (user["user_id"], user["app_id"], user["timezone"]) == (
        user_id,
        customer.account.account_id,
        "Asia/Vladivostok",
    )
    report = "get.calls_report"
    assert error(house, agent, report, **PERIOD)[:2] == ("required_parameter_missed", "user_id")
    assert error(house, agent, report, **PERIOD, user_id=user_id + 1)[:2] == ("forbidden", "user_id")
    # The customer's keys have no networks of their own yet, so nobody comes in for it.
    assert error(house, agent, report, **PERIOD, user_id=user_id)[0] == "ip_not_whitelisted"
    issued(house, customer)
    [row] = result(house, agent, report, **PERIOD, user_id=user_id)["data"]
    assert (row["id"], row["start_time"]) == (theirs, "2026-11-22 19:00:00")
    # Whoever is no agent has no customers.
    assert error(house, stranger, report, **PERIOD, user_id=user_id)[:2] == ("forbidden", "user_id")
