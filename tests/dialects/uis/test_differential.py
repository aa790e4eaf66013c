"""Does a report hold exactly the rows that fit? Thousands of random filters against a naive look at the same rows.

The oracle reads the filter as it was sent and the rows as they are shown; it shares nothing with what it judges but
the evaluation of jsquery, which has a test of its own against PostgreSQL.
"""

from __future__ import annotations

import random
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import msgspec
import pytest

from zvonar.dialects.uis import fields as catalogue
from zvonar.dialects.uis import mgf_fields, mgf_rows, words
from zvonar.dialects.uis.requests import calls_report, mgf_calls
from zvonar.reports.evaluate import meets
from zvonar.reports.fields import FIELDS as STORED
from zvonar.reports.fields import Kind
from zvonar.reports.jsquery import parse
from zvonar.reports.query import Query

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

ROWS: Final = 250
FILTERS: Final = 3_000
ZONE: Final = "Asia/Yekaterinburg"
TEXTS: Final = ("Анна", "анна", "50%", "a_b", "axb", "back\\slash", "it's", "", "Ёж", '"q"', "79001234567")
PATTERNS: Final = ("%", "а%", "%нна", "a_b", "a\\_b", "50\\%", "%\\\\%", "_", "%'%", "")
REGEXPS: Final = ("нна$", "^[aа]", "x|_", "[0-9]{3,}", "^$", "\\\\", "(Анна|Ёж)")
PHONES: Final = ("79001234567", "74950000001", "100", None)


def value_of(dice: random.Random, name: str) -> Any:
    """Something that the field may hold, None included."""
    field = catalogue.FIELDS[name]
    if dice.random() < 0.25:
        return None
    if field.values:
        words = [value.id for value in field.values]
        return dice.sample(words, dice.randint(0, 3)) if field.type == "array" else dice.choice(words)
    if name == "finish_reason":
        return dice.choice(list(catalogue.FINISH_REASONS)[:5])
    if name.endswith("phone_number"):
        return dice.choice(PHONES)
    match STORED[name].kind:
        case Kind.integer:
            return (
                dice.choice((0, 1, 7, 7, 60))
                if name.endswith("duration")
                else dice.choice((0, 1, 7, 7, 2**40))
            )
        case Kind.decimal:
            return dice.choice((0, 1.5, 7, 99.99))
        case Kind.boolean:
            return dice.random() < 0.5
        case Kind.moment:
            return datetime(2026, 11, 22, 12, tzinfo=ZoneInfo(ZONE)) + timedelta(seconds=dice.randint(0, 5))
        case Kind.texts:
            return dice.sample(TEXTS[:4], dice.randint(0, 2))
        case Kind.objects:
            return [nested(dice, name) for _ in range(dice.randint(0, 3))]
    return dice.choice(TEXTS)


