"""With what may a field of each type be compared, and what is asked then? One rule a type, after UIS's operators.

What is null fits the tests for null and nothing else. A moment is compared by the second in which it was, a number
beyond what the field can hold by its size.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import ceil, floor
from typing import Any, Final
from zoneinfo import ZoneInfo

from zvonar.dialects.uis.errors import RpcError
from zvonar.dialects.uis.requests.filters import Operator, Rule
from zvonar.dialects.uis.requests.patterns import like_pattern, regular_expression
from zvonar.dialects.uis.requests.values import BIGINT, SECOND, moment
from zvonar.reports import jsonpath
from zvonar.reports.jsquery import BadJsquery, Condition, parse
from zvonar.reports.query import Compare, Filter, JsonMatch, Op, Tree

MOST_VALUES: Final = 10_000  # of an `in`
MOST_TEXT: Final = 10_000  # characters of a value

_NULL: Final = frozenset({Op.eq, Op.ne, Op.is_null, Op.is_not_null})
_RANGES: Final = frozenset({Op.lt, Op.gt, Op.le, Op.ge})
_LIKE: Final = frozenset({Op.like, Op.ilike, Op.not_like, Op.not_ilike})
_LISTS: Final = frozenset({Op.in_, Op.not_in})
_OVERLAPS: Final = frozenset({Op.overlap, Op.not_overlap})
_VALUE: Final = "filter.value"


def wrong_operator(op: Operator) -> RpcError:
    """The field's type has no such operator."""
    return RpcError("invalid_parameter_value", field="filter.operator", value=str(op))


def wrong_type(value: Any) -> RpcError:
    """The field's type has no such value."""
    return RpcError("data_type_error", field=_VALUE, value=value)


def wrong_value(value: Any) -> RpcError:
    """The type is right, the value is not."""
    return RpcError("invalid_parameter_value", field=_VALUE, value=value)


def nothing(field: str) -> Filter:
    """Fits no row."""
    return Tree(all=True, of=(Compare(field=field, op=Op.is_null), Compare(field=field, op=Op.is_not_null)))


def there(field: str) -> Filter:
    """Fits whatever is not null."""
    return Compare(field=field, op=Op.is_not_null)


def about_null(field: str, op: Operator, value: Any) -> Filter | None:
    """The test for null that this is, or None."""
    if op in (Op.is_null, Op.is_not_null):
        if value is not None:
            raise wrong_value(value)
        return Compare(field=field, op=Op(op))
    if value is not None:
        return None
    if op in (Op.eq, Op.ne):
        return Compare(field=field, op=Op.is_null if op is Op.eq else Op.is_not_null)
    raise wrong_value(value)


