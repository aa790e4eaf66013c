"""How is a filter asked of the narrow table? A tree becomes a condition on `f`, its values parameters.

A condition is true or is not: what is null fits nothing, and nothing here negates a whole condition.
"""

from collections.abc import Callable
from typing import Any, LiteralString

from zvonar.reports.columns import COLUMNS, WORDS, Column, Kept
from zvonar.reports.fields import FIELDS, Kind
from zvonar.reports.query import Compare, Filter, JsonMatch, Op, Tree
from zvonar.reports.sql import Sql, joined, placed
from zvonar.reports.words import digest

TRUE = Sql("true")

# Fields that go by another name here.
SAME: dict[str, LiteralString] = {"id": "session_id", "employee_rating": "last_answered_employee_rating"}

# Fields that are computed; each %s is the zone.
COMPUTED: dict[str, LiteralString] = {
    "start_date": "(f.start_time AT TIME ZONE %s)::date",
    "start_clock": "(f.start_time AT TIME ZONE %s)::time",
    "communication_type": "'call'::text",
}

# By which member an object of a nested array is called.
NAMES: dict[str, LiteralString] = {
    "tags": "tag_name",
    "employees": "employee_full_name",
    "segments": "segment_name",
    "scenario_operations": "name",
    "visitor_custom_properties": "property_name",
    "recognized_text": "phrase",
}

_OPERATORS: dict[Op, LiteralString] = {
    Op.eq: " = %s",
    Op.ne: " <> %s",
    Op.lt: " < %s",
    Op.gt: " > %s",
    Op.le: " <= %s",
    Op.ge: " >= %s",
    Op.like: " LIKE %s",
    Op.ilike: " ILIKE %s",
    Op.not_like: " NOT LIKE %s",
    Op.not_ilike: " NOT ILIKE %s",
    Op.regexp: " ~ %s",
}
_LIKE = frozenset({Op.like, Op.ilike, Op.not_like, Op.not_ilike, Op.regexp})
_OPPOSITE = {
    Op.ne: Op.eq,
    Op.not_like: Op.like,
    Op.not_ilike: Op.ilike,
    Op.not_in: Op.in_,
    Op.not_overlap: Op.in_,
}

_WIDE: LiteralString = """ FROM report_rows r
    WHERE r.account_id = f.account_id AND r.start_time = f.start_time AND r.session_id = f.session_id)"""


def wide(name: LiteralString) -> LiteralString:
    """A column of the wide row beside `f`: for what is seldom asked by."""
    return "(SELECT r." + name + _WIDE


def condition(wanted: Filter, *, account_id: int, zone: str) -> Sql:
    """The condition that a filter puts on `f`, a row of the narrow table."""
    match wanted:
        case Tree():
            if not wanted.of:
                return TRUE
            parts = [condition(one, account_id=account_id, zone=zone) for one in wanted.of]
            return Sql("(") + joined(" AND " if wanted.all else " OR ", parts) + Sql(")")
        case JsonMatch():
            return _matches(wanted)
        case Compare():
            return _compared(wanted, account_id, zone)


_COLUMNS: dict[str, tuple[LiteralString, Column]] = {name: (name, column) for name, column in COLUMNS.items()}


def column_of(field: str) -> tuple[LiteralString, Column]:
    """The column of a field, by the name that it has here."""
    return _COLUMNS[SAME.get(field, field)]


def _compared(test: Compare, account_id: int, zone: str) -> Sql:
    if (computed := COMPUTED.get(test.field)) is not None:
        return _plain(Sql(computed, (zone,) if "%s" in computed else ()), test)
    name, column = column_of(test.field)
    kind = FIELDS[test.field].kind
    if kind is Kind.objects:
        return _objects(test, name, column)
    if kind is Kind.texts:
        return _texts(test, name, column)
    if column.kept is Kept.word:
        return _words(test, name, account_id)
    if test.field == "id" and test.op in (Op.eq, Op.in_) and test.value is not None:
        return _ids(test)
    return _plain(Sql("f." + name if column.kept is Kept.itself else wide(name)), test)


def _plain(value: Sql, test: Compare) -> Sql:
    match test.op:
        case Op.is_null:
            return value + Sql(" IS NULL")
        case Op.is_not_null:
            return value + Sql(" IS NOT NULL")
        case Op.eq | Op.ne if test.value is None:
            return value + Sql(" IS NULL" if test.op is Op.eq else " IS NOT NULL")
        case Op.in_ | Op.overlap:
            return value + _any(test.value)
        case Op.not_in | Op.not_overlap:
            # Of no values none is equal, but what is null is not looked at.
            return Sql("(") + value + Sql(" IS NOT NULL AND NOT ") + value + _any(test.value) + Sql(")")
        case _:
            return value + Sql(_OPERATORS[test.op], (test.value,))


def _any(values: Any) -> Sql:
    found = list(values)
    if not found:
        return Sql(" = ANY('{}')")
    return Sql(" = ANY(%s)", (found,))


