"""Does a row fit a filter, without a database? For directories, which are short, and as a measure of the compiler.

A row is a mapping of field → Python value as in `query.Value`; arrays are lists, of texts or of JSON objects.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from zvonar.reports.jsquery import (
    Among,
    Both,
    Condition,
    Either,
    Exists,
    Follow,
    Index,
    IsType,
    Key,
    Not,
    Placeholder,
    Scalar,
    Step,
)
from zvonar.reports.jsquery import (
    Compare as Compared,
)
from zvonar.reports.query import Compare, Filter, JsonMatch, Op, Tree

Row = Mapping[str, Any]
# Of a JsonMatch only the path is kept: whoever evaluates it has to know what it was made of.
Matches = Callable[[JsonMatch, Row], bool]

_ANY: dict[Op, Op] = {
    Op.ne: Op.eq,
    Op.not_like: Op.like,
    Op.not_ilike: Op.ilike,
    Op.not_in: Op.in_,
    Op.not_overlap: Op.overlap,
}


def fits(filter: Filter | None, row: Row, matches: Matches) -> bool:
    """Whether the row fits."""
    match filter:
        case None:
            return True
        case Tree(all=True, of=of):
            return all(fits(one, row, matches) for one in of)
        case Tree(of=of):
            return not of or any(fits(one, row, matches) for one in of)
        case JsonMatch():
            return matches(filter, row)
    return _compared(filter, row.get(filter.field))


def _compared(test: Compare, value: Any) -> bool:
    op, wanted = test.op, test.value
    empty = value is None or value == []
    if op is Op.is_null or (op is Op.eq and wanted is None):
        return empty
    if op is Op.is_not_null or (op is Op.ne and wanted is None):
        return not empty
    if isinstance(value, list):
        if op in _ANY:
            return not _compared(Compare(field=test.field, op=_ANY[op], value=wanted), value)
        if op is Op.overlap:
            return any(each in wanted for each in value)  # type: ignore[operator]
        return any(_single(op, each, wanted) for each in value)
    return value is not None and _single(op, value, wanted)


def _single(op: Op, value: Any, wanted: Any) -> bool:
    match op:
        case Op.eq:
            return bool(value == wanted)
        case Op.ne:
            return bool(value != wanted)
        case Op.lt:
            return bool(value < wanted)
        case Op.gt:
            return bool(value > wanted)
        case Op.le:
            return bool(value <= wanted)
        case Op.ge:
            return bool(value >= wanted)
        case Op.in_:
            return value in wanted
        case Op.not_in:
            return value not in wanted
        case Op.like | Op.ilike:
            return like(value, wanted, ignore_case=op is Op.ilike)
        case Op.not_like | Op.not_ilike:
            return not like(value, wanted, ignore_case=op is Op.not_ilike)
    raise ValueError(op)


def like(text: str, pattern: str, *, ignore_case: bool) -> bool:
    """LIKE and ILIKE."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        if sign == "%":
            if not parts or parts[-1] != ".*":
                parts.append(".*")
        elif sign == "_":
            parts.append(".")
        else:
            if sign == "\\":
                at += 1
            parts.append(re.escape(pattern[at]))
        at += 1
    return _walk(text, parts, ignore_case)


def _walk(text: str, parts: list[str], ignore_case: bool) -> bool:
    """A pattern in time proportional to text × pattern: after a later `.*` an earlier one need not be tried again."""
    one = [re.compile(part, re.DOTALL | (re.IGNORECASE if ignore_case else 0)) for part in parts]
    t = p = 0
    star, mark = -1, 0
    while t < len(text):
        if p < len(parts) and parts[p] == ".*":
            star, mark = p, t
            p += 1
        elif p < len(parts) and one[p].fullmatch(text, t, t + 1):
            t, p = t + 1, p + 1
        elif star >= 0:
            mark += 1
            t, p = mark, star + 1
        else:
            return False
    return all(part == ".*" for part in parts[p:])


def meets(condition: Condition, value: Any) -> bool:
    """Whether a JSON value meets a jsquery. Numbers are int, float or Decimal."""
    match condition:
        case Both(left, right):
            return meets(left, value) and meets(right, value)
        case Either(left, right):
            return meets(left, value) or meets(right, value)
        case Not(inner):
            return not meets(inner, value)
        case Exists():
            return True
        case IsType(type_):
            return _type(value) == type_
        case Compared(op, wanted):
            if isinstance(wanted, tuple):
                return (
                    isinstance(value, list) and len(value) == len(wanted) and all(map(_equal, value, wanted))
                )
            if op == "=":
                return _equal(value, wanted)
            return _type(value) == "number" and _single(Op(op), Decimal(str(value)), wanted)
        case Among(op, values):
            return _among(op, values, value)
        case Follow(step, rest):
            return _follows(step, rest, value)


def _follows(step: Step, rest: Condition, value: Any) -> bool:
    match step:
        case Key(name):
            return isinstance(value, dict) and name in value and meets(rest, value[name])
        case Index(position):
            return isinstance(value, list) and position < len(value) and meets(rest, value[position])
        case Placeholder.itself:
            return meets(rest, value)
        case Placeholder.length:
            return isinstance(value, list) and meets(rest, len(value))
        case Placeholder.element:
            return isinstance(value, list) and any(meets(rest, each) for each in value)
        case Placeholder.member:
            return isinstance(value, dict) and any(meets(rest, each) for each in value.values())
        case Placeholder.every_element:
            return isinstance(value, list) and all(meets(rest, each) for each in value)
        case Placeholder.every_member:
            return isinstance(value, dict) and all(meets(rest, each) for each in value.values())
        case Placeholder.anything:
            return any(meets(rest, each) for each in _within(value))
        case Placeholder.everything:
            return all(meets(rest, each) for each in _within(value))


def _within(value: Any) -> list[Any]:
    """The value and everything in it."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(deeper for each in inner for deeper in _within(each))]


def _among(op: str, values: tuple[Scalar, ...], value: Any) -> bool:
    if op == "in":
        return any(_equal(value, wanted) for wanted in values)
    if not isinstance(value, list):
        return False
    match op:
        case "&&":
            return any(_equal(each, wanted) for each in value for wanted in values)
        case "@>":
            return all(any(_equal(each, wanted) for each in value) for wanted in values)
    return all(any(_equal(each, wanted) for wanted in values) for each in value)


def _type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float() | Decimal():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def _equal(value: Any, wanted: Scalar) -> bool:
    if _type(value) != _type(wanted):
        return False
    return Decimal(str(value)) == wanted if _type(value) == "number" else bool(value == wanted)
