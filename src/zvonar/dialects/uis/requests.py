"""What did a UIS client send? JSON, then the envelope, then the method's parameters, each with its own errors."""

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Raw, Struct, structs

from zvonar.dialects.uis import limits
from zvonar.dialects.uis.errors import BATCH, RpcError, not_served
from zvonar.dialects.uis.fields import DEFAULT, FIELDS, ORDERS
from zvonar.reports.query import Order

# Whether sessions that start in the second of date_from or date_till belong to the report. One poller found that
# they do not; the vendor says nothing.
BOUNDS_INCLUSIVE = True

_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII)
_YEARS = range(1970, 9999)  # beyond them some zone has no such time
_SECOND = timedelta(seconds=1)

PARAMETERS = frozenset(
    {
        "access_token",
        "user_id",
        "limit",
        "offset",
        "filter",
        "fields",
        "sort",
        "date_from",
        "date_till",
        "include_ongoing_calls",
    }
)


class Message(Struct, frozen=True, kw_only=True):
    """A JSON object that may be a request."""

    fields: dict[str, Any]
    id: Raw | None  # its exact text, where it is a string or a number


class Envelope(Struct, frozen=True, kw_only=True):
    """A JSON-RPC request that holds together."""

    method: str
    params: dict[str, Any]


class Report(Struct, frozen=True, kw_only=True):
    """What get.calls_report is asked for."""

    since: datetime  # inclusive, UTC
    until: datetime  # exclusive, UTC
    fields: tuple[str, ...]  # in the order of a row
    order: tuple[Order, ...]
    limit: int
    offset: int