def _several(value: Any, one: Callable[[Any], Any]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise wrong_type(value)
    if len(value) > MOST_VALUES:
        raise wrong_value(len(value))
    return tuple(one(each) for each in value)


def text_value(value: Any) -> str:
    """A text as the database can hold it."""
    if not isinstance(value, str):
        raise wrong_type(value)
    # No row holds a zero character, and none can be sent to the database.
    if "\0" in value or len(value) > MOST_TEXT:
        raise wrong_value(value[:100])
    return value


def number(field: str, *, decimal: bool = False, also_text: bool = False) -> Rule:
    """A number; `also_text`: digits in a text are one, too."""

    def one(value: Any) -> int | Decimal:
        if also_text and isinstance(value, str):
            if not value.isascii() or not value.isdigit() or len(value) > 18:
                raise wrong_value(value)
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(value)
        return value if isinstance(value, int) else Decimal(repr(value))

    def rule(op: Operator, value: Any, _: ZoneInfo) -> Filter:
        if op not in _NULL | _RANGES | _LISTS:
            raise wrong_operator(op)
        if (test := about_null(field, op, value)) is not None:
            return test
        if op in _LISTS:
            listed = _several(value, one)
            if decimal:
                return Compare(field=field, op=Op(op), value=tuple(Decimal(each) for each in listed))
            whole = tuple(int(each) for each in listed if each == int(each) and int(each) in BIGINT)
            return Compare(field=field, op=Op(op), value=whole)
        compared = one(value)
        if decimal:
            return Compare(field=field, op=Op(op), value=Decimal(compared))
        return _whole(field, Op(op), compared)

    return rule


def _whole(field: str, op: Op, value: int | Decimal) -> Filter:
    """A comparison of a whole number of 64 bits with any number."""
    fraction = value != int(value)
    if op in (Op.eq, Op.ne):
        if fraction or int(value) not in BIGINT:
            return nothing(field) if op is Op.eq else there(field)
        return Compare(field=field, op=op, value=int(value))
    # Between two whole numbers, `<` and `<=` are the same.
    if op in (Op.lt, Op.le):
        bound, op = (floor(value), Op.le) if fraction else (int(value), op)
    else:
        bound, op = (ceil(value), Op.ge) if fraction else (int(value), op)
    if bound in BIGINT:
        return Compare(field=field, op=op, value=bound)
    below = op in (Op.lt, Op.le)
    return there(field) if below == (bound > 0) else nothing(field)


def text(field: str, *, contains: bool = False) -> Rule:
    """A text. `contains`: a pattern of `like` and its kin without a sign for anything may stand anywhere."""

    def rule(op: Operator, value: Any, _: ZoneInfo) -> Filter:
        if op == "jsquery" or op in _RANGES | _OVERLAPS:
            raise wrong_operator(op)
        if (test := about_null(field, op, value)) is not None:
            return test
        return _text_test(field, op, value, contains=contains)

    return rule


def _text_test(field: str, op: Op, value: Any, *, contains: bool) -> Filter:
    if op in _LISTS:
        return Compare(field=field, op=op, value=_several(value, text_value))
    wanted = text_value(value)
    if op in _LIKE:
        wanted = like_pattern(wanted, contains=contains)
    elif op is Op.regexp:
        wanted = regular_expression(wanted)
    return Compare(field=field, op=op, value=wanted)


def enum(field: str, values: Collection[str]) -> Rule:
    """One of these words."""

    def one(value: Any) -> str:
        if text_value(value) not in values:
            raise wrong_value(value)
        return str(value)

    def rule(op: Operator, value: Any, _: ZoneInfo) -> Filter:
        if op not in _NULL | _LISTS:
            raise wrong_operator(op)
        if (test := about_null(field, op, value)) is not None:
            return test
        return Compare(field=field, op=Op(op), value=_several(value, one) if op in _LISTS else one(value))

    return rule


def boolean(field: str) -> Rule:
    """true or false."""

    def rule(op: Operator, value: Any, _: ZoneInfo) -> Filter:
        if op not in _NULL:
            raise wrong_operator(op)
        if (test := about_null(field, op, value)) is not None:
            return test
        if not isinstance(value, bool):
            raise wrong_type(value)
        return Compare(field=field, op=Op(op), value=value)

    return rule


def when(field: str) -> Rule:
    """A moment, by the second in which it was in the account's zone."""

    def span(value: Any, zone: ZoneInfo) -> tuple[datetime, datetime]:
        # An hour that the clock shows twice is meant whole.
        local = moment(value, _VALUE)
        first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
        return first, local.replace(tzinfo=zone, fold=1).astimezone(UTC) + SECOND

    return _spans(field, span)


def _spans(field: str, span: Callable[[Any, ZoneInfo], tuple[Any, Any]]) -> Rule:
    """What is compared by spans of it: the first moment of one, and the first after it, which may be None."""

    def equal(first: Any, after: Any) -> Filter:
        begun: Filter = Compare(field=field, op=Op.ge, value=first)
        return (
            begun
            if after is None
            else Tree(all=True, of=(begun, Compare(field=field, op=Op.lt, value=after)))
        )

    def rule(op: Operator, value: Any, zone: ZoneInfo) -> Filter:
        if op not in _NULL | _RANGES:
            raise wrong_operator(op)
        if (test := about_null(field, op, value)) is not None:
            return test
        first, after = span(value, zone)
        match op:
            case Op.eq:
                return equal(first, after)
            case Op.lt:
                return Compare(field=field, op=Op.lt, value=first)
            case Op.ge:
                return Compare(field=field, op=Op.ge, value=first)
            case Op.le:
                return there(field) if after is None else Compare(field=field, op=Op.lt, value=after)
            case Op.gt:
                return nothing(field) if after is None else Compare(field=field, op=Op.ge, value=after)
        before: Filter = Compare(field=field, op=Op.lt, value=first)
        return (
            before
            if after is None
            else Tree(all=False, of=(before, Compare(field=field, op=Op.ge, value=after)))
        )

    return rule


def day(field: str) -> Rule:
    """YYYY-MM-DD."""

    def rule(op: Operator, value: Any, _: ZoneInfo) -> Filter:
        if op not in _NULL | _RANGES:
            raise wrong_operator(op)
        if (test := about_null(field, op, value)) is not None:
            return test
        if not isinstance(value, str):
            raise wrong_type(value)
        try:
            wanted = date.fromisoformat(value)
            if len(value) != len("YYYY-MM-DD") or "W" in value:
                raise ValueError(value)
        except ValueError:
            raise wrong_value(value) from None
        return Compare(field=field, op=Op(op), value=wanted)

    return rule


def clock(field: str) -> Rule:
    """hh:mm:ss of a day, by the second."""

    def span(value: Any, _: ZoneInfo) -> tuple[time, time | None]:
        seconds = _seconds(value)
        if seconds >= 86_400:
            raise wrong_value(value)
        return _of_day(seconds), None if seconds == 86_399 else _of_day(seconds + 1)

    return _spans(field, span)


def _of_day(seconds: int) -> time:
    return (datetime.min + timedelta(seconds=seconds)).time()


def _seconds(value: Any) -> int:
    """hh:mm:ss as seconds; hours may be more than a day's."""
    if not isinstance(value, str):
        raise wrong_type(value)
    parts = value.split(":")
    if len(parts) != 3 or not all(
        part.isascii() and part.isdigit() and 2 <= len(part) <= 6 for part in parts
    ):
        raise wrong_value(value)
    hours, minutes, seconds = map(int, parts)
    if minutes > 59 or seconds > 59 or len(parts[1]) != 2 or len(parts[2]) != 2:
        raise wrong_value(value)
    return hours * 3600 + minutes * 60 + seconds


def duration(field: str) -> Rule:
    """hh:mm:ss, or seconds as a number."""
    as_number = number(field)

    def rule(op: Operator, value: Any, zone: ZoneInfo) -> Filter:
        if isinstance(value, list):
            value = [_seconds(each) if isinstance(each, str) else each for each in value]
        elif isinstance(value, str):
            value = _seconds(value)
        return as_number(op, value, zone)

    return rule


def condition(value: Any) -> Condition:
    """A jsquery."""
    try:
        return parse(text_value(value))
    except BadJsquery:
        raise wrong_value(value) from None


def json_match(field: str, asked: Condition, ids: str | None) -> Filter:
    """The filter of a jsquery; `ids`: the member by whose values an index finds objects."""
    path = jsonpath.predicate(asked)
    if ids is None:
        return JsonMatch(field=field, path=path)
    return JsonMatch(field=field, path=path, ids=jsonpath.ids(asked, ids), exact=jsonpath.exact(asked, ids))


def array(
    field: str, *, values: Collection[str] | None = None, ids: str | None = None, texts: bool = False
) -> Rule:
    """An array: jsquery, and of texts (`values`: only these) what they have in common with others.

    `ids`: the member by whose values an index finds objects.
    """

    def one(value: Any) -> str:
        if values is not None and text_value(value) not in values:
            raise wrong_value(value)
        return text_value(value)

    def rule(op: Operator, value: Any, _: ZoneInfo) -> Filter:
        if op == "jsquery":
            return json_match(field, condition(value), ids)
        if op in _OVERLAPS and texts:
            return Compare(field=field, op=op, value=_several(value, one))
        if op not in _NULL:
            raise wrong_operator(op)
        if (test := about_null(field, op, value)) is not None:
            return test
        raise wrong_operator(op)

    return rule


def named(field: str, renamed: Mapping[str, str], *, objects: bool, ids: str | None = None) -> Rule:
    """An array asked for by names: any of them is, is like or matches. jsquery asks of the whole.

    `renamed`: what the wire calls a member → its name here; "" for a step that is none here.
    """

    def rule(op: Operator, value: Any, zone: ZoneInfo) -> Filter:
        if op == "jsquery":
            asked = jsonpath.renamed(condition(value), renamed) if objects else condition(value)
            return json_match(field, asked, ids)
        if op in _RANGES:
            raise wrong_operator(op)
        if (test := about_null(field, op, value)) is not None:
            return test
        if op in _OVERLAPS | _LISTS:
            listed = _several(value, text_value)
            wanted: Filter = Tree(
                all=False, of=tuple(Compare(field=field, op=Op.eq, value=each) for each in listed)
            )
            unwanted: Filter = Tree(
                all=True, of=tuple(Compare(field=field, op=Op.ne, value=each) for each in listed)
            )
            if not listed:
                return nothing(field) if op in (Op.overlap, Op.in_) else Tree(all=True, of=())
            return wanted if op in (Op.overlap, Op.in_) else unwanted
        return _text_test(field, op, value, contains=True)

    return rule
