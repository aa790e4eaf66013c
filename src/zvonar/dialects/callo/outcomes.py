"""What does Callo call what came of a call? The triple of a result, and its cause, as call status and dial status.

The sample of `camp_stats` decides where the reference's table leaves a choice: a prompt that was heard out where no
key was asked for is compl_finished with dial status 10, a pressed key is `user` with 5, a number that stayed busy is
attempts_exc with 4. Dial status 7 is deprecated, 9 says nothing, and nobody knows what 32 to 34 are: none is used.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from importlib.resources import files
from itertools import product

import msgspec

from zvonar.core.call import CallState
from zvonar.core.result import CallEnd, Cause, Disposition, Outcome, ScriptResult, flashed
from zvonar.dialects.callo import ours
from zvonar.dialects.callo.words import Language, Text
from zvonar.store.results import outcome_key


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
    """The reference's `dial_status`, but for those that nobody uses or knows."""

    waiting = 0
    failed = 1
    declined = 2
    no_answer = 3
    busy = 4
    answered = 5
    machine = 6
    invalid_button = 8
    no_action = 10
    stop_list = 11
    global_stop_list = 12
    too_short_talk = 13
    own_number = 14
    removed = 15
    without_press = 16
    max_time = 17
    internal = 18
    heard_out = 19
    menu_error = 20
    press_and_talk = 21
    talk = 22
    no_money = 23
    no_trunk = 24
    no_caller_id = 25
    closed_destination = 26
    synth_failed = 27
    clip_too_short = 28
    no_provider = 29
    expired = 30
    attempts_over = 31
    duplicate = 35

    def display(self, language: Language) -> str:
        return _DIAL_TEXTS[str(self.value)].said(language)


def _texts(name: str, of_ours: ours.Displays) -> dict[str, Text]:
    data = files("zvonar.dialects.callo").joinpath(name).read_bytes()
    sourced = msgspec.json.decode(data, type=dict[str, dict[str, str]])
    return {key: Text(**of_ours[key], **texts) for key, texts in sourced.items()}


_CALL_TEXTS = _texts("call_status.json", ours.CALL_STATUS)
_DIAL_TEXTS = _texts("dial_status.json", ours.DIAL_STATUS)

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
    Disposition.lost: DialStatus.internal,  # our dialer died with it
}
_CAUSED = {
    (Disposition.blocked, Cause.own_number): DialStatus.own_number,
    (Disposition.blocked, Cause.duplicate): DialStatus.duplicate,
    (Disposition.no_route, Cause.no_caller_id): DialStatus.no_caller_id,
    (Disposition.synth_failed, Cause.clip_too_short): DialStatus.clip_too_short,
    (Disposition.failed, Cause.call_too_short): DialStatus.max_time,
    (Disposition.answered, Cause.too_short_talk): DialStatus.too_short_talk,
    (Disposition.answered, Cause.without_press): DialStatus.without_press,
    (Disposition.answered, Cause.press_and_long_talk): DialStatus.press_and_talk,
    (Disposition.answered, Cause.long_talk): DialStatus.talk,
    (Disposition.blocked, Cause.stop_list): DialStatus.stop_list,
    (Disposition.blocked, Cause.global_stop_list): DialStatus.global_stop_list,
    (Disposition.blocked, Cause.destination): DialStatus.closed_destination,
    (Disposition.no_route, Cause.no_tariff): DialStatus.no_provider,
    (Disposition.failed, Cause.internal): DialStatus.internal,
}
_HEARD = {
    ScriptResult.none: DialStatus.answered,
    ScriptResult.completed: DialStatus.no_action,
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
    if disposition is Disposition.failed and script_result is ScriptResult.error:
        return CallStatus.duration_error  # its script could not be run at all
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
    cause: Cause | None = None,
) -> DialStatus:
    """The dial status of a call, or of an attempt when no end is given."""
    caused = None if disposition is None or cause is None else _CAUSED.get((disposition, cause))
    match call_end:
        case CallEnd.expired:
            return DialStatus.expired
        case CallEnd.removed:
            return DialStatus.removed
        case CallEnd.no_money:
            return DialStatus.no_money
        case CallEnd.stopped:
            stopped = state is CallState.blocked or disposition is Disposition.blocked
            return (caused or DialStatus.stop_list) if stopped else DialStatus.removed
    if disposition is None:
        return DialStatus.attempts_over if call_end is CallEnd.attempts_exhausted else DialStatus.waiting
    if caused is not None:
        return caused
    if disposition is Disposition.answered or flashed(disposition, script_result):
        return _HEARD[script_result]
    return _DIALLED[disposition]


def dial_status_is_known(state: CallState, disposition: Disposition | None) -> bool:
    """The one rule of when `dial_status` is null: while a call's first attempt is on the line. "No call yet" is not
    true any more then, and what will come of it is not known. [G]: the samples' null is of a call that has ended.
    """
    return disposition is not None or state not in (CallState.dialing, CallState.talking)


def attempt_status(disposition: Disposition, script_result: ScriptResult) -> CallStatus:
    """The status of an attempt that another one followed, as if it had been the last."""
    succeeded = Outcome(disposition=disposition, script_result=script_result).succeeded
    return call_status(disposition, script_result, CallEnd.success if succeeded else CallEnd.unsuccessful)


def _outcomes() -> Mapping[CallStatus, list[str]]:
    by_status: dict[CallStatus, list[str]] = {status: [] for status in CallStatus}
    for disposition, script_result, end in product(
        [None, *Disposition], [None, *ScriptResult], [None, *CallEnd]
    ):
        status = call_status(disposition, script_result or ScriptResult.none, end)
        by_status[status].append(outcome_key(end, disposition, script_result))
    return by_status


# Every outcome that has this status, as the store's filter knows them.
OUTCOMES = _outcomes()
