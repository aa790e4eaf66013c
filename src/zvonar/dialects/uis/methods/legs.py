"""Which legs had the sessions of a period, or those with these ids? get.call_legs_report."""

from math import ceil
from typing import Any, Final

from zvonar.dialects.uis import limits
from zvonar.dialects.uis.errors import RpcError
from zvonar.dialects.uis.fields import FINISH_REASONS
from zvonar.dialects.uis.methods.common import Answer, Call
from zvonar.dialects.uis.methods.directories import local
from zvonar.dialects.uis.methods.listing import Listing, column
from zvonar.dialects.uis.outcomes import RELEASE_CAUSES, leg_reason
from zvonar.dialects.uis.requests import values
from zvonar.reports import legs
from zvonar.reports.fields import Kind
from zvonar.reports.legs import Leg

# In the order of the vendor's page.
_LEGS: Final = Listing(
    column("id", Kind.integer),
    column("call_session_id", Kind.integer),
    column("call_records", Kind.texts),
    column("wav_call_records", Kind.texts),
    column("start_time", Kind.moment),
    column("connect_time", Kind.moment),
    column("finish_time", Kind.moment),
    column("duration", Kind.integer),
    column("total_duration", Kind.integer),
    column("finish_reason", Kind.text),
    column("finish_reason_description", Kind.text),
    column("virtual_phone_number", Kind.text),
    column("calling_phone_number", Kind.text),
    column("called_phone_number", Kind.text),
    column("direction", Kind.text),
    column("is_transfered", Kind.boolean),  # sic
    column("is_operator", Kind.boolean),
    column("employee_id", Kind.integer),
    column("employee_full_name", Kind.text),
    column("employee_phone_number", Kind.text),
    column("employee_rating", Kind.decimal),
    column("scenario_id", Kind.integer),
    column("scenario_name", Kind.text),
    column("is_coach", Kind.boolean),
    column("release_cause_code", Kind.integer),
    column("release_cause_description", Kind.text),
    column("is_failed", Kind.boolean),
    column("is_talked", Kind.boolean),
    column("contact_id", Kind.integer),
    column("contact_full_name", Kind.text),
    column("contact_phone_number", Kind.text),
    column("action_id", Kind.integer),
    column("action_name", Kind.text),
    column("group_id", Kind.integer),
    column("group_name", Kind.text),
    also=frozenset({"date_from", "date_till"}),
)
# A leg's number is its session's and its own within it.
_LEGS_OF_ONE: Final = 1000


async def call_legs_report(call: Call) -> Answer:
    """get.call_legs_report. Clients who name sessions in their filter leave out the dates, or send some of today."""
    account_id = call.account.account_id
    sessions = _sessions(call.params.get("filter"))
    if sessions is not None:
        found = await legs.of_sessions(call.db, account_id, sessions)
    else:
        period = values.period(call.params, call.zone, months=limits.MAX_MONTHS)
        page = _LEGS.plain(call)
        if page is not None:
            of = {"since": period.since, "until": period.until}
            rows, total = await legs.page(call.db, account_id, **of, limit=page.limit, offset=page.offset)
            return _LEGS.answer(call, [_row(call, leg) for leg in rows], total=total)
        found = await legs.within(call.db, account_id, since=period.since, until=period.until)
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
    reason = leg_reason(leg.disposition, leg.hangup_cause, transferred=leg.transferred)
    if leg.last or reason is None:
        reason = leg.finish_reason
    return {
        "id": leg.session_id * _LEGS_OF_ONE + leg.number,
        "call_session_id": leg.session_id,
        "call_records": leg.records,
        "wav_call_records": leg.records,
        "start_time": local(leg.placed_at, call.zone),
        "connect_time": None if answered is None else local(answered, call.zone),
        "finish_time": local(leg.ended_at, call.zone),
        "duration": 0 if answered is None else ceil((leg.ended_at - answered).total_seconds()),
        "total_duration": ceil((leg.ended_at - leg.placed_at).total_seconds()),
        "finish_reason": reason,
        "finish_reason_description": FINISH_REASONS.get(reason or ""),
        "virtual_phone_number": leg.own,
        "calling_phone_number": leg.calling,
        "called_phone_number": leg.called,
        "direction": leg.direction,
        "is_transfered": leg.transferred,
        # Nobody but an employee is called for a subscriber, whether or not the directory knows him.
        "is_operator": leg.transferred,
        "employee_id": leg.employee_id,
        "employee_full_name": leg.employee_name,
        "employee_phone_number": leg.employee_phone,
        "employee_rating": leg.rating,
        "scenario_id": leg.scenario_id,
        "scenario_name": leg.scenario_name,
        "is_coach": False,
        "release_cause_code": leg.hangup_cause,
        "release_cause_description": RELEASE_CAUSES.get(leg.hangup_cause or 0),
        "is_failed": answered is None,
        "is_talked": answered is not None and leg.ended_at > answered,
        "contact_id": leg.contact_id,
        "contact_full_name": leg.contact_name,
        "contact_phone_number": leg.contact_phone,
        # Scenarios of ours have no operations with numbers of their own, and employees no groups.
        "action_id": None,
        "action_name": None,
        "group_id": None,
        "group_name": None,
    }
