"""What is told of a session from elsewhere? Every field of the report, each of its type, phones as digits."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from zvonar.dialects.uis.errors import RpcError
from zvonar.dialects.uis.fields import FIELDS, FINISH_REASONS, NESTED, Field
from zvonar.dialects.uis.requests.values import moment, whole
from zvonar.reports.fields import FIELDS as STORED
from zvonar.reports.fields import Kind

MAX_CALLS: Final = 1000  # of one request
MAX_TEXT: Final = 8000  # characters of one value
MAX_ITEMS: Final = 1000  # of one array
MAX_DIGITS: Final = 18  # of a phone
MAX_SECONDS: Final = 10_000_000  # of a duration

PHONES: Final = frozenset({"contact_phone_number", "virtual_phone_number", "operator_phone_number"})
# Ours to give, or the same for every session.
_GIVEN: Final = frozenset({"id", "communication_type"})
# Of managers' reports; the main report does not show them.
_MORE: Final = frozenset(
    {
        *("communication_comment", "communication_comment_author", "received_by", "internal_first_employee"),
        *("internal_second_employee", "is_internal", "coaches", "is_coach_handled", "virtual_number_comment"),
        *("is_blacklisted", "processed_mark_duration"),
    }
)
FIELDS_TOLD: Final = frozenset(FIELDS.keys() | _MORE) - _GIVEN

# What a visit can tell: who came from where, and what he bought. Not what happened on the line.
VISIT: Final = frozenset(
    {
        *("communication_page_url", "communication_number", "properties", "ua_client_id", "ym_client_id"),
        *("sale_date", "sale_cost", "search_query", "search_engine", "referrer_domain", "referrer"),
        *("entrance_page", "gclid", "yclid", "ymclid", "ef_id", "channel", "site_id", "site_domain_name"),
        *("campaign_id", "campaign_name", "visit_other_campaign", "visitor_id", "person_id", "visitor_type"),
        *("visitor_session_id", "visits_count", "visitor_first_campaign_id", "visitor_first_campaign_name"),
        *("visitor_city", "visitor_region", "visitor_country", "visitor_device", "visitor_custom_properties"),
        *("segments", "call_api_request_id", "call_api_external_id", "contact_id", "contact_full_name"),
        *("utm_source", "utm_medium", "utm_term", "utm_content", "utm_campaign", "utm_referrer"),
        *("openstat_ad", "openstat_campaign", "openstat_service", "openstat_source", "attributes"),
        *("eq_utm_source", "eq_utm_medium", "eq_utm_term", "eq_utm_content", "eq_utm_campaign"),
        *("eq_utm_referrer", "eq_utm_expid", "source_id", "source_name", "source_new", "channel_new"),
        *("channel_code", "ext_id", "cpn_region_id", "cpn_region_name"),
    }
)


def uploaded(given: Any, field: str, zone: ZoneInfo) -> dict[str, Any]:
    """One session as the store takes it; RpcError naming the first wrong field."""
    row = told(_by_sides(given, field), field, zone, FIELDS_TOLD)
    for name in ("start_time", "contact_phone_number"):
        if row.get(name) is None:
            raise RpcError("required_parameter_missed", field=f"{field}.{name}")
    start: datetime = row["start_time"]
    finish: datetime | None = row.get("finish_time")
    if finish is None:
        row["finish_time"] = finish = start + timedelta(seconds=row.get("total_duration") or 0)
    if finish < start:
        raise RpcError(
            "invalid_parameters_combination", field=f"{field}.finish_time", value=given.get("finish_time")
        )
    row.setdefault("total_duration", min(int((finish - start).total_seconds()), MAX_SECONDS))
    row.setdefault("talk_duration", 0)
    row.setdefault("clean_talk_duration", row["talk_duration"])
    row.setdefault("is_lost", not row["talk_duration"])
    row.setdefault("wait_duration", max(row["total_duration"] - row["talk_duration"], 0))
    row.setdefault("total_wait_duration", max(row["total_duration"] - row["clean_talk_duration"], 0))
    row.setdefault("postprocess_duration", 0)
    row.setdefault("direction", "in")
    row.setdefault("source", "upload_calls")
    row.setdefault("is_transfer", False)
    return row


# How the vendor's own page of upload.calls names the two ends of a line, by direction: contact and virtual number.
_SIDES: Final = {
    "in": ("calling_phone_number", "called_phone_number"),
    "out": ("called_phone_number", "calling_phone_number"),
}


def _by_sides(given: Any, field: str) -> Any:
    """The call with its ends named as the report does. An empty number is none."""
    if not isinstance(given, dict) or not given.keys() & set(_SIDES["in"]):
        return given
    direction = given.get("direction")
    named = dict(given)
    ends = ("contact_phone_number", "virtual_phone_number")
    for side, name in zip(_SIDES["out" if direction == "out" else "in"], ends, strict=True):
        if side not in named:
            continue
        if named.get(name) is not None:
            raise RpcError("invalid_parameters_combination", field=f"{field}.{side}", value=named[side])
        value = named.pop(side)
        if value not in (None, ""):
            _phone(value, f"{field}.{side}")
            named[name] = value
    return named


def told(given: Any, field: str, zone: ZoneInfo, names: frozenset[str]) -> dict[str, Any]:
    """The known fields of an object; null is nothing told."""
    if not isinstance(given, dict):
        raise RpcError("data_type_error", field=field, value=given)
    found: dict[str, Any] = {}
    for name, value in given.items():
        where = f"{field}.{name}" if field else name
        if name not in names:
            raise RpcError("unexpected_parameters", field=where, value=value)
        if value is not None:
            found[name] = _value(name, value, where, zone)
    return found


def _value(name: str, value: Any, where: str, zone: ZoneInfo) -> Any:
    if name in PHONES:
        return _phone(value, where)
    words = _words(name)
    match STORED[name].kind:
        case Kind.integer:
            low, high = (0, MAX_SECONDS) if name.endswith("_duration") else (None, None)
            return whole(value, where, low=low, high=high)
        case Kind.decimal:
            return _decimal(value, where)
        case Kind.boolean:
            return _boolean(value, where)
        case Kind.moment:
            return _moment(value, where, zone)
        case Kind.texts:
            return [_text(one, f"{where}.{n}", words) for n, one in enumerate(_array(value, where))]
        case Kind.objects:
            return [_object(name, one, f"{where}.{n}", zone) for n, one in enumerate(_array(value, where))]
        case _:
            return _text(value, where, words)


def _words(name: str) -> frozenset[str] | None:
    if name == "finish_reason":
        return frozenset(FINISH_REASONS)
    field = FIELDS.get(name)
    return frozenset(value.id for value in field.values) if field and field.values else None


def _phone(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise RpcError("data_type_error", field=where, value=value)
    digits = value.removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS):
        raise RpcError("invalid_parameter_value", field=where, value=value)
    return digits


def _text(value: Any, where: str, words: frozenset[str] | None = None) -> str:
    if not isinstance(value, str):
        raise RpcError("data_type_error", field=where, value=value)
    if len(value) > MAX_TEXT or "\0" in value or (words is not None and value not in words):
        raise RpcError("invalid_parameter_value", field=where, value=value)
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a character
        raise RpcError("invalid_parameter_value", field=where) from None
    return value


def _decimal(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RpcError("data_type_error", field=where, value=value)
    if not -(10**15) < value < 10**15:
        raise RpcError("invalid_parameter_value", field=where, value=value)
    return str(Decimal(str(value)))


def _boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise RpcError("data_type_error", field=where, value=value)
    return value


def _moment(value: Any, where: str, zone: ZoneInfo) -> datetime:
    # What creates or changes something has an error of its own for times.
    return moment(value, where, wrong="invalid_date_time").replace(tzinfo=zone).astimezone(UTC)


def _array(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise RpcError("data_type_error", field=where, value=value)
    if len(value) > MAX_ITEMS:
        raise RpcError("invalid_parameter_value", field=where)
    return value


def _object(name: str, given: Any, where: str, zone: ZoneInfo) -> dict[str, Any]:
    """Every member, in the order of the reference; what was not told is null."""
    if not isinstance(given, dict):
        raise RpcError("data_type_error", field=where, value=given)
    members = dict(STORED[name].members)
    for member in given:
        if member not in members:
            raise RpcError("unexpected_parameters", field=f"{where}.{member}", value=given[member])
    return {
        member: _member(kind, given.get(member), f"{where}.{member}", zone, NESTED.get((name, member)))
        for member, kind in members.items()
    }


_MEMBERS: Final[Mapping[Kind, Callable[[Any, str], Any]]] = {
    Kind.integer: whole,
    Kind.boolean: _boolean,
}


def _member(kind: Kind, value: Any, where: str, zone: ZoneInfo, field: Field | None) -> Any:
    if value is None:
        return None
    if kind is Kind.moment:
        return _moment(value, where, zone).isoformat()
    if kind is Kind.text:
        words = frozenset(v.id for v in field.values) if field is not None and field.values else None
        return _text(value, where, words)
    return _MEMBERS[kind](value, where)
