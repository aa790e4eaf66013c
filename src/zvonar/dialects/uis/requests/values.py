"""Is a parameter there, and of the right type? One reader for each type, each error naming field and value."""

import re
from calendar import monthrange
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from zvonar.dialects.uis import limits
from zvonar.dialects.uis.errors import RpcError

# Whether sessions that start in the second of date_from or date_till belong to the report. One poller found that
# they do not; the vendor says nothing.
BOUNDS_INCLUSIVE = True

BIGINT: Final = range(-(2**63), 2**63)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII)
_YEARS: Final = range(1970, 9999)  # beyond them some zone has no such time
SECOND: Final = timedelta(seconds=1)


class Period(Struct, frozen=True, kw_only=True):
    """Which sessions are asked for, by their start."""

    since: datetime  # inclusive, UTC
    until: datetime  # exclusive, UTC


class PageOf(Struct, frozen=True, kw_only=True):
    """Which of the rows."""

    limit: int
    offset: int


def known(params: dict[str, Any], names: Collection[str]) -> None:
    """RpcError unexpected_parameters where something else was sent."""
    for name in params:
        if name not in names:
            raise RpcError("unexpected_parameters", field=name, value=params[name])


def text(params: dict[str, Any], name: str) -> str:
    """A text that has to be there."""
    value = params.get(name)
    if value is None:
        raise RpcError("required_parameter_missed", field=name)
    if not isinstance(value, str):
        raise RpcError("data_type_error", field=name, value=value)
    return value


def number(
    params: dict[str, Any], name: str, *, default: int | None, low: int | None = None, high: int | None = None
) -> int:
    """A whole number within bounds; without a default it has to be there."""
    value = params.get(name)
    if value is None:
        if default is None:
            raise RpcError("required_parameter_missed", field=name)
        return default
    return whole(value, name, low=low, high=high)


def whole(value: Any, field: str, *, low: int | None = None, high: int | None = None) -> int:
    """This value as a whole number within bounds, or of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RpcError("data_type_error", field=field, value=value)
    if value != int(value) or not (BIGINT[0] if low is None else low) <= value <= (
        BIGINT[-1] if high is None else high
    ):
        raise RpcError("invalid_parameter_value", field=field, value=value)
    return int(value)


def flag(params: dict[str, Any], name: str, *, default: bool = False) -> bool:
    """true or false."""
    value = params.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise RpcError("data_type_error", field=name, value=value)
    return value


def page(params: dict[str, Any]) -> PageOf:
    """limit and offset."""
    return PageOf(
        limit=number(params, "limit", default=limits.DEFAULT_LIMIT, low=1, high=limits.MAX_LIMIT),
        offset=number(params, "offset", default=0, low=0, high=limits.MAX_OFFSET),
    )


def moment(value: Any, field: str, *, wrong: str = "invalid_parameter_value") -> datetime:
    """YYYY-MM-DD hh:mm:ss, naive. `wrong`: the mnemonic where it is a text, but no time."""
    if not isinstance(value, str):
        raise RpcError("data_type_error", field=field, value=value)
    try:
        if not _TIME.fullmatch(value):
            raise ValueError(field)
        time = datetime.fromisoformat(value)
        if time.year not in _YEARS:
            raise ValueError(field)
    except ValueError:
        raise RpcError(wrong, field=field, value=value) from None
    return time


def period(params: dict[str, Any], zone: ZoneInfo, *, months: int = 0, days: int | None = None) -> Period:
    """date_from and date_till in the account's zone, at most so many months or days apart."""
    bounds = []
    for name in ("date_from", "date_till"):
        if params.get(name) is None:
            raise RpcError("required_parameter_missed", field=name)
        bounds.append(moment(params[name], name))
    date_from, date_till = bounds
    if date_till < date_from:
        raise RpcError("invalid_parameters_combination", field="date_till", value=params["date_till"])
    longest = _months_after(date_from, months) if days is None else date_from + timedelta(days=days)
    if date_till > longest:
        raise RpcError("date_interval_limit_reached", field="date_till", value=params["date_till"])
    # A clock that is put back shows an hour twice: both belong to the period.
    since = (date_from if BOUNDS_INCLUSIVE else date_from + SECOND).replace(tzinfo=zone, fold=0)
    until = (date_till + SECOND if BOUNDS_INCLUSIVE else date_till).replace(tzinfo=zone, fold=1)
    return Period(since=since.astimezone(UTC), until=until.astimezone(UTC))


def _months_after(time: datetime, months: int) -> datetime:
    year, month = divmod(time.year * 12 + time.month - 1 + months, 12)
    return time.replace(year=year, month=month + 1, day=min(time.day, monthrange(year, month + 1)[1]))


def names(params: dict[str, Any], known: Collection[str]) -> frozenset[str] | None:
    """The names in `fields`; None where there are none. A name twice is no harm."""
    wanted = params.get("fields")
    if wanted is None:
        return None
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
        raise RpcError("data_type_error", field="fields", value=wanted)
    for name in wanted:
        if name not in known:
            raise RpcError("unexpected_parameters", field="fields", value=name)
    return frozenset(wanted)


def sort(params: dict[str, Any], sortable: dict[str, bool]) -> list[tuple[str, bool]]:
    """The keys of `sort`, (name, descending); what was named before cannot change anything and is left out."""
    keys = params.get("sort")
    if keys is None:
        return []
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise RpcError("data_type_error", field="sort", value=keys)
    order: dict[str, bool] = {}
    for key in keys:
        name, direction = key.get("field"), key.get("order")
        if name is None:
            raise RpcError("required_parameter_missed", field="sort.field")
        if not isinstance(name, str):
            raise RpcError("data_type_error", field="sort.field", value=name)
        if unknown := sorted(key.keys() - {"field", "order"}):
            raise RpcError("unexpected_parameters", field=f"sort.{unknown[0]}", value=key[unknown[0]])
        if name not in sortable:
            raise RpcError("unexpected_parameters", field="sort.field", value=name)
        if not sortable[name]:
            raise RpcError("sort_prohibited", field="sort.field", value=name)
        if direction is not None and not isinstance(direction, str):
            raise RpcError("data_type_error", field="sort.order", value=direction)
        if direction not in (None, "asc", "desc"):
            raise RpcError("invalid_parameter_value", field="sort.order", value=direction)
        order.setdefault(name, direction == "desc")
    return list(order.items())
