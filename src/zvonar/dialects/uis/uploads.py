"""How do sessions of another exchange or tracking system come into the report? upload.calls, and POST /track."""

from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from zvonar.dialects.uis.errors import RpcError
from zvonar.dialects.uis.requests import sessions
from zvonar.dialects.uis.requests.values import moment, whole
from zvonar.reports import uploads, visits
from zvonar.reports.communications import CommunicationTaken
from zvonar.reports.writing import Writer

PARAMETERS: Final = frozenset({"access_token", "user_id", "calls"})
TRACKED: Final = frozenset({"virtual_phone_number", "call_id", "visited_at", "valid_seconds", "attributes"})
_MAX_VALID: Final = 30 * 86_400  # seconds


async def upload(
    writer: Writer, account_id: int, params: dict[str, Any], zone: ZoneInfo, *, now: datetime
) -> list[dict[str, Any]]:
    """upload.calls: `calls`, each with fields of the report; the answer names their ids in the same order.

    A call with an `ext_id` that was sent before is the same call and is changed. RpcError naming the first wrong
    field, and then nothing was taken.
    """
    for name in params:
        if name not in PARAMETERS:
            raise RpcError("unexpected_parameters", field=name, value=params[name])
    calls = params.get("calls")
    if calls is None:
        raise RpcError("required_parameter_missed", field="calls")
    if not isinstance(calls, list):
        raise RpcError("data_type_error", field="calls", value=calls)
    if not 1 <= len(calls) <= sessions.MAX_CALLS:
        raise RpcError("invalid_parameter_value", field="calls")
    told = [sessions.uploaded(call, f"calls.{n}", zone) for n, call in enumerate(calls)]
    try:
        ids = await uploads.upload(writer, account_id, told, now=now)
    except CommunicationTaken as exc:
        at = next(n for n, one in enumerate(told) if one.get("communication_id") == exc.communication_id)
        field = f"calls.{at}.communication_id"
        raise RpcError("already_in_use", field=field, value=exc.communication_id) from None
    return [
        {"id": session_id, "ext_id": one.get("ext_id")} for session_id, one in zip(ids, told, strict=True)
    ]


async def track(
    writer: Writer, account_id: int, body: Any, zone: ZoneInfo, *, now: datetime
) -> dict[str, Any]:
    """What a visitor did before he called: for a number of ours while it is valid, or for a call of ours by its id."""
    if not isinstance(body, dict):
        raise RpcError("invalid_request")
    for name in body:
        if name not in TRACKED:
            raise RpcError("unexpected_parameters", field=name, value=body[name])
    if (body.get("virtual_phone_number") is None) == (body.get("call_id") is None):
        raise RpcError("invalid_parameters_combination", field="virtual_phone_number")
    if body.get("attributes") is None:
        raise RpcError("required_parameter_missed", field="attributes")
    fields = sessions.told(body["attributes"], "attributes", zone, sessions.VISIT)
    at = now
    if body.get("visited_at") is not None:
        at = moment(body["visited_at"], "visited_at", wrong="invalid_date_time").replace(tzinfo=zone)
    stored = _stored(fields)
    if body.get("call_id") is not None:
        call_id = whole(body["call_id"], "call_id", low=1)
        visit = await visits.track_call(writer.db, writer, account_id, call_id, stored, at=at, now=now)
        if visit is None:
            raise RpcError("invalid_parameter_value", field="call_id", value=body["call_id"])
        return {"visit_id": visit}
    phone = sessions.told(
        {"virtual_phone_number": body["virtual_phone_number"]}, "", zone, frozenset({"virtual_phone_number"})
    )["virtual_phone_number"]
    seconds = body.get("valid_seconds")
    valid = (
        visits.VALID
        if seconds is None
        else timedelta(seconds=whole(seconds, "valid_seconds", low=1, high=_MAX_VALID))
    )
    return {
        "visit_id": await visits.track_number(writer.db, account_id, phone, stored, at=at, until=at + valid)
    }


def _stored(fields: dict[str, Any]) -> dict[str, Any]:
    """As JSON keeps it."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()
    }