def read(body: bytes) -> Message:
    """The object in a body; RpcError parse_error, invalid_request or the one for batches."""
    try:
        # The whole of it first: skipped parts would not be checked for UTF-8.
        whole = msgspec.json.decode(body)
        if isinstance(whole, list):
            raise RpcError(BATCH)
        if not isinstance(whole, dict):
            raise RpcError("invalid_request")
        raw = msgspec.json.decode(body, type=dict[str, Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise RpcError("parse_error") from exc
    is_id = isinstance(whole.get("id"), str | int | float) and not isinstance(whole["id"], bool)
    # A copy, because a Raw keeps the whole body alive.
    return Message(fields=whole, id=raw["id"].copy() if is_id else None)


def envelope(message: Message) -> Envelope:
    """The request in an object; RpcError invalid_request or notifications_not_supported."""
    fields = message.fields
    if fields.get("jsonrpc") != "2.0":
        raise RpcError("invalid_request", field="jsonrpc", value=fields.get("jsonrpc"))
    method, params = fields.get("method"), fields.get("params")
    if not isinstance(method, str):
        raise RpcError("invalid_request", field="method", value=method)
    if not isinstance(params, dict):
        raise RpcError("invalid_request", field="params", value=params)
    if unknown := fields.keys() - {"jsonrpc", "id", "method", "params"}:
        raise RpcError("invalid_request", field=min(unknown), value=fields[min(unknown)])
    if "id" not in fields:
        raise RpcError("notifications_not_supported")
    if message.id is None:
        raise RpcError("invalid_request", field="id", value=fields["id"])
    return Envelope(method=method, params=params)


def access_token(params: dict[str, Any]) -> str:
    """The key that a request came with; RpcError required_parameter_missed or data_type_error."""
    token = params.get("access_token")
    if token is None:
        raise RpcError("required_parameter_missed", field="access_token")
    if not isinstance(token, str):
        raise RpcError("data_type_error", field="access_token")
    return token


def report(params: dict[str, Any], zone: ZoneInfo) -> Report:
    """The parameters of get.calls_report, times in the account's zone; RpcError naming the first wrong one."""
    if unknown := sorted(params.keys() - PARAMETERS):
        raise RpcError("unexpected_parameters", field=unknown[0], value=params[unknown[0]])
    if params.get("user_id") is not None:
        # It is for partners, who act for a customer of theirs; no account here has customers.
        _number(params, "user_id", default=0, low=None, high=None)
        raise RpcError("forbidden", field="user_id", value=params["user_id"])
    date_from, date_till = _time(params, "date_from"), _time(params, "date_till")
    if date_till < date_from:
        raise RpcError("invalid_parameters_combination", field="date_till", value=params["date_till"])
    if date_till > _months_after(date_from, limits.MAX_MONTHS):
        raise RpcError("date_interval_limit_reached", field="date_till", value=params["date_till"])
    limit = _number(params, "limit", default=limits.DEFAULT_LIMIT, low=1, high=limits.MAX_LIMIT)
    offset = _number(params, "offset", default=0, low=0, high=limits.MAX_OFFSET)
    _refuse_what_is_not_served(params)
    # A clock that is put back shows an hour twice: both belong to the period.
    since = (date_from if BOUNDS_INCLUSIVE else date_from + _SECOND).replace(tzinfo=zone, fold=0)
    until = (date_till + _SECOND if BOUNDS_INCLUSIVE else date_till).replace(tzinfo=zone, fold=1)
    return Report(
        since=since.astimezone(UTC),
        until=until.astimezone(UTC),
        fields=_fields(params),
        order=_order(params),
        limit=limit,
        offset=offset,
    )


def _refuse_what_is_not_served(params: dict[str, Any]) -> None:
    wanted = params.get("filter")
    if wanted is not None and not isinstance(wanted, dict):
        raise RpcError("data_type_error", field="filter", value=wanted)
    if wanted:
        raise not_served("filter", wanted, "Filters are not served yet, leave out the filter")
    ongoing = params.get("include_ongoing_calls")
    if ongoing is not None and not isinstance(ongoing, bool):
        raise RpcError("data_type_error", field="include_ongoing_calls", value=ongoing)
    if ongoing:
        raise not_served(
            "include_ongoing_calls",
            ongoing,
            "Ongoing calls are not served yet, leave out include_ongoing_calls",
        )


def _time(params: dict[str, Any], name: str) -> datetime:
    text = params.get(name)
    if text is None:
        raise RpcError("required_parameter_missed", field=name)
    if not isinstance(text, str):
        raise RpcError("data_type_error", field=name, value=text)
    try:
        if not _TIME.fullmatch(text):
            raise ValueError(name)
        time = datetime.fromisoformat(text)
        if time.year not in _YEARS:
            raise ValueError(name)
    except ValueError:
        raise RpcError("invalid_parameter_value", field=name, value=text) from None
    return time


def _months_after(time: datetime, months: int) -> datetime:
    years, month = divmod(time.month - 1 + months, 12)
    year = time.year + years
    if year > datetime.max.year:
        return datetime.max
    return time.replace(year=year, month=month + 1, day=min(time.day, monthrange(year, month + 1)[1]))


def _number(params: dict[str, Any], name: str, *, default: int, low: int | None, high: int | None) -> int:
    number = params.get(name)
    if number is None:
        return default
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise RpcError("data_type_error", field=name, value=number)
    if number != int(number) or (low is not None and number < low) or (high is not None and number > high):
        raise RpcError("invalid_parameter_value", field=name, value=number)
    return int(number)


def _fields(params: dict[str, Any]) -> tuple[str, ...]:
    names = params.get("fields")
    if names is None or names == []:
        return DEFAULT
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RpcError("data_type_error", field="fields", value=names)
    for name in names:
        if name not in FIELDS:
            raise RpcError("unexpected_parameters", field="fields", value=name)
    wanted = frozenset(names)
    return tuple(name for name in FIELDS if name in wanted)


def _order(params: dict[str, Any]) -> tuple[Order, ...]:
    keys = params.get("sort")
    if keys is None:
        return ()
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise RpcError("data_type_error", field="sort", value=keys)
    order: dict[str, Order] = {}
    for key in keys:
        name, direction = key.get("field"), key.get("order")
        if name is None:
            raise RpcError("required_parameter_missed", field="sort.field")
        if not isinstance(name, str):
            raise RpcError("data_type_error", field="sort.field", value=name)
        if unknown := sorted(key.keys() - {"field", "order"}):
            raise RpcError("unexpected_parameters", field=f"sort.{unknown[0]}", value=key[unknown[0]])
        if name not in FIELDS:
            raise RpcError("unexpected_parameters", field="sort.field", value=name)
        if not FIELDS[name].sort:
            raise RpcError("sort_prohibited", field="sort.field", value=name)
        if direction not in (None, "asc", "desc"):
            raise RpcError("invalid_parameter_value", field="sort.order", value=direction)
        # A key that was named before cannot change anything.
        if name in ORDERS and name not in order:
            order[name] = structs.replace(ORDERS[name], descending=direction == "desc")
    return tuple(order.values())
