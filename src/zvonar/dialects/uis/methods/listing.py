"""How is a directory listed? With the filter, sort, fields and page of every `get`; directories are short enough to
be looked through here."""

from collections.abc import Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from zvonar.dialects.uis import answers
from zvonar.dialects.uis.methods.common import Call
from zvonar.dialects.uis.requests import comparing, filters, values
from zvonar.dialects.uis.requests.filters import Operator, Rule
from zvonar.reports.evaluate import fits, meets
from zvonar.reports.fields import Kind
from zvonar.reports.jsquery import Condition
from zvonar.reports.query import Compare, Filter, JsonMatch, Op

COMMON: Final = frozenset({"access_token", "user_id", "limit", "offset", "filter", "sort", "fields"})


class Column(Struct, frozen=True, kw_only=True):
    """A field of a directory."""

    name: str
    kind: Kind
    sort: bool


def column(name: str, kind: Kind) -> Column:
    """A field that can be filtered by, and, if it has one value, sorted by."""
    return Column(name=name, kind=kind, sort=kind not in (Kind.objects, Kind.texts))


class Listing:
    """A directory with these fields, all of which come when none are named."""

    def __init__(self, *columns: Column, also: frozenset[str] = frozenset()) -> None:
        self._columns = {column.name: column for column in columns}
        self._parameters = COMMON | also

    def plain(self, call: Call) -> values.PageOf | None:
        """The page, where nothing is filtered or sorted, so that whoever has the rows need not bring all of them."""
        params = call.params
        values.known(params, self._parameters)
        page = values.page(params)
        if call.too_deep or params.get("filter") not in (None, {}) or params.get("sort") not in (None, []):
            return None
        return page

    def answer(self, call: Call, rows: Sequence[dict[str, Any]], *, total: int | None = None) -> bytes:
        """The page of these rows that was asked for. RpcError naming the first wrong parameter.

        Moments come as YYYY-MM-DD hh:mm:ss in the account's zone and are compared as such. `total`: these are the
        page already, of so many.
        """
        params = call.params
        values.known(params, self._parameters)
        page = values.page(params)
        if total is not None:
            page = values.PageOf(limit=page.limit, offset=0)
        wanted = values.names(params, self._columns)
        asked: dict[str, Condition] = {}
        rules: dict[str, Rule | None] = {name: _rule(column, asked) for name, column in self._columns.items()}
        filter = filters.read(params, rules, call.zone, too_deep=call.too_deep)

        def matches(match: JsonMatch, row: Any) -> bool:
            return meets(asked[match.path], row[match.field])

        found = [row for row in rows if fits(filter, row, matches)]
        for name, down in reversed(values.sort(params, {c.name: c.sort for c in self._columns.values()})):
            found.sort(key=lambda row: _key(row[name]), reverse=down)  # used at once
        shown = [name for name in self._columns if not wanted or name in wanted]
        data = [{name: row[name] for name in shown} for row in found[page.offset : page.offset + page.limit]]
        return answers.listed(call.id, data, len(found) if total is None else total, call.limits)


def _key(value: Any) -> tuple[bool, Any]:
    return value is None, 0 if value is None else value


def _rule(column: Column, asked: dict[str, Condition]) -> Rule:
    name = column.name
    match column.kind:
        case Kind.integer:
            return comparing.number(name)
        case Kind.decimal:
            return comparing.number(name, decimal=True)
        case Kind.boolean:
            return comparing.boolean(name)
        case Kind.moment:
            return _as_text(name)
        case Kind.objects | Kind.texts:
            return _of_array(name, asked)
    return _without_regexp(comparing.text(name))


def _without_regexp(rule: Rule) -> Rule:
    """Not every method has every operator: here this one would run in the process that answers everybody."""

    def checked(op: Operator, value: Any, zone: ZoneInfo) -> Filter:
        if op is Op.regexp:
            raise comparing.wrong_operator(op)
        return rule(op, value, zone)

    return checked


def _as_text(name: str) -> Rule:
    """A moment as it is shown sorts and compares as the moment does."""

    def rule(op: Operator, value: Any, _: ZoneInfo) -> Filter:
        if op == "jsquery" or op not in (
            Op.eq,
            Op.ne,
            Op.lt,
            Op.gt,
            Op.le,
            Op.ge,
            Op.is_null,
            Op.is_not_null,
        ):
            raise comparing.wrong_operator(op)
        if (test := comparing.about_null(name, op, value)) is not None:
            return test
        values.moment(value, "filter.value")
        return Compare(field=name, op=op, value=value)

    return rule


def _of_array(name: str, asked: dict[str, Condition]) -> Rule:
    ordinary = comparing.array(name)

    def rule(op: Operator, value: Any, zone: ZoneInfo) -> Filter:
        test = ordinary(op, value, zone)
        if isinstance(test, JsonMatch):
            asked[test.path] = comparing.condition(value)
        return test

    return rule
