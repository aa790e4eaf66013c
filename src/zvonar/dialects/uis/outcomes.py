"""What does UIS call what came of a session? Disposition and script result as finish_reason and its company."""

from zvonar.core.result import Disposition, ScriptResult, flashed

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