def _ids(test: Compare) -> Sql:
    """Sessions by id: the map tells their month, so that no other is looked into."""
    ids: list[Any] = list(test.value) if isinstance(test.value, tuple) else [test.value]
    return placed(
        """(f.session_id = ANY(%s::bigint[]) AND f.start_time = ANY(ARRAY(
            SELECT s.start_time FROM session_starts s WHERE s.session_id = ANY(%s::bigint[]))))""",
        ids,
        ids,
    )


def _words(test: Compare, name: LiteralString, account_id: int) -> Sql:
    """A text that the narrow table knows by its code: the dictionary says which codes fit."""
    code: LiteralString = "f." + name
    known = (account_id, WORDS[name])
    words: LiteralString = (
        "SELECT w.word_id FROM report_words w WHERE w.account_id = %s AND w.field = %s AND w."
    )
    match test.op:
        case Op.is_null | Op.is_not_null:
            return _plain(Sql(code), test)
        case Op.eq | Op.ne if test.value is None:
            return _plain(Sql(code), test)
        case Op.eq:
            return Sql(code + " = (" + words + "digest = %s)", (*known, digest(str(test.value))))
        case Op.ne:
            # A word that nobody has ever said is not equal to any.
            return Sql(
                code + " <> coalesce((" + words + "digest = %s), 0)", (*known, digest(str(test.value)))
            )
        case Op.in_ | Op.not_in | Op.overlap | Op.not_overlap:
            digests = [digest(str(one)) for one in test.value] if isinstance(test.value, tuple) else []
            negative = test.op in (Op.not_in, Op.not_overlap)
            return _among(
                code, Sql(words + "digest = ANY(%s::bytea[])", (*known, digests)), negative=negative
            )
        case _:
            fitting = Sql(words + "word" + _OPERATORS[test.op], (*known, test.value))
            return _among(code, fitting, negative=False)


def _among(code: LiteralString, codes: Sql, *, negative: bool) -> Sql:
    """Whether a code is one of these, or is one and none of these.

    Asked so it is looked up in a hash of them, whatever the order in which rows are read. Without IS it would be a join
    instead, behind which rows have to be sorted again.
    """
    found = Sql("((" + code + " IN (") + codes + Sql(")) IS TRUE)")
    return Sql("(" + code + " IS NOT NULL AND NOT ") + found + Sql(")") if negative else found


def _texts(test: Compare, name: LiteralString, column: Column) -> Sql:
    """An array of texts: true of any element, or of none where the operator says not. Empty is null."""
    array = "f." + column.ids if column.ids is not None else wide(name)
    return _elements(
        test, Sql("cardinality(" + array + ") > 0"), lambda: Sql("unnest(" + array + ") AS e (name)")
    )


def _objects(test: Compare, name: LiteralString, column: Column) -> Sql:
    """An array of objects, asked by their names."""
    # The narrow table says at once whether there are any.
    some: LiteralString = (
        "f." + column.ids + " IS NOT NULL"
        if column.ids is not None
        else "json_array_length(" + wide(name) + ") > 0"
    )
    member = NAMES[name]
    return _elements(
        test,
        Sql(some),
        lambda: Sql(
            "(SELECT o ->> '" + member + "' AS name FROM json_array_elements(" + wide(name) + ") o) e"
        ),
    )


def _elements(test: Compare, some: Sql, elements: Callable[[], Sql]) -> Sql:
    match test.op:
        case Op.is_not_null:
            return Sql("coalesce(") + some + Sql(", false)")
        case Op.is_null:
            return Sql("NOT coalesce(") + some + Sql(", false)")
        case Op.eq | Op.ne if test.value is None:
            return Sql("NOT coalesce(" if test.op is Op.eq else "coalesce(") + some + Sql(", false)")
    negative = test.op in _OPPOSITE
    op = _OPPOSITE.get(test.op, test.op)
    if op in (Op.in_, Op.overlap):
        held = Sql("e.name") + _any(test.value)
    else:
        held = Sql("e.name" + _OPERATORS[op], (test.value,))
    found = Sql("EXISTS (SELECT FROM ") + elements() + Sql(" WHERE ") + held + Sql(")")
    return Sql("NOT ") + found if negative else Sql("(") + some + Sql(" AND ") + found + Sql(")")


def _matches(match: JsonMatch) -> Sql:
    name, column = column_of(match.field)
    among = TRUE
    if match.ids is not None and column.id_key is not None:
        among = Sql("f." + (column.ids or name) + " && %s::bigint[]", (list(match.ids),))
        if match.exact:
            return among
    if FIELDS[match.field].kind is Kind.texts:
        array = "f." + column.ids if column.ids is not None else wide(name)
        value: LiteralString = "to_jsonb(coalesce(" + array + ", '{}'))"
    else:
        value = "coalesce(" + wide(name) + "::jsonb, '[]')"
    return Sql("(") + among + Sql(" AND " + value + " @@ %s::jsonpath)", (match.path,))


def patterns(wanted: Filter | None) -> list[Compare]:
    """Every comparison with a pattern, which the database may not understand."""
    match wanted:
        case Compare() if wanted.op in _LIKE:
            return [wanted]
        case Tree():
            return [test for one in wanted.of for test in patterns(one)]
    return []
