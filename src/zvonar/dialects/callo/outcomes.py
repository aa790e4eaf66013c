"""What does Callo call what came of a call? The triple of a result as call status and dial status.

The sample of `camp_stats` decides where the reference's table leaves a choice: a prompt that was heard out without
a key is compl_finished, a pressed key is `user`, a number that stayed busy is attempts_exc with dial status 4.
"""

from enum import IntEnum, StrEnum
from importlib.resources import files

import msgspec

from zvonar.core.call import CallState
from zvonar.core.result import CallEnd, Disposition, Outcome, ScriptResult
from zvonar.dialects.callo.errors import Language, Text


class CallStatus(StrEnum):
    """The reference's `status`."""

    in_process = "in_process"
    attempts_exc = "attempts_exc"
    compl_finished = "compl_finished"
    compl_nofinished = "compl_nofinished"
    deleted = "deleted"
    duration_error = "duration_error"
    expires = "expires"
    novalid_button = "novalid_button"
    no_provider = "no_provider"
    interrupted = "interrupted"
    pincode_ok = "pincode_ok"
    pincode_nook = "pincode_nook"
    synth_error = "synth_error"
    user = "user"

    def display(self, language: Language) -> str:
        return _CALL_TEXTS[self].said(language)


class DialStatus(IntEnum):
    """The reference's `dial_status`, as far as Zvonar says it."""

    waiting = 0
    failed = 1
    declined = 2
    no_answer = 3
    busy = 4
    answered = 5
    machine = 6
    invalid_button = 8
    unknown = 9
    no_action = 10
    stop_list = 11
    removed = 15
    max_time = 17
    heard_out = 19
    menu_error = 20
    no_money = 23
    no_trunk = 24
    synth_failed = 27
    expired = 30

    def display(self, language: Language) -> str:
        return _DIAL_TEXTS[str(self.value)].said(language)


def _texts(name: str) -> dict[str, Text]:
    data = files("zvonar.dialects.callo").joinpath(name).read_bytes()
    return msgspec.json.decode(data, type=dict[str, Text])


_CALL_TEXTS = _texts("call_status.json")
_DIAL_TEXTS = _texts("dial_status.json")

_BY_END = {
    CallEnd.attempts_exhausted: CallStatus.attempts_exc,
    CallEnd.expired: CallStatus.expires,
    CallEnd.removed: CallStatus.deleted,
    CallEnd.stopped: CallStatus.interrupted,
    CallEnd.no_money: CallStatus.interrupted,
}
_SUCCESS = {
    ScriptResult.choice: CallStatus.user,
    ScriptResult.transferred: CallStatus.user,
    ScriptResult.pin_ok: CallStatus.pincode_ok,
}
_UNSUCCESSFUL = {
    ScriptResult.invalid_input: CallStatus.novalid_button,
    ScriptResult.pin_wrong: CallStatus.pincode_nook,
    ScriptResult.max_time: CallStatus.interrupted,
}
_UNANSWERED = {
    Disposition.no_route: CallStatus.no_provider,
    Disposition.synth_failed: CallStatus.synth_error,
    Disposition.no_money: CallStatus.interrupted,
    Disposition.blocked: CallStatus.interrupted,
    Disposition.cancelled: CallStatus.interrupted,
}

_DIALLED = {
    Disposition.busy: DialStatus.busy,
    Disposition.no_answer: DialStatus.no_answer,
    Disposition.declined: DialStatus.declined,
    Disposition.invalid_number: DialStatus.failed,
    Disposition.unreachable: DialStatus.no_answer,
    Disposition.congestion: DialStatus.failed,
    Disposition.failed: DialStatus.failed,
    Disposition.no_route: DialStatus.no_trunk,
    Disposition.no_money: DialStatus.no_money,
    Disposition.blocked: DialStatus.stop_list,
    Disposition.synth_failed: DialStatus.synth_failed,
    Disposition.cancelled: DialStatus.removed,
    Disposition.lost: DialStatus.unknown,
}
_HEARD = {
    ScriptResult.none: DialStatus.answered,
    ScriptResult.completed: DialStatus.answered,
    ScriptResult.no_input: DialStatus.heard_out,
    ScriptResult.invalid_input: DialStatus.invalid_button,
    ScriptResult.choice: DialStatus.answered,
    ScriptResult.pin_ok: DialStatus.answered,
    ScriptResult.pin_wrong: DialStatus.answered,
    ScriptResult.machine: DialStatus.machine,
    ScriptResult.hung_up: DialStatus.no_action,
    ScriptResult.max_time: DialStatus.max_time,
    ScriptResult.transferred: DialStatus.answered,
    ScriptResult.error: DialStatus.menu_error,
}


def call_status(
    disposition: Disposition | None, script_result: ScriptResult, call_end: CallEnd | None
) -> CallStatus:
    """The status of a call. `disposition`: of its last attempt, None before the first."""
    if call_end is None:
        return CallStatus.in_process
    if call_end in _BY_END:
        return _BY_END[call_end]
    if call_end is CallEnd.success:
        return _SUCCESS.get(script_result, CallStatus.compl_finished)
    if disposition is Disposition.answered:
        return _UNSUCCESSFUL.get(script_result, CallStatus.compl_nofinished)
    return (
        CallStatus.attempts_exc
        if disposition is None
        else _UNANSWERED.get(disposition, CallStatus.attempts_exc)
    )


def dial_status(
    disposition: Disposition | None,
    script_result: ScriptResult,
    call_end: CallEnd | None = None,
    state: CallState = CallState.finished,
) -> DialStatus:
    """The dial status of a call, or of an attempt when no end is given."""
    match call_end:
        case CallEnd.expired:
            return DialStatus.expired
        case CallEnd.removed:
            return DialStatus.removed
        case CallEnd.no_money:
            return DialStatus.no_money
        case CallEnd.stopped:
            stopped = state is CallState.blocked or disposition is Disposition.blocked
            return DialStatus.stop_list if stopped else DialStatus.removed
    if disposition is None:
        return DialStatus.waiting
    return _HEARD[script_result] if disposition is Disposition.answered else _DIALLED[disposition]


def attempt_status(disposition: Disposition, script_result: ScriptResult) -> CallStatus:
    """The status of an attempt that another one followed, as if it had been the last."""
    succeeded = Outcome(disposition=disposition, script_result=script_result).succeeded
    return call_status(disposition, script_result, CallEnd.success if succeeded else CallEnd.unsuccessful)
