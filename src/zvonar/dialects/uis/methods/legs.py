"""Which legs had the sessions of a period, or those with these ids? get.call_legs_report."""

from typing import Any, Final

from zvonar.dialects.uis import limits
from zvonar.dialects.uis.errors import RpcError
from zvonar.dialects.uis.fields import FINISH_REASONS
from zvonar.dialects.uis.methods.common import Answer, Call
from zvonar.dialects.uis.methods.directories import local
from zvonar.dialects.uis.methods.listing import Listing, column
from zvonar.dialects.uis.requests import values
from zvonar.reports import legs
from zvonar.reports.fields import Kind
from zvonar.reports.legs import Leg

_LEGS: Final = Listing(
    column("id", Kind.text),
    column("call_session_id", Kind.integer),
    column("start_time", Kind.moment),
    column("connect_time", Kind.moment),
    column("finish_time", Kind.moment),
    column("duration", Kind.integer),
    column("total_duration", Kind.integer),
    column("direction", Kind.text),
    column("finish_reason", Kind.text),
    column("finish_reason_description", Kind.text),
    column("calling_phone_number", Kind.text),
    column("called_phone_number", Kind.text),
    column("virtual_phone_number", Kind.text),
    column("is_operator", Kind.boolean),
    column("is_talked", Kind.boolean),
    column("employee_id", Kind.integer),
    column("employee_full_name", Kind.text),
    column("contact_full_name", Kind.text),
    column("call_records", Kind.texts),
    also=frozenset({"date_from", "date_till"}),
)


async def call_legs_report(call: Call) -> Answer:
    """get.call_legs_report. Clients who name sessions in their filter leave out the dates, or send some of today."""
    sessions = _sessions(call.params.get("filter"))
    if sessions is not None:
        found = await legs.of_sessions(call.db, call.account.account_id, sessions)
    else:
        period = values.period(call.params, call.zone, months=limits.MAX_MONTHS)
        found = await legs.within(call.db, call.account.account_id, since=period.since, until=period.until)
    if len(found) > legs.MOST:
        raise RpcError(
            "error", error_message=f"There are more than {legs.MOST} legs, ask for a shorter period."
        )
    return _LEGS.answer(call, [_row(call, leg) for leg in found])


def _sessions(filter: Any) -> list[int] | None:
    """The sessions that a simple filter names; whatever else it is, the filter's reader says."""
    if not isinstance(filter, dict) or filter.get("field") != "call_session_id":
        return None
    value = filter.get("value")
    named = value if filter.get("operator") == "in" else [value] if filter.get("operator") == "=" else None
    if not isinstance(named, list) or len(named) > 10_000:
        return None
    if not all(isinstance(one, int) and not isinstance(one, bool) and one in values.BIGINT for one in named):
        return None
    return named


def _row(call: Call, leg: Leg) -> dict[str, Any]:
    answered = leg.answered_at
    return {
        "id": leg.leg_id,
        "call_session_id": leg.session_id,
        "start_time": local(leg.placed_at, call.zone),
        "connect_time": None if answered is None else local(answered, call.zone),
        "finish_time": local(leg.ended_at, call.zone),
        "duration": 0 if answered is None else round((leg.ended_at - answered).total_seconds()),
        "total_duration": round((leg.ended_at - leg.placed_at).total_seconds()),
        "direction": leg.direction,
        "finish_reason": leg.finish_reason,
        "finish_reason_description": FINISH_REASONS.get(leg.finish_reason or ""),
        "calling_phone_number": _digits(leg.calling),
        "called_phone_number": _digits(leg.called),
        "virtual_phone_number": _digits(leg.own),
        # A leg to an employee is one of a transfer; those are told with the session's employees.
        "is_operator": False,
        "is_talked": answered is not None,
        "employee_id": None,
        "employee_full_name": None,
        "contact_full_name": leg.contact_name,
        "call_records": [],
    }


def _digits(phone: str | None) -> str | None:
    return None if phone is None else phone.removeprefix("+")