def nested(dice: random.Random, name: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for member, kind in STORED[name].members:
        match kind:
            case Kind.integer:
                made[member] = dice.randint(1, 4)
            case Kind.boolean:
                made[member] = dice.random() < 0.5
            case Kind.moment:
                made[member] = "2026-11-22T10:00:00+00:00"
            case _:
                made[member] = dice.choice(("auto", "manual")) if member == "tag_type" else dice.choice(TEXTS)
    return made


OPERATORS: Final = {
    "number": ("=", "!=", "<", ">", "<=", ">=", "in", "not_in", "is_null", "is_not_null"),
    "string": (
        *("=", "!=", "like", "ilike", "not_like", "not_ilike", "regexp", "in", "not_in"),
        *("is_null", "is_not_null"),
    ),
    "boolean": ("=", "!=", "is_null", "is_not_null"),
    "iso8601": ("=", "!=", "<", ">", "<=", ">=", "is_null", "is_not_null"),
    "enum": ("=", "!=", "in", "not_in", "is_null", "is_not_null"),
    "array": ("jsquery", "is_null", "is_not_null", "overlap", "not_overlap"),
}
NUMBERS: Final = (0, 1, 7, 1.5, 6.9, 7.0, -1, 2**40, 2**63, -(10**30), 99.99)


def simple(dice: random.Random, name: str) -> dict[str, Any]:
    field = catalogue.FIELDS[name]
    operator = dice.choice(OPERATORS[field.type])
    if operator in ("overlap", "not_overlap") and STORED[name].kind is not Kind.texts:
        operator = "jsquery"
    if operator in ("is_null", "is_not_null"):
        return {"field": name, "operator": operator, "value": None}
    if operator in ("=", "!=") and dice.random() < 0.15:
        return {"field": name, "operator": operator}
    return {"field": name, "operator": operator, "value": wanted(dice, name, operator)}


def wanted(dice: random.Random, name: str, operator: str) -> Any:
    field = catalogue.FIELDS[name]
    if operator in ("in", "not_in", "overlap", "not_overlap"):
        return [wanted(dice, name, "=") for _ in range(dice.randint(0, 3))]
    if operator in ("like", "ilike", "not_like", "not_ilike"):
        return dice.choice(PATTERNS)
    if operator == "regexp":
        return dice.choice(REGEXPS)
    if operator == "jsquery":
        return jsquery(dice, name)
    match field.type:
        case "number":
            return dice.choice(NUMBERS)
        case "boolean":
            return dice.random() < 0.5
        case "iso8601":
            return f"2026-11-22 12:00:0{dice.randint(0, 6)}"
        case "string":
            return dice.choice((*TEXTS, "79001234567"))
    words = (
        list(catalogue.FINISH_REASONS)[:6] if name == "finish_reason" else [v.id for v in field.values or ()]
    )
    return dice.choice(words)


def jsquery(dice: random.Random, name: str, depth: int = 0) -> str:
    if depth < 2 and dice.random() < 0.4:
        left, right = jsquery(dice, name, depth + 1), jsquery(dice, name, depth + 1)
        return dice.choice((f"({left}) AND ({right})", f"({left}) OR {right}", f"NOT ({left})"))
    members = STORED[name].members
    if not members:
        word = dice.choice([value.id for value in catalogue.FIELDS[name].values or ()])
        return dice.choice(
            (
                f'# = "{word}"',
                f'$ @> ["{word}"]',
                f'$ && ["{word}", "first"]',
                "@# > 1",
                f'#: IN ("{word}", "lost")',
            )
        )
    member, kind = dice.choice(members)
    value = dice.choice(("1", "3")) if kind is Kind.integer else dice.choice(('"Анна"', "true", '"auto"'))
    return dice.choice(
        (
            f"#.{member} = {value}",
            f"#.{member} IN ({value}, 2, null)",
            f"*.{member} = {value}",
            f"#({member} = {value} AND {members[0][0]} IS NUMERIC)",
            f"#:.{member} = {value}",
            f"#0.{member} = {value}",
            f"#.{member} > 2",
            f"#.% = {value}",
            "@# = 2",
        )
    )


def tree(dice: random.Random, names: list[str], depth: int = 0) -> dict[str, Any]:
    if depth == 4 or dice.random() < 0.35 + 0.1 * depth:
        return simple(dice, dice.choice(names))
    made: dict[str, Any] = {"filters": [tree(dice, names, depth + 1) for _ in range(dice.randint(0, 3))]}
    if dice.random() < 0.8:
        made["condition"] = dice.choice(("and", "or"))
    return made


def fits(filter: dict[str, Any], row: dict[str, Any]) -> bool:
    """The documentation's sentences, one after the other."""
    if "filters" in filter:
        parts = [fits(one, row) for one in filter["filters"]]
        return not parts or (any(parts) if filter.get("condition") == "or" else all(parts))
    value, operator, given = row[filter["field"]], filter["operator"], filter.get("value")
    empty = value is None or value == []
    if operator in ("is_null", "is_not_null") or (operator in ("=", "!=") and given is None):
        return empty == (operator in ("is_null", "="))
    if operator == "jsquery":
        return meets(parse(given), value)
    if operator in ("overlap", "not_overlap"):
        return bool(set(value) & set(given)) == (operator == "overlap")
    if value is None:
        return False
    return compared(operator, value, given)


def compared(operator: str, value: Any, given: Any) -> bool:
    match operator:
        case "=":
            return bool(value == given)
        case "!=":
            return bool(value != given)
        case "<":
            return bool(value < given)
        case ">":
            return bool(value > given)
        case "<=":
            return bool(value <= given)
        case ">=":
            return bool(value >= given)
        case "in":
            return value in given
        case "not_in":
            return value not in given
        case "regexp":
            return re.search(given, value) is not None
    pattern = re.sub(
        r"\\(.)|([%_])|(.)",
        lambda m: {"%": ".*", "_": "."}[m[2]] if m[2] else re.escape(m[1] or m[3]),
        given,
        flags=re.DOTALL,
    )
    flags = re.DOTALL | (re.IGNORECASE if "ilike" in operator else 0)
    return (re.fullmatch(pattern, value, flags) is not None) != operator.startswith("not_")


def read(house: House, query: Query) -> list[dict[str, Any]]:
    async def work() -> list[dict[str, Any]]:
        async with house.store.report(query) as report:
            rows = [msgspec.json.decode(row) async for chunk in report.rows for row in chunk]
            assert report.total == len(rows)
            return rows

    return house.run(work())


@pytest.fixture
def peopled(house: House) -> Tenant:
    dice = random.Random(7)
    tenant, other = house.tenant(timezone=ZONE), house.tenant(timezone=ZONE)
    names = [name for name in catalogue.FIELDS if name not in ("id", "start_time", "communication_type")]
    for n in range(ROWS):
        fields = {name: value_of(dice, name) for name in names if name != "communication_id"}
        fields["is_lost"] = bool(fields["is_lost"])
        for owner in (tenant, other) if n % 5 == 0 else (tenant,):
            house.put(owner, **{**fields, "start_time": house.clock + timedelta(seconds=n)})
    return tenant


def params(**more: Any) -> dict[str, Any]:
    return {"date_from": "2026-11-01 00:00:00", "date_till": "2026-12-30 00:00:00", "limit": 10_000, **more}


def test_thousands_of_random_filters_find_what_a_naive_look_finds(house: House, peopled: Tenant) -> None:
    dice = random.Random(11)
    known = {"account_id": peopled.account.account_id, "zone": ZoneInfo(ZONE), "link_base": ""}
    whole = calls_report.read(params(fields=list(catalogue.FIELDS)), **known)
    rows = read(house, whole)
    assert len(rows) == ROWS
    names = [field.name for field in catalogue.FIELDS.values() if field.filter]
    found = 0
    for _ in range(FILTERS):
        filter = tree(dice, names)
        expected = [row["id"] for row in rows if fits(filter, row)]
        got = read(house, calls_report.read(params(fields=["id"], filter=filter), **known))
        assert [row["id"] for row in got] == expected, filter
        found += 0 < len(expected) < ROWS
    assert found > FILTERS / 4, "most filters have to tell rows apart, or they show nothing"


def test_mgf_filters_find_what_is_shown(house: House, peopled: Tenant) -> None:
    dice = random.Random(13)
    known = {"account_id": peopled.account.account_id, "zone": ZoneInfo(ZONE), "link_base": ""}
    names = list(mgf_fields.DOCUMENTED)
    asked = mgf_calls.read(params(report_id=1, fields=names), **known)
    render = mgf_rows.renderer(asked.fields, {})
    stored = read(house, asked.query)
    rows = [msgspec.json.decode(render(msgspec.json.encode(row))) for row in stored]
    checked = 0
    for _ in range(600):
        name = dice.choice(names)
        value = dice.choice(rows)[name]
        if not isinstance(value, str | int | float) and not (isinstance(value, dict) and "value_id" in value):
            continue
        shown = [row[name] for row in rows]
        for operator in ("=", "!="):
            filter = {"field": name, "operator": operator, "value": value}
            query = mgf_calls.read(
                params(report_id=1, fields=["communication_id"], filter=filter), **known
            ).query
            got = [row["communication_id"] for row in read(house, query)]
            expected = [
                row["communication_id"]
                for row, each in zip(rows, shown, strict=True)
                if each is not None and (each == value) == (operator == "=")
            ]
            assert got == expected, filter
            checked += 1
    assert checked > 300


WORDS: Final = {
    "call_direction": words.DIRECTIONS,
    "call_status": words.STATUSES,
    "call_type": words.TYPES,
    "call_finish_reason": words.REASONS,
    "call_is_internal": words.INTERNAL,
    "is_coach_handled_call": words.YES_NO,
    "is_blacklisted_phone": words.YES_NO,
}
SPANS: Final = ("00:00:00", "00:00:01", "00:00:07", "00:01:00", "00:05:00")
MGF_TEXTS: Final = ("virtual_phone_number", "contact_phone_number", "employees")


def mgf_simple(dice: random.Random) -> dict[str, Any]:
    kind = dice.random()
    if kind < 0.4:
        name = dice.choice(list(WORDS))
        known = dice.choice(list(WORDS[name].items()))
        value = known[0] if known[1] is None else dice.choice(known)
        operator = dice.choice(("=", "!=", "in", "not_in"))
        return {"field": name, "operator": operator, "value": [value] if "in" in operator else value}
    if kind < 0.7:
        name = dice.choice(("call_total_duration", "call_talk_duration", "call_await_talk_duration"))
        return {
            "field": name,
            "operator": dice.choice(("=", "!=", "<", ">", "<=", ">=")),
            "value": dice.choice(SPANS),
        }
    if kind < 0.85:
        name = dice.choice(("call_start_time", "call_start_date_time"))
        clock = f"12:00:{dice.randint(0, 59):02}"
        value = clock if name == "call_start_time" else f"2026-11-22 {clock}"
        return {"field": name, "operator": dice.choice(("<", ">", "<=", ">=")), "value": value}
    return {
        "field": dice.choice(MGF_TEXTS),
        "operator": dice.choice(("=", "ilike", "not_ilike", "like")),
        "value": dice.choice(("7900", "%7495%", "АННА", "Анна", "79001234567", "nobody")),
    }


def mgf_fits(filter: dict[str, Any], row: dict[str, Any]) -> bool:
    if "filters" in filter:
        parts = [mgf_fits(one, row) for one in filter["filters"]]
        return not parts or (any(parts) if filter.get("condition") == "or" else all(parts))
    name, operator, value = filter["field"], filter["operator"], filter["value"]
    shown = row[name]
    if name in WORDS:
        if shown is None:
            return False
        wanted = value if isinstance(value, list) else [value]
        # 0 == False is not meant, and no word is a number.
        found = any(one in (shown["value"], shown["value_id"]) and one is not None for one in wanted)
        return found == (operator in ("=", "in"))
    if name == "contact_phone_number":
        shown = shown["value"]
    if name == "employees":
        # Any of the names is so; `not_`: none of them is, and nobody is none.
        found = any(likeness(operator.removeprefix("not_"), one, value) for one in shown or ())
        return found != operator.startswith("not_")
    if shown is None:
        return False
    if name in MGF_TEXTS:
        return likeness(operator, shown, value)
    return compared(operator, shown, value)


def likeness(operator: str, shown: str, value: str) -> bool:
    """A pattern without a sign for anything may stand anywhere."""
    return compared(operator, shown, value if operator == "=" or "%" in value else f"%{value}%")


def test_trees_of_mgf_filters_find_what_a_naive_look_finds(house: House, peopled: Tenant) -> None:
    dice = random.Random(17)
    known = {"account_id": peopled.account.account_id, "zone": ZoneInfo(ZONE), "link_base": ""}
    asked = mgf_calls.read(params(report_id=1, fields=list(mgf_fields.DOCUMENTED)), **known)
    render = mgf_rows.renderer(asked.fields, {})
    rows = [msgspec.json.decode(render(msgspec.json.encode(row))) for row in read(house, asked.query)]
    told = 0
    for _ in range(800):
        parts = [
            mgf_simple(dice)
            if dice.random() < 0.7
            else {"condition": dice.choice(("and", "or")), "filters": [mgf_simple(dice) for _ in range(2)]}
            for _ in range(dice.randint(1, 3))
        ]
        filter = {"condition": dice.choice(("and", "or")), "filters": parts}
        query = mgf_calls.read(params(report_id=1, fields=["communication_id"], filter=filter), **known).query
        got = [row["communication_id"] for row in read(house, query)]
        expected = [row["communication_id"] for row in rows if mgf_fits(filter, row)]
        assert got == expected, filter
        told += 0 < len(expected) < ROWS
    assert told > 200
