"""Does JSON-RPC hold, whatever is sent? Each error in the catalogue's words, the id exactly as it came."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

FAST = settings(max_examples=200, deadline=None)
PERIOD = {"date_from": "2026-11-22 00:00:00", "date_till": "2026-11-23 23:59:59"}


def post(house: House, body: str | bytes, **headers: str) -> httpx.Response:
    return house.send("POST", "/v2.0", content=body, headers={"content-type": "application/json", **headers})


def error(response: httpx.Response) -> tuple[int, str]:
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/json")
    answer = response.json()
    assert list(answer) == ["jsonrpc", "id", "error"]
    assert list(answer["error"]) == ["code", "message", "data"]
    return answer["error"]["code"], answer["error"]["data"]["mnemonic"]


def request(**fields: Any) -> str:
    envelope = {"jsonrpc": "2.0", "id": 1, "method": "get.calls_report", "params": {}} | fields
    return json.dumps({name: value for name, value in envelope.items() if value is not ...})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", (-32700, "parse_error")),
        ("{", (-32700, "parse_error")),
        ("NaN", (-32700, "parse_error")),
        ('{"id":1,"method":"\\ud800"}', (-32700, "parse_error")),
        (b'{"id":1,"method":"\xff"}', (-32700, "parse_error")),
        ("\ufeff{}".encode(), (-32700, "parse_error")),
        ("[" * 100_000, (-32700, "parse_error")),
        ('{"a":' * 100_000, (-32700, "parse_error")),
        ("1" * 100_000, (-32700, "parse_error")),
        ("1e999", (-32700, "parse_error")),
        ("1", (-32600, "invalid_request")),
        ('"text"', (-32600, "invalid_request")),
        ("null", (-32600, "invalid_request")),
        ("[]", (-32099, "batch_opreations_not_supported")),
        (f"[{request()}]", (-32099, "batch_opreations_not_supported")),
        ("{}", (-32600, "invalid_request")),
        (request(jsonrpc="1.0"), (-32600, "invalid_request")),
        (request(jsonrpc=2.0), (-32600, "invalid_request")),
        (request(method=...), (-32600, "invalid_request")),
        (request(method=1), (-32600, "invalid_request")),
        (request(params=...), (-32600, "invalid_request")),
        (request(params=[]), (-32600, "invalid_request")),
        (request(extra=1), (-32600, "invalid_request")),
        (request(id=...), (-32099, "notifications_not_supported")),
        (request(id=..., method="nothing"), (-32099, "notifications_not_supported")),
        (request(id=None), (-32600, "invalid_request")),
        (request(id=True), (-32600, "invalid_request")),
        (request(id=[1]), (-32600, "invalid_request")),
        (request(method="get.calls"), (-32601, "method_not_found")),
        (request(method="get.calls_report\0"), (-32601, "method_not_found")),
        (request(), (-32602, "required_parameter_missed")),
        (request(params={"access_token": 7}), (-32602, "data_type_error")),
        (request(params={"access_token": ""}), (-32001, "access_token_invalid")),
        (
            request(params={"access_token": "no\0body", "limit": "wrong too"}),
            (-32001, "access_token_invalid"),
        ),
    ],
)
def test_each_look_has_its_error_in_the_order_of_the_looks(
    house: House, body: str | bytes, expected: tuple[int, str]
) -> None:
    assert error(post(house, body)) == expected


@pytest.mark.parametrize("id", ["1", "1.0", "1e2", "-0", '"a"', '""', '"\\u0061"', "1" * 30, '"1"'])
def test_an_id_comes_back_as_the_text_that_it_was(house: House, tenant: Tenant, id: str) -> None:
    params = json.dumps({"access_token": tenant.uis, **PERIOD})
    for method in ("get.calls_report", "nothing"):
        body = f'{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}'
        assert f'"id":{id},' in post(house, body).text
    assert f'"id":{id},' in post(house, f'{{"id":{id}}}').text


def test_an_id_that_could_not_be_read_is_null(house: House) -> None:
    for body in ("{", "[]", "1", '{"id":{}}', '{"id":null}'):
        assert post(house, body).json()["id"] is None


def test_errors_are_the_references(house: House, tenant: Tenant, golden: Callable[[str], Any]) -> None:
    entries = golden("errors.json")
    messages = {entry["mnemonic"]: (entry["code"], entry["message"]) for entry in entries["common"]}
    shape = golden("error.json")
    params = {"access_token": tenant.uis, **PERIOD, "filter": {"field": "id", "operator": "?"}}
    answer = post(house, request(params=params)).json()
    assert list(answer) == list(shape)
    assert list(answer["error"]) == list(shape["error"])
    order = list(shape["error"]["data"])
    assert list(answer["error"]["data"]) == [
        name for name in order if name not in ("params", "extended_helper")
    ]
    for body in (
        "{",
        "[]",
        "{}",
        request(id=...),
        request(method="x"),
        request(),
        request(params={"access_token": ""}),
    ):
        failed = post(house, body).json()["error"]
        assert (failed["code"], failed["message"]) == messages[failed["data"]["mnemonic"]]
        assert "metadata" not in failed["data"]


def test_only_posts_are_served_with_any_json_content_type(house: House, tenant: Tenant) -> None:
    body = request(params={"access_token": tenant.uis, **PERIOD})
    for kind in (
        "application/json",
        "application/json; charset=UTF-8",
        "text/plain",
        "application/octet-stream",
    ):
        response = house.send(
            "POST", "/v2.0/", content=body, headers={"content-type": kind, "accept": "text/html"}
        )
        assert "result" in response.json()
    assert house.send("GET", "/v2.0").status_code == 405


def test_a_body_beyond_all_bounds_is_refused_in_the_dialects_shape(house: House) -> None:
    response = post(house, " " * 1_000_001)
    assert response.status_code == 200
    assert response.json()["error"]["data"]["mnemonic"] == "invalid_request"


def shaped(response: httpx.Response) -> None:
    assert response.status_code == 200, response.text
    answer = response.json()
    assert list(answer)[:2] == ["jsonrpc", "id"]
    if "error" in answer:
        assert answer["error"]["data"]["mnemonic"] != "internal_error"
    else:
        assert list(answer["result"]) == ["metadata", "data"]


@given(body=st.binary(max_size=200))
@FAST
def test_any_bytes_get_a_shaped_answer(house: House, body: bytes) -> None:
    shaped(post(house, body))


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["2026-11-22 00:00:00", "id", "is_lost", "desc", 10**30, "\0"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["field", "order", "filters", "x"]) | st.text(max_size=5), inner, max_size=3
        )
    ),
    max_leaves=8,
)
PARAMS = st.dictionaries(
    st.sampled_from(
        [
            "date_from",
            "date_till",
            "limit",
            "offset",
            "fields",
            "sort",
            "filter",
            "user_id",
            "include_ongoing_calls",
        ]
    )
    | st.text(max_size=5),
    JSON,
    max_size=4,
)


@given(
    params=PARAMS,
    fields=st.dictionaries(st.sampled_from(["id", "jsonrpc", "method", "params", "x"]), JSON, max_size=1),
)
@FAST
def test_any_parameters_get_a_shaped_answer(
    house: House, spender: Tenant, params: dict[str, Any], fields: dict[str, Any]
) -> None:
    envelope = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "get.calls_report",
        "params": {"access_token": spender.uis, **PERIOD, **params},
    }
    shaped(post(house, json.dumps(envelope | fields)))


@pytest.fixture(scope="module")
def spender(house: House) -> Tenant:
    return house.tenant()
