"""Which part of a list is asked for? page, limit, query, filter[…], order[…] and with."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct

from zvonar.dialects.amocrm import limits
from zvonar.dialects.amocrm.errors import BadRequest
from zvonar.store.crm_lists import Order, Slice

_KEY = re.compile(r"(filter|order)\[([a-z_]{1,40})\]((?:\[[a-z0-9_]{0,40}\])*)", re.ASCII)
_WHOLE = re.compile(r"-?0{0,20}[0-9]{1,19}", re.ASCII)


class Many(Struct, frozen=True, kw_only=True):
    """A filter by some of several values: filter[id][]=1, filter[id][0]=1 or filter[id]=1."""

    clause: str
    param: str
    read: Callable[[str], Any]


class Range(Struct, frozen=True, kw_only=True):
    """A filter by filter[…][from] and filter[…][to], or by one value that is both."""

    clause: str  # with _from and _till after it, as its parameters
    read: Callable[[str], Any]


class Asked(Struct, frozen=True, kw_only=True):
    """A part of a list."""

    page: int  # from 1
    limit: int
    query: str | None
    filters: Mapping[str, list[tuple[tuple[str, ...], str]]]  # name → what stands in further brackets, value
    order: Order | None
    embed: frozenset[str]  # of `with`
    given: tuple[tuple[str, str], ...]  # everything, as it came

    def slice(
        self,
        clauses: Sequence[str],
        values: Mapping[str, Any],
        *,
        filters: Mapping[str, Many | Range],
        orders: Mapping[str, Any],
        default: Order | None = None,
    ) -> Slice:
        """The part, by the filters and orders that this list has. Raises BadRequest."""
        chosen, params = list(clauses), dict(values)
        for name, given in self.filters.items():
            kind = filters.get(name)
            if kind is None:
                raise BadRequest(f"This list has no filter {name}.")
            if isinstance(kind, Many):
                chosen.append(kind.clause)
                params[kind.param] = [kind.read(value) for _, value in given]
                continue
            for brackets, value in given:
                ends = {(): ("from", "till"), ("from",): ("from",), ("to",): ("till",)}.get(brackets)
                if ends is None:
                    raise BadRequest(f"The filter {name} has from and to.")
                for end in ends:
                    chosen.append(f"{kind.clause}_{end}")
                    params[f"{kind.clause}_{end}"] = kind.read(value)
        order = self.order or default or Order()
        if order.by not in orders:
            raise BadRequest(f"This list has no order {order.by}.")
        return Slice(
            clauses=tuple(dict.fromkeys(chosen)),
            values=params,
            order=order,
            limit=self.limit,
            skipped=(self.page - 1) * self.limit,
        )

    def links(self, url: str, *, more: bool) -> dict[str, str]:
        """The links of this page; `more`: whether there is a next one."""
        rest = [(name, value) for name, value in self.given if name not in ("page", "limit")]

        def at(page: int) -> str:
            return f"{url}?{urlencode([*rest, ('page', page), ('limit', self.limit)])}"

        found = {"self": at(self.page)}
        if more:
            found["next"] = at(self.page + 1)
        if self.page > 1:
            found |= {"first": at(1), "prev": at(self.page - 1)}
        return found


def asked(given: Sequence[tuple[str, str]], *, most: int = limits.MAX_PAGE) -> Asked:
    """What the parameters of a request say; others than those of lists do not count. Raises BadRequest."""
    plain = dict(given)
    filters: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    order: Order | None = None
    for name, value in given:
        if "\0" in value:
            raise BadRequest("A parameter must not contain the character U+0000.")
        found = _KEY.fullmatch(name)
        if found is None:
            if name.startswith(("filter", "order")):
                raise BadRequest("A filter is filter[name]=value, an order order[name]=asc or desc.")
            continue
        kind, key, brackets = found.groups()
        if kind == "order":
            if value.lower() not in ("asc", "desc"):
                raise BadRequest("An order is asc or desc.")
            order = order or Order(by=key, descending=value.lower() == "desc")
        elif value:
            inner = tuple(re.findall(r"\[([a-z0-9_]*)\]", brackets))
            filters.setdefault(key, []).append((inner, value))
    return Asked(
        page=_number(plain, "page", 1, limits.MAX_PAGES),
        limit=min(_number(plain, "limit", limits.DEFAULT_PAGE, limits.MAX_ID), most),
        query=plain.get("query", "").strip() or None,
        filters=filters,
        order=order,
        embed=frozenset(part.strip() for part in plain.get("with", "").split(",") if part.strip()),
        given=tuple(given),
    )


def _number(plain: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = plain.get(name)
    if text is None or text == "":
        return default
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= most:
        raise BadRequest(f"{name} is a whole number from 1 to {most}.")
    return int(text)


def whole(text: str) -> int:
    """A number of a filter. Raises BadRequest."""
    if not _WHOLE.fullmatch(text) or abs(int(text)) > limits.MAX_ID:
        raise BadRequest("The value of a filter has to be a whole number.")
    return int(text)


def moment(text: str) -> datetime:
    """A time of a filter, in Unix seconds. Raises BadRequest."""
    seconds = whole(text)
    if not 0 <= seconds <= limits.MAX_MOMENT:
        raise BadRequest("The value of a filter has to be a time in Unix seconds.")
    return datetime.fromtimestamp(seconds, UTC)


def text(value: str) -> str:
    """A text of a filter."""
    return value
