"""What are our states and results called in autocall?

A call has one status on this wire: what its last try came to, or an error where it ended without one. So a
`call_end` never shows. A number found on a stop list counts as a try, as it does in the store. The reference names
the words and no more: which of our results each word covers is a guess [G], kept in the tables below.
"""

from collections.abc import Mapping
from enum import StrEnum

from zvonar.core.call import FINAL, CallState
from zvonar.core.campaign import CampaignStatus
from zvonar.core.result import Disposition, ScriptResult, flashed


class AutocallStatus(StrEnum):
    """Where an autocall stands."""

    running = "running"
    completed = "completed"
    paused = "paused"  # [G]
    cancelled = "cancelled"  # [G]


class CallStatus(StrEnum):
    """What a try came to, and so the call."""

    success = "success"
    recalled = "recalled"  # the subscriber called back [G]; no try of ours ends like this
    no_answer = "no_answer"
    busy = "busy"
    error = "error"
    spam = "spam"  # on a stop list [G]
    awaiting = "awaiting"  # before the first try has ended [G]: the word of this API's bulks


AUTOCALL_STATUS = {
    CampaignStatus.running: AutocallStatus.running,
    CampaignStatus.completed: AutocallStatus.completed,
    CampaignStatus.paused: AutocallStatus.paused,
    CampaignStatus.cancelled: AutocallStatus.cancelled,
}

_UNANSWERED = {
    Disposition.busy: CallStatus.busy,
    Disposition.declined: CallStatus.busy,  # rang, and was refused by hand
    Disposition.no_answer: CallStatus.no_answer,
    Disposition.unreachable: CallStatus.no_answer,
    Disposition.blocked: CallStatus.spam,  # or a closed destination: the store tells no difference
    Disposition.invalid_number: CallStatus.error,
    Disposition.congestion: CallStatus.error,
    Disposition.failed: CallStatus.error,
    Disposition.no_route: CallStatus.error,
    Disposition.no_money: CallStatus.error,
    Disposition.synth_failed: CallStatus.error,
    Disposition.cancelled: CallStatus.error,
    Disposition.lost: CallStatus.error,
}

# Whoever picked up was reached, whatever came of the script: this wire has no word for hanging up early.
_ANSWERED = {
    ScriptResult.none: CallStatus.success,  # settled after a crash: billed, so answered
    ScriptResult.completed: CallStatus.success,
    ScriptResult.no_input: CallStatus.success,
    ScriptResult.invalid_input: CallStatus.success,
    ScriptResult.choice: CallStatus.success,
    ScriptResult.pin_ok: CallStatus.success,
    ScriptResult.pin_wrong: CallStatus.success,
    ScriptResult.hung_up: CallStatus.success,
    ScriptResult.max_time: CallStatus.success,
    ScriptResult.transferred: CallStatus.success,
    ScriptResult.machine: CallStatus.no_answer,
    ScriptResult.error: CallStatus.error,
}


def try_status(disposition: Disposition, script_result: ScriptResult) -> CallStatus:
    """What one ended attempt came to."""
    if disposition is Disposition.answered or flashed(disposition, script_result):
        return _ANSWERED[script_result]
    return _UNANSWERED[disposition]


def call_status(
    state: CallState, disposition: Disposition | None, script_result: ScriptResult | None
) -> CallStatus:
    """The status of a call: that of its last try. Both results are None until a try has ended."""
    if disposition is not None:
        return try_status(disposition, script_result or ScriptResult.none)
    return CallStatus.error if state in FINAL else CallStatus.awaiting


def ended_by_status(tallies: Mapping[str, int]) -> dict[CallStatus, int]:
    """How many ended calls have each status, by a campaign's tallies `result/<disposition>/<script result>`."""
    counted = dict.fromkeys(CallStatus, 0)
    for key, n in tallies.items():
        noun, _, result = key.partition("/")
        if noun != "result":
            continue
        disposition, _, script_result = result.partition("/")
        if disposition == "none":  # ended without a try
            counted[CallStatus.error] += n
        else:
            answer = ScriptResult.none if script_result == "none" else ScriptResult(script_result)
            counted[try_status(Disposition(disposition), answer)] += n
    return counted
