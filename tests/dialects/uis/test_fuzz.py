"""Is there always an answer of JSON-RPC, and never anybody else's row, whatever is sent?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zvonar.dialects.uis import fields as catalogue
from zvonar.dialects.uis import mgf_fields
from zvonar.dialects.uis.methods.table import METHODS
from zvonar.dialects.uis.requests.sessions import FIELDS_TOLD

from .rpc import PERIOD

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

FAST = settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
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


TEXTS = sorted(name for name, field in catalogue.FIELDS.items() if field.filter and field.type == "string")
MGF_TEXTS = sorted(
    name for name, field in mgf_fields.DOCUMENTED.items() if field.filter and field.type == "string"
)


@pytest.mark.parametrize(
    ("method", "field"),
    [
        *(("get.calls_report", name) for name in TEXTS),
        *(("get.mgf_calls", name) for name in MGF_TEXTS),
        *(("get.employees", name) for name in ("full_name", "email", "status")),
        *(("get.call_legs_report", name) for name in ("called_phone_number", "employee_full_name")),
        ("get.scenarios", "name"),
    ],
)
def test_sql_is_only_a_string_in_every_text_field(
    house: House, mine: Tenant, method: str, field: str
) -> None:
    house.run(house.db.execute("DELETE FROM rate_limits"))
    reports = method in ("get.calls_report", "get.mgf_calls", "get.call_legs_report")
    more: dict[str, Any] = {**PERIOD} if reports else {}
    if method == "get.mgf_calls":
        more |= {"report_id": 1, "fields": ["communication_id", field]}
    # All of them in one filter: none of it may fit, and nothing may be asked of the database but what was meant.
    tests = [
        {"field": field, "operator": operator, "value": [text] if operator == "in" else text}
        for text in SQL
        for operator in ("=", "like", "in")
        if "\0" not in text and not (operator == "like" and (text.endswith("\\") or "%" in text))
    ]
    params = {"access_token": mine.uis, **more, "filter": {"filters": tests, "condition": "or"}}
    if method == "get.mgf_calls":
        params["filter"] = {"filters": [one for one in tests if one["operator"] != "like"], "condition": "or"}
    answer = answered(
        post(house, json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    )
    if "error" in answer:
        # A word that a field of few words does not have.
        assert answer["error"]["data"]["mnemonic"] == "invalid_parameter_value"
    else:
        assert answer["result"]["data"] == []
    assert house.run(house.db.value("SELECT to_regclass('report_rows') IS NOT NULL"))


@pytest.mark.parametrize(
    "method", ["get.mgf_calls", "get.call_legs_report", "get.employees", "get.scenarios"]
)
@pytest.mark.parametrize("depth", [101, 1_000])
def test_a_deep_tree_is_refused_by_every_method(house: House, mine: Tenant, method: str, depth: int) -> None:
    house.run(house.db.execute("DELETE FROM rate_limits"))
    known: dict[str, Any] = {"access_token": mine.uis}
    if method in ("get.mgf_calls", "get.call_legs_report"):
        known |= PERIOD
    if method == "get.mgf_calls":
        known |= {"report_id": 1, "fields": ["communication_id"]}
    core = '{"field":"id","operator":">","value":0}'
    params = json.dumps(known)[:-1] + f',"filter":{nested(depth, core)}}}'
    response = post(house, f'{{"jsonrpc":"2.0","id":1.0,"method":"{method}","params":{params}}}')
    error = answered(response)["error"]["data"]
    assert '"id":1.0,' in response.text
    assert (error["mnemonic"], error["field"][:6]) == ("invalid_parameter_value", "filter")


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


# What may stand in a request where something else stood.
SPLINTERS = st.sampled_from(
    [
        *("NaN", "Infinity", "-Infinity", "1e999", "1" * 40, "-0", "1.0", "null", "true", '""', "[]", "{}"),
        *('"\\ud800"', '"\\u0000"', "\ufeff", "\x00", "\\", '"', "[" * 300, '{"a":' * 300, "//", "'"),
        *(
            '"id":7,',
            '"params":{},',
            '"access_token":"",',
            '"filter":{},',
            '"operator":"=","operator":"jsquery",',
        ),
        *("' OR '1'='1", "%", "%s", "\ud83d"),
    ]
)


def whole_requests(token: str) -> list[str]:
    filter = {
        "condition": "and",
        "filters": [{"field": "tags", "operator": "jsquery", "value": "#.tag_id = 1"}],
    }
    call = {"ext_id": "осколок", "start_time": "2026-11-22 10:00:00", "contact_phone_number": "74951234567"}
    tag = {"communication_id": 1, "communication_type": "call", "tag_id": 1}
    known = {"access_token": token, "limit": 2, "sort": [{"field": "start_time", "order": "desc"}]}
    asked: list[tuple[str, dict[str, Any]]] = [
        ("get.calls_report", {**known, **PERIOD, "fields": ["id", "tags"], "filter": filter}),
        (
            "get.mgf_calls",
            {**PERIOD, "access_token": token, "report_id": 1, "fields": ["tags"], "filter": filter},
        ),
        ("get.call_legs_report", {**PERIOD, "access_token": token}),
        ("get.employees", {"access_token": token, "sort": [{"field": "id"}]}),
        ("set.tag_communications", {"access_token": token, **tag}),
        (
            "upload.calls",
            {"access_token": token, "calls": [{**call, "tags": [{"tag_id": 1, "tag_name": "x"}]}]},
        ),
    ]
    return [
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, ensure_ascii=False)
        for method, params in asked
    ]


@given(
    which=st.integers(0, 5),
    cuts=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 12), SPLINTERS | st.just("")), min_size=1, max_size=4
    ),
)
@FAST
def test_a_request_that_was_damaged_on_its_way_is_answered(
    house: House, mine: Tenant, which: int, cuts: list[tuple[float, int, str]]
) -> None:
    house.run(house.db.execute("DELETE FROM rate_limits"))
    text = whole_requests(mine.uis)[which]
    for where, lost, put in cuts:
        at = int(where * len(text))
        text = text[:at] + put + text[at + lost :]
    answered(post(house, text.encode("utf-8", "surrogatepass")))


PLAUSIBLE = st.sampled_from(
    [
        *("2026-11-22 10:00:00", "74951234567", "in", "va", "Новый", "desktop", "текст", *SQL),
        *(0, 1, 60, 1.5, -1, 2**63, 10**30, True, False, None),
        *(["first"], [], [{}], [{"tag_id": 1}], [{"tag_id": "1"}], [{"segment_id": 1, "segment_name": "x"}]),
    ]
)
OTHERS = sorted(FIELDS_TOLD - {"ext_id", "start_time", "contact_phone_number"})
CALLS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "ext_id": st.sampled_from(["а", "б", "в"]) | PLAUSIBLE,
            "start_time": st.sampled_from(["2026-11-22 10:00:00", "2026-11-22 11:00:00"]) | PLAUSIBLE,
            "contact_phone_number": st.just("74951234567") | PLAUSIBLE,
            **dict.fromkeys(OTHERS, PLAUSIBLE),
        },
    ),
    min_size=1,
    max_size=3,
)
CERTAIN = st.fixed_dictionaries(
    {
        "ext_id": st.sampled_from(["а", "б", "в"]),
        "start_time": st.just("2026-11-22 10:00:00"),
        "contact_phone_number": st.just("74951234567"),
    },
    optional={
        "utm_source": PLAUSIBLE,
        "tags": PLAUSIBLE,
        "talk_duration": PLAUSIBLE,
        "communication_id": PLAUSIBLE,
    },
)


@pytest.fixture(scope="module")
def uploader(house: House) -> Tenant:
    return house.tenant()


@given(calls=CALLS | st.lists(CERTAIN, min_size=1, max_size=3))
@FAST
def test_calls_are_taken_all_of_them_or_none(house: House, uploader: Tenant, calls: list[Any]) -> None:
    house.run(house.db.execute("DELETE FROM rate_limits"))
    tables = "report_rows", "report_filters", "uploaded_sessions", "told_communications"

    def picture() -> list[Any]:
        return [
            house.run(
                house.db.value(
                    f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"  # type: ignore[arg-type]
                    f" WHERE account_id = {uploader.account.account_id}"
                )
            )
            for table in tables
        ]

    before = picture()
    params = {"access_token": uploader.uis, "calls": calls}
    request = {"jsonrpc": "2.0", "id": 1, "method": "upload.calls", "params": params}
    answer = answered(post(house, json.dumps(request)))
    if "error" in answer:
        assert picture() == before, answer
        return
    made = answer["result"]["data"]
    assert [one["ext_id"] for one in made] == [one.get("ext_id") for one in calls]
    params = {
        "access_token": uploader.uis,
        **PERIOD,
        "fields": ["id", "ext_id", "start_time"],
        "limit": 10_000,
    }
    shown = answered(post(house, json.dumps({**request, "method": "get.calls_report", "params": params})))
    known = {row["id"] for row in shown["result"]["data"]}
    in_period = {
        one["id"]
        for one, call in zip(made, calls, strict=True)
        if call["start_time"].startswith("2026-11-22")
    }
    assert in_period <= known


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
