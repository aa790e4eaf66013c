"""Can every field of the report be written, asked by and read? With every word of every enumeration."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from zvonar.dialects.uis import fields as uis
from zvonar.dialects.uis import uploads
from zvonar.dialects.uis.requests.sessions import FIELDS_TOLD, PHONES
from zvonar.reports.columns import COLUMNS, WORDS, narrow_columns
from zvonar.reports.fields import FIELDS, Kind
from zvonar.reports.query import Compare, Filter, JsonMatch, Op, Tree

if TYPE_CHECKING:
    from tests.reports.conftest import World

ZONE = ZoneInfo("Europe/Moscow")
WHEN = "2026-11-20 15:01:02"
MEMBERS: dict[Kind, Any] = {Kind.integer: 41, Kind.text: "имя", Kind.boolean: True, Kind.moment: WHEN}


def values(name: str) -> list[Any]:
    """Values of a field as the wire has them, every word of an enumeration among them."""
    field = uis.FIELDS.get(name)
    if name == "finish_reason":
        return list(uis.FINISH_REASONS)
    words = [value.id for value in field.values] if field and field.values else []
    if name in PHONES:
        return ["74951234567", "101"]
    match FIELDS[name].kind:
        case Kind.integer:
            return [0, 7, 2_000_000] if name.endswith("_duration") else [0, 7, 2**53 + 1]
        case Kind.decimal:
            return [0, 1.5, 99999.25]
        case Kind.boolean:
            return [True, False]
        case Kind.moment:
            return [WHEN]
        case Kind.texts:
            return [[word] for word in words] or [["один"], ["два", "три"]]
        case Kind.objects:
            whole = {member: MEMBERS[kind] for member, kind in FIELDS[name].members}
            typed = (
                [{**whole, "tag_type": word} for word in ("auto", "manual")] if name == "tags" else [whole]
            )
            return [[one] for one in typed]
        case _:
            return words or ["текст", "d\"'; DROP TABLE report_rows; --", "%_\\"]


def equal(name: str, value: Any, world: World) -> Filter:
    """A filter that this value fits."""
    match FIELDS[name].kind:
        case Kind.texts:
            return Compare(field=name, op=Op.overlap, value=tuple(value))
        case Kind.objects:
            member, said = next(iter(value[0].items()))
            shown = f'"{said}"' if isinstance(said, str) else said
            return JsonMatch(field=name, path=f"exists($[*] ? (@.{member} == {shown}))")
        case Kind.moment:
            moment = world.now.replace(hour=12, minute=1, second=2)
            return Tree(
                all=True,
                of=(
                    Compare(field=name, op=Op.ge, value=moment),
                    Compare(field=name, op=Op.lt, value=moment + timedelta(seconds=1)),
                ),
            )
        case Kind.decimal:
            return Compare(field=name, op=Op.eq, value=Decimal(str(value)))
        case _:
            return Compare(field=name, op=Op.eq, value=value)


@pytest.mark.parametrize("name", sorted(FIELDS_TOLD))
def test_field_is_written_asked_by_and_read(world: World, name: str) -> None:
    account = world.account()
    given = values(name)
    calls = [
        {
            "start_time": WHEN,
            "finish_time": "2026-11-20 16:00:00",
            "contact_phone_number": "79000000001",
            name: value,
        }
        for value in given
    ]
    params = {"calls": calls}
    made = world.run(uploads.upload(world.writer, account, params, ZONE, now=world.now))
    ids = [one["id"] for one in made]
    total, rows = world.ask(account, ("id", name))
    assert total == len(given)
    read = {row["id"]: row[name] for row in rows}
    if name == "full_record_file_link":
        assert [read[i].rpartition("/")[2] for i in ids] == given
    else:
        assert [read[i] for i in ids] == given
    for session_id, value in zip(ids, given, strict=True):
        _, found = world.ask(account, filter=equal(name, value, world))
        fitting = [
            i
            for i, other in zip(ids, given, strict=True)
            if other == value or FIELDS[name].kind is Kind.objects
        ]
        assert {row["id"] for row in found} == set(fitting), value
        assert session_id in fitting


@pytest.mark.parametrize("name", [n for n in FIELDS if n not in FIELDS_TOLD])
def test_what_nobody_tells_is_there_all_the_same(world: World, name: str) -> None:
    account = world.account()
    call = {"start_time": WHEN, "contact_phone_number": "79000000001", "last_answered_employee_rating": 4}
    [made] = world.run(uploads.upload(world.writer, account, {"calls": [call]}, ZONE, now=world.now))
    _, [row] = world.ask(account, (name,))
    expected = {
        "id": made["id"],
        "communication_type": "call",
        "employee_rating": 4,
        "start_date": "2026-11-20",
        "start_clock": "15:01:02",
    }
    assert row == {name: expected[name]}


def test_tables_have_the_columns_that_the_code_knows(world: World) -> None:
    statement = """SELECT json_object_agg(attname, format_type(atttypid, atttypmod)) FROM pg_attribute
        WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped"""
    types = {"timestamptz": "timestamp with time zone"}
    wide = {name: types.get(column.type, column.type) for name, column in COLUMNS.items()}
    assert world.value(statement, {"table": "report_rows"}) == wide
    narrow = {name: types.get(type, type) for name, type in narrow_columns().items()}
    assert world.value(statement, {"table": "report_filters"}) == narrow
    assert len(set(WORDS.values())) == len(WORDS)


def test_every_field_of_the_report_is_kept_somewhere() -> None:
    assert FIELDS_TOLD | {"id", "communication_type"} >= uis.FIELDS.keys()
    assert FIELDS.keys() >= uis.FIELDS.keys()
