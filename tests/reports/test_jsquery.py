"""Does a jsquery mean in PostgreSQL what its documentation says? The parser, its path, and the evaluation."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zvonar.reports import jsonpath
from zvonar.reports.evaluate import meets
from zvonar.reports.jsquery import (
    MOST_DEPTH,
    MOST_TEXT,
    Among,
    BadJsquery,
    Both,
    Compare,
    Condition,
    Either,
    Exists,
    Follow,
    Index,
    IsType,
    Key,
    Not,
    Placeholder,
    parse,
)

DOCUMENT: dict[str, Any] = {
    "x": "abc",
    "volume": 5,
    "similar_ids": [1, 2, 3, 4, 5, 6],
    "similar_product_ids": ["0684824396", "1"],
    "abc xyz": 10,
    "deep": [{"color": "red", "n": [1, 2]}, {"color": "blue"}],
    "none": None,
    "yes": True,
}


# The documentation's own examples and sentences, with what they are of the document above.
@pytest.mark.parametrize(
    ("query", "value", "expected"),
    [
        ('x = "abc"', DOCUMENT, True),
        ("x = abc", DOCUMENT, True),
        ('x = "ab"', DOCUMENT, False),
        ('$ @> [4, 5, "zzz"]', [4, 5, "zzz", 6], True),
        ('$ @> [4, 5, "zzz"]', [4, 5], False),
        ('"abc xyz" >= 10', DOCUMENT, True),
        ("volume IS NUMERIC", DOCUMENT, True),
        ("volume is string", DOCUMENT, False),
        ("$ = true", True, True),
        ("similar_ids.@# > 5", DOCUMENT, True),
        ("similar_ids.@# > 6", DOCUMENT, False),
        ('similar_product_ids.# = "0684824396"', DOCUMENT, True),
        ('*.color = "red"', DOCUMENT, True),
        ('*.color = "green"', DOCUMENT, False),
        ("foo = *", DOCUMENT, False),
        ("none = *", DOCUMENT, True),
        ("none = null", DOCUMENT, True),
        ("foo = null", DOCUMENT, False),
        ("NOT foo = null", DOCUMENT, True),
        ("volume = 5 AND (x = 2 OR yes = true) AND NOT d = 1", DOCUMENT, True),
        ("x.% = true OR x.# = true", DOCUMENT, False),
        ("#(a = 1 AND b = 2)", [{"a": 1, "b": 3}, {"a": 2, "b": 2}], False),
        ("#(a = 1 AND b = 2)", [{"a": 1, "b": 2}], True),
        ("#.a = 1 AND #.b = 2", [{"a": 1, "b": 3}, {"a": 2, "b": 2}], True),
        ("%($ >= 10 AND $ <= 20)", {"a": 1, "b": 15}, True),
        ("%.#:($ >= 0 AND $ <= 1)", {"a": [0, 1], "b": [7]}, True),
        ("%.#:($ >= 0 AND $ <= 1)", {"a": [0, 2], "b": 0}, False),
        ("%(NOT #(NOT ($ >= 0 AND $ <= 1)) AND $ IS ARRAY)", {"a": [0, 1]}, True),
        ("similar_ids.#: IS NUMERIC", DOCUMENT, True),
        ("*:($ IS OBJECT OR $ IS BOOLEAN)", {"a": {"b": True}}, True),
        ("*:($ IS OBJECT OR $ IS BOOLEAN)", {"a": {"b": 1}}, False),
        ("# < 10 AND # > 20", [1, 30], True),
        ("#($ < 10 AND $ > 20)", [1, 30], False),
        ("#1 = 2", [1, 2], True),
        ("#2 = 2", [1, 2], False),
        ("volume IN (1, 5)", DOCUMENT, True),
        ("similar_ids && [6, 7]", DOCUMENT, True),
        ("similar_ids <@ [6, 7]", DOCUMENT, False),
        ("$ <@ [6, 7]", [7], True),
        ("$ = [1, 2]", [1, 2], True),
        ("$ = [1, 2]", [2, 1], False),
        ("a.b = 1", [{"a": {"b": 1}}], False),
        ("# = 1", 1, False),
        ('x = "a\\"b\\u0041"', {"x": 'a"bA'}, True),
        ("x /* a comment */ = /* another */ abc", DOCUMENT, True),
        ("not = 1", {"not": 1}, True),
        ("volume >= +5e0 AND volume < .6e1", DOCUMENT, True),
        ("volume < = 5", DOCUMENT, True),
    ],
)
def test_the_documentations_examples(
    query: str, value: Any, expected: bool, database: psycopg.Connection
) -> None:
    condition = parse(query)
    assert meets(condition, value) is expected
    assert asked(database, condition, value) is expected


def asked(database: psycopg.Connection, condition: Condition, value: Any) -> bool:
    found = database.execute(
        "SELECT %s::jsonb @@ %s::jsonpath", (json.dumps(value), jsonpath.predicate(condition))
    ).fetchone()
    assert found is not None
    assert found[0] is not None, "it must never be unknown"
    return bool(found[0])


@pytest.fixture(scope="module")
def database(dsn: str) -> Any:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize(
    "text",
    [
        *("", "=", "a =", "a = ]", "a IN ()", "a IN 1", "(a = 1", "a = 1)", "a = 1 b = 2", "a AND", "NOT"),
        *('"open', 'a = "\\q"', 'a = "\\ud800"', 'a = "\\u0000"', "a < b", "a @> 1", "a IS", "a IS DATE"),
        *(
            "@#.a = 1",
            "@# IS ARRAY",
            "#99999999999 = 1",
            "a = 1e400",
            "a = " + "9" * 60,
            "/* open",
            "a..b = 1",
        ),
        *(
            "(" * (MOST_DEPTH + 1) + "a" + ")" * (MOST_DEPTH + 1),
            "NOT " * 10_000 + "a",
            "a" * (MOST_TEXT + 1),
        ),
        *("a IN (" + ",".join("1" * 900) + ")", "a ; DROP TABLE x", "a | b", "a ! b", "$.a ? (@ > 1)"),
    ],
)
def test_what_is_no_jsquery_is_refused(text: str) -> None:
    with pytest.raises(BadJsquery):
        parse(text)


@given(st.text(max_size=60) | st.text(alphabet='ab#%*$@.:()[]=<>&,"\\ 12ANDORNOTIS', max_size=40))
@settings(max_examples=1_500, deadline=None)
def test_any_text_is_a_condition_or_is_refused(text: str) -> None:
    try:
        condition = parse(text)
    except BadJsquery:
        return
    meets(condition, DOCUMENT)
    jsonpath.predicate(condition)


KEYS = st.sampled_from(["a", "b", "id", "с пробелом", 'q"\\', ""])
SCALARS = st.sampled_from([None, True, False, 0, 1, 2, "1", "a", 'q"\\', "it's"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
TERMS = st.builds(
    lambda value: value if isinstance(value, bool | str | None) else parse(f"a = {value}").rest.value,  # type: ignore[union-attr]
    SCALARS,
)
LEAVES = (
    st.builds(Compare, st.just("="), TERMS | st.lists(TERMS, min_size=1, max_size=2).map(tuple))
    | st.builds(
        Compare,
        st.sampled_from(["<", ">", "<=", ">="]),
        st.sampled_from([0, 1]).map(lambda n: parse(f"a = {n}").rest.value),  # type: ignore[union-attr]
    )
    | st.builds(
        Among, st.sampled_from(["in", "&&", "@>", "<@"]), st.lists(TERMS, min_size=1, max_size=2).map(tuple)
    )
    | st.builds(IsType, st.sampled_from(["number", "string", "boolean", "array", "object"]))
    | st.just(Exists())
)
STEPS = (
    st.builds(Key, KEYS)
    | st.builds(Index, st.integers(0, 2))
    | st.sampled_from([step for step in Placeholder if step is not Placeholder.length])
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(Follow, STEPS, inner)
        | st.builds(Both, inner, inner)
        | st.builds(Either, inner, inner)
        | st.builds(Not, inner)
    ),
    max_leaves=6,
)


@given(condition=CONDITIONS, value=VALUES)
@settings(max_examples=1_500, deadline=None)
def test_postgresql_finds_what_the_evaluation_finds(
    database: psycopg.Connection, condition: Condition, value: Any
) -> None:
    assert asked(database, condition, value) is meets(condition, value)


IDS = st.lists(st.fixed_dictionaries({"tag_id": st.integers(1, 4), "tag_name": SCALARS}), max_size=3)


@given(
    text=st.sampled_from(
        [
            "#.tag_id = 1",
            "#.tag_id IN (1, 2)",
            "#.tag_id = 1 OR #.tag_id = 3",
            "#.tag_id = 1 AND #.tag_id = 3",
            "#(tag_id = 1 AND tag_name = a)",
            "#($.tag_id = 1 OR tag_id IN (2, 3))",
            "#.tag_id = 1 OR #.tag_name = a",
            "NOT #.tag_id = 1",
            "#0.tag_id = 1",
            "#:.tag_id = 1",
            "#.tag_id > 1",
            '#.tag_id = "1"',
            "#.tag_id = 1.5",
            "$(#.tag_id = 2)",
        ]
    ),
    value=IDS,
)
@settings(max_examples=500, deadline=None)
def test_ids_are_those_without_which_it_cannot_be_true(text: str, value: list[dict[str, Any]]) -> None:
    condition = parse(text)
    ids = jsonpath.ids(condition, "tag_id")
    among = {one["tag_id"] for one in value}
    if ids is not None and meets(condition, value):
        assert among & set(ids)
    if jsonpath.exact(condition, "tag_id"):
        assert ids is not None
        assert meets(condition, value) is bool(among & set(ids))
