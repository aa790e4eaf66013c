"""What does UIS call what came of a session? Disposition and script result as finish_reason and its company."""

from importlib.resources import files

import msgspec

from zvonar.core.result import Cause, Disposition, ScriptResult, flashed
from zvonar.reports.ended import Came, Described

# Russian names of countries, for cpn_country_name; a country that is not here has none.
COUNTRIES = msgspec.json.decode(
    files("zvonar.dialects.uis").joinpath("countries.json").read_bytes(), type=dict[str, str]
)

# `source`, by direction: an outgoing campaign, and a call to a virtual number.
SOURCES = {"out": "auto_out_calls", "in": "va"}

_UNANSWERED = {
    Disposition.busy: "subscriber_busy",
    Disposition.no_answer: "subscriber_not_responsible",
    Disposition.declined: "subscriber_disconnects",
    Disposition.invalid_number: "subscriber_number_problems",
    Disposition.unreachable: "no_success_subscriber_call",
    Disposition.congestion: "locked_phone",
    Disposition.failed: "no_success_subscriber_call",
    Disposition.no_route: "communication_unavailable",
    Disposition.no_money: "not_enough_money",
    Disposition.blocked: "locked_numb",
    Disposition.synth_failed: "internal_error",
    Disposition.cancelled: "disconnect_before_call_processing",
    Disposition.lost: "internal_error",
}
_ANSWERED = {
    ScriptResult.none: "add_cdr_timeout",
    ScriptResult.completed: "success_finish",
    ScriptResult.no_input: "success_finish",
    ScriptResult.invalid_input: "incorrect_input",
    ScriptResult.choice: "success_finish",
    ScriptResult.pin_ok: "success_finish",
    ScriptResult.pin_wrong: "incorrect_input",
    ScriptResult.machine: "success_finish",
    ScriptResult.hung_up: "subscriber_disconnects",
    ScriptResult.max_time: "action_interval_exceeded",
    ScriptResult.transferred: "operator_answer",
    ScriptResult.error: "internal_error",
}


# Where the reason is known better than by the disposition.
_BY_CAUSE = {
    Cause.stop_list: "numa_in_black_list",
    Cause.global_stop_list: "locked_numb",
    Cause.destination: "locked_numb",
    Cause.no_tariff: "call_not_allowed_on_tp",
    Cause.internal: "internal_error",
}
# Q.850, for what the network alone can say: the two ends of a line are told by the disposition.
_BY_HANGUP = {
    (Disposition.failed, 50): "out_call_not_allowed",  # facility not subscribed
    (Disposition.failed, 52): "out_call_not_allowed",  # outgoing call barred
    (Disposition.failed, 57): "out_call_not_allowed",  # bearer capability not authorised
    (Disposition.congestion, 38): "net_lock",  # network out of order
    (Disposition.congestion, 34): "max_out_call_reached",  # no circuit available
    (Disposition.congestion, 42): "max_out_call_reached",  # switching equipment congestion
}
# The last employee who was called, where nobody was put through.
_BY_TRANSFER = {
    Disposition.busy: "operator_busy",
    Disposition.no_answer: "operator_not_responsible",
    Disposition.declined: "operator_disconnects",
    Disposition.invalid_number: "operator_number_problems",
    Disposition.unreachable: "sip_offline",
    Disposition.congestion: "operator_channels_busy",
    Disposition.cancelled: "transfer_disconnects",
}


def came_to(came: Came) -> str:
    """Why a session ended, by everything that is known of it."""
    if came.disposition is not Disposition.answered:
        if came.cause in _BY_CAUSE:
            return _BY_CAUSE[Cause(came.cause)]
        by_hangup = _BY_HANGUP.get((came.disposition, came.hangup_cause or 0))
        return by_hangup or finish_reason(came.disposition, came.script_result)
    if came.transfer is None or came.transfer is Disposition.answered:
        return finish_reason(came.disposition, came.script_result)
    return _BY_TRANSFER.get(came.transfer, "no_success_operator_call")


# What a cause of Q.850 is called in a leg's release_cause_description: the standard's names.
RELEASE_CAUSES = {
    1: "Unallocated (unassigned) number",
    3: "No route to destination",
    16: "Normal call clearing",
    17: "User busy",
    18: "No user responding",
    19: "No answer from user (user alerted)",
    20: "Subscriber absent",
    21: "Call rejected",
    22: "Number changed",
    27: "Destination out of order",
    28: "Invalid number format (address incomplete)",
    31: "Normal, unspecified",
    34: "No circuit/channel available",
    38: "Network out of order",
    41: "Temporary failure",
    42: "Switching equipment congestion",
    44: "Requested circuit/channel not available",
    50: "Requested facility not subscribed",
    52: "Outgoing calls barred",
    57: "Bearer capability not authorized",
    58: "Bearer capability not presently available",
    65: "Bearer capability not implemented",
    79: "Service or option not implemented, unspecified",
    88: "Incompatible destination",
    102: "Recovery on timer expiry",
    111: "Protocol error, unspecified",
    127: "Interworking, unspecified",
}


def leg_reason(disposition: str | None, hangup_cause: int | None, *, transferred: bool) -> str | None:
    """Why a leg ended that was not the session's last one; `transferred`: it was to an employee."""
    if disposition is None:
        return None
    came = Disposition(disposition)
    if transferred:
        if came is Disposition.answered:
            return "operator_answer"
        return _BY_TRANSFER.get(came, "no_success_operator_call")
    return _BY_HANGUP.get((came, hangup_cause or 0)) or _UNANSWERED.get(came)


def describe(came: Came, country: str | None) -> Described:
    """A session's end in the words of the report."""
    return Described(
        finish_reason=came_to(came),
        source=SOURCES[came.direction],
        country_name=COUNTRIES.get(country or ""),
    )


def finish_reason(disposition: Disposition, script_result: ScriptResult) -> str:
    """Why a session ended, by the vendor's mnemonic."""
    if disposition is Disposition.answered or flashed(disposition, script_result):
        return _ANSWERED[script_result]
    return _UNANSWERED[disposition]


def is_lost(disposition: Disposition) -> bool:
    """Whether nobody was reached; the store keeps this with each session, and filters by it."""
    return disposition is not Disposition.answered


def is_transfer(script_result: ScriptResult) -> bool:
    """Whether the contact was put through to somebody."""
    return script_result is ScriptResult.transferred


# "busy/none" → finish_reason, for sorting; the same for is_transfer.
FINISH_REASONS = {f"{d}/{s}": finish_reason(d, s) for d in Disposition for s in ScriptResult}
TRANSFERS = {f"{d}/{s}": str(int(is_transfer(s))) for d in Disposition for s in ScriptResult}
