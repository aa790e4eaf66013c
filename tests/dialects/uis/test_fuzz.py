"""Is there always an answer of JSON-RPC, and never anybody else's row, whatever is sent?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zvonar.dialects.uis import fields as catalogue
from zvonar.dialects.uis.methods.table import METHODS

from .rpc import PERIOD

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

FAST = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SQL = ("' OR 1=1 --", "'; DROP TABLE report_rows; --", "$$", "%s", "%(x)s", "\\", "{}", "\u0000", "NULL", ")")
SECRET = "Чужое"

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(SQL),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from([*catalogue.FIELDS, *SQL, "tags.tag_id", "account_id", "r.source"])
OPERATORS = st.sampled_from(
    [
        *(
            "=",
            "!=",
            "<",
            ">",
            "<=",
            ">=",
            "like",
            "ilike",
            "not_like",
            "not_ilike",
            "regexp",
            "jsquery",
            "in",
        ),
        *("not_in", "overlap", "not_overlap", "is_null", "is_not_null", "~", *SQL),
    ]
)
SIMPLE = st.fixed_dictionaries(
    {}, optional={"field": NAMES | JSON, "operator": OPERATORS | JSON, "value": JSON | st.sampled_from(SQL)}
)
TREES = st.recursive(
    SIMPLE | JSON,
    lambda inner: st.fixed_dictionaries(
        {"filters": st.lists(inner, max_size=4)},
        optional={"condition": st.sampled_from(["and", "or", "not"]) | JSON, "filters_": JSON},
    ),
    max_leaves=10,
)
PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "filter": TREES,
        "fields": st.lists(NAMES | JSON, max_size=4) | JSON,
        "sort": st.lists(
            st.fixed_dictionaries({}, optional={"field": NAMES | JSON, "order": JSON}), max_size=3
        )
        | JSON,
        "limit": st.integers(-1, 20) | JSON,
        "offset": st.integers(-1, 20) | JSON,
        "date_from": st.just("2026-11-01 00:00:00") | JSON,
        "date_till": st.just("2026-12-01 00:00:00") | JSON,
        "include_ongoing_calls": st.booleans() | JSON,
        "report_id": st.just(1) | JSON,
        "user_id": JSON,
        "communication_id": st.integers(1, 50) | JSON,
        "communication_type": st.just("call") | JSON,
        "tag_id": st.integers(1, 3) | JSON,
        "calls": JSON,
    },
)


def post(house: House, body: str | bytes) -> httpx.Response:
    return house.send("POST", "/v2.0", content=body, headers={"content-type": "application/json"})


def answered(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    assert SECRET not in response.text
    answer = response.json()
    assert list(answer) in (["jsonrpc", "id", "result"], ["jsonrpc", "id", "error"])
    if "error" in answer:
        assert answer["error"]["data"]["mnemonic"] != "internal_error", response.text
    return dict(answer)


@pytest.fixture(scope="module")
def mine(house: House) -> Tenant:
    """An account beside another one whose rows must never be seen. Its points do not end."""
    tenant, other = house.tenant(), house.tenant()
    for owner, words in ((other, SECRET), (tenant, "Моё")):
        for _ in range(3):
            house.put(
                owner, scenario_name=words, contact_full_name=words, tags=[{"tag_id": 1, "tag_name": words}]
            )
    return tenant


@given(method=st.sampled_from(sorted(METHODS)), params=PARAMS)
@FAST
def test_any_parameters_have_an_answer(
    house: House, mine: Tenant, method: str, params: dict[str, Any]
) -> None:
    house.run(house.db.execute("DELETE FROM rate_limits"))
    asked = {**PERIOD, **params, "access_token": mine.uis}
    if method in ("get.calls_report", "get.mgf_calls", "get_mgf_calls", "get.call_legs_report"):
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": asked}
    else:
        request = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": method,
            "params": {**params, "access_token": mine.uis},
        }
    answered(post(house, json.dumps(request, ensure_ascii=True)))


@given(filter=TREES)
@FAST
def test_any_filter_has_an_answer_and_shows_nothing_of_others(
    house: House, mine: Tenant, filter: Any
) -> None:
    house.run(house.db.execute("DELETE FROM rate_limits"))
    fields = ["id", "scenario_name", "contact_full_name", "tags"]
    params = {"access_token": mine.uis, **PERIOD, "filter": filter, "fields": fields}
    request = {"jsonrpc": "2.0", "id": "x", "method": "get.calls_report", "params": params}
    answer = answered(post(house, json.dumps(request)))
    assert all(row["scenario_name"] == "Моё" for row in answer.get("result", {}).get("data", []))


@pytest.mark.parametrize("text", SQL)
@pytest.mark.parametrize("operator", ["=", "like", "regexp", "in", "jsquery"])
def test_sql_in_a_string_is_only_a_string(house: House, mine: Tenant, text: str, operator: str) -> None:
    house.run(house.db.execute("DELETE FROM rate_limits"))
    value = [text] if operator == "in" else text
    field = "tags" if operator == "jsquery" else "scenario_name"
    params = {
        "access_token": mine.uis,
        **PERIOD,
        "filter": {"field": field, "operator": operator, "value": value},
    }
    request = {"jsonrpc": "2.0", "id": 1, "method": "get.calls_report", "params": params}
    answer = answered(post(house, json.dumps(request)))
    if "error" in answer:
        assert answer["error"]["data"]["mnemonic"] == "invalid_parameter_value"
    else:
        assert answer["result"]["data"] == [] or (operator, text) == ("regexp", "$$"), answer


def nested(depth: int, core: str) -> str:
    return '{"filters":[' * depth + core + "]}" * depth


@pytest.mark.parametrize("depth", [50, 101, 300, 1_000, 20_000])
def test_a_deep_tree_is_answered_or_refused_by_its_request(house: House, mine: Tenant, depth: int) -> None:
    house.run(house.db.execute("DELETE FROM rate_limits"))
    core = '{"field":"id","operator":">","value":0}'
    params = json.dumps({"access_token": mine.uis, **PERIOD})[:-1] + f',"filter":{nested(depth, core)}}}'
    body = f'{{"jsonrpc":"2.0","id":1e2,"method":"get.calls_report","params":{params}}}'
    response = post(house, body)
    answer = answered(response)
    assert '"id":1e2' in response.text
    if depth <= 100:
        assert len(answer["result"]["data"]) == 3
    else:
        assert answer["error"]["data"]["mnemonic"] == "invalid_parameter_value"
        assert answer["error"]["data"]["field"].startswith("filter")


@pytest.mark.parametrize(
    "body",
    [
        '{"jsonrpc":"2.0","id":1,"params":' + "[" * 5_000 + "}" * 5_000 + "}",
        '{"a":' + "[" * 5_000 + '"' + "]" * 5_000 + "}",
        '{"id":NaN}',
        '{"id":Infinity,"jsonrpc":"2.0"}',
        '{"jsonrpc":"2.0","id":1,"method":"get.account","params":{"access_token":"\ud83d"}}',
        '{"jsonrpc":"2.0","id":1,"method":"get.account","params":{"access_token":"\\ud83d"}}',
    ],
)
def test_what_is_no_json_is_told_so(house: House, body: str) -> None:
    answer = answered(post(house, body.encode("utf-8", "surrogatepass")))
    assert answer["error"]["code"] == -32700
    assert answer["id"] is None


@pytest.mark.parametrize("id", ["1.0", "1e2", "9" * 30, "-0", '"1"', '"\\u0041"', "1E+2", '""'])
def test_an_id_comes_back_letter_by_letter(house: House, mine: Tenant, id: str) -> None:
    house.run(house.db.execute("DELETE FROM rate_limits"))
    params = json.dumps({"access_token": mine.uis})
    body = f'{{"jsonrpc":"2.0","id":{id},"method":"get.account","params":{params}}}'
    response = post(house, body)
    assert response.text.startswith(f'{{"jsonrpc":"2.0","id":{id},"result"')


def test_of_a_key_that_is_there_twice_the_last_one_counts(house: House, mine: Tenant) -> None:
    house.run(house.db.execute("DELETE FROM rate_limits"))
    params = json.dumps({"access_token": mine.uis})
    twice = '"jsonrpc":"1.0","jsonrpc":"2.0","id":1,"id":2,"method":"x","method":"get.account"'
    response = post(house, f'{{{twice},"params":{params}}}')
    assert response.text.startswith('{"jsonrpc":"2.0","id":2,"result"')


def test_a_hundred_megabytes_are_refused_without_being_kept(house: House) -> None:
    sent = 0

    async def body() -> Any:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b" " * 1_000_000

    response = house.run(
        house.client.post("/v2.0", content=body(), headers={"content-type": "application/json"})
    )
    assert response.json()["error"]["data"]["mnemonic"] == "invalid_request"
    assert response.status_code == 200
    assert sent < 5


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "(",
            "[",
            "*",
            "a{3,1}",
            "a{1001}",
            "(a{100}){100}",
            "(((a{20}){20}){20}){20}",
            "(x)\\1",
            "***:a",
            "(?i)a",
        ),
        *("a" * 501, "(" * 21 + "a" + ")" * 21, "[[:nothing:]]", "a\\"),
    ],
)
def test_a_pattern_that_is_none_or_has_no_bounds_is_refused(house: House, mine: Tenant, pattern: str) -> None:
    house.run(house.db.execute("DELETE FROM rate_limits"))
    filter = {"field": "scenario_name", "operator": "regexp", "value": pattern}
    params = {"access_token": mine.uis, **PERIOD, "filter": filter}
    request = {"jsonrpc": "2.0", "id": 1, "method": "get.calls_report", "params": params}
    error = answered(post(house, json.dumps(request)))["error"]["data"]
    assert (error["mnemonic"], error["field"], error["value"]) == (
        "invalid_parameter_value",
        "filter.value",
        pattern,
    )


@pytest.mark.parametrize(
    "pattern", ["(a*)*b", "(a|a)*$", "^М.ё$", "[[:alpha:]]+", "a{0,255}", "(?:М)оё", "М(?=о)"]
)
def test_a_pattern_that_posix_knows_is_answered(house: House, mine: Tenant, pattern: str) -> None:
    house.run(house.db.execute("DELETE FROM rate_limits"))
    filter = {"field": "scenario_name", "operator": "regexp", "value": pattern}
    params = {"access_token": mine.uis, **PERIOD, "filter": filter}
    request = {"jsonrpc": "2.0", "id": 1, "method": "get.calls_report", "params": params}
    assert "result" in answered(post(house, json.dumps(request)))
