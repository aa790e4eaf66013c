"""What are our states and results called in autocall?

A call has one status on this wire: what its last try came to, or an error where it ended without one. So a
`call_end` never shows. A number found on a stop list counts as a try, as it does in the store. The reference names
the words and no more: which of our results each word covers is a guess [G], kept in the tables below.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum

from zvonar.core.call import FINAL, CallState
from zvonar.core.campaign import CampaignStatus, Waits
from zvonar.core.result import Disposition, ScriptResult, flashed
from zvonar.store.call_facts import outcome_key
from zvonar.store.campaign_facts import standing_key


class AutocallStatus(StrEnum):
    """Where an autocall stands."""

    generating = "generating"  # this and the next two: [I], words of this API's bulks
    awaiting = "awaiting"
    moderation = "moderation"
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


_STANDING = {
    CampaignStatus.running: AutocallStatus.running,
    CampaignStatus.completed: AutocallStatus.completed,
    CampaignStatus.paused: AutocallStatus.paused,
    CampaignStatus.cancelled: AutocallStatus.cancelled,
}
_WAITING = {
    Waits.generating: AutocallStatus.generating,
    Waits.moderation: AutocallStatus.moderation,
    Waits.awaiting: AutocallStatus.awaiting,
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


def autocall_status(status: CampaignStatus, waits: Waits | None) -> AutocallStatus:
    """What a campaign's status is called: what it waits for, if it waits for anything."""
    return _STANDING[status] if waits is None else _WAITING[waits]


def try_status(disposition: Disposition, script_result: ScriptResult) -> CallStatus:
    """What one ended attempt came to."""
    if disposition is Disposition.answered or flashed(disposition, script_result):
        return _ANSWERED[script_result]
    return _UNANSWERED[disposition]


def call_status(
    state: CallState,
    disposition: Disposition | None,
    script_result: ScriptResult | None,
    *,
    recalled: bool = False,
) -> CallStatus:
    """The status of a call: that of its last try, unless the subscriber called back after it.

    Both results are None until a try has ended.
    """
    if recalled:
        return CallStatus.recalled
    if disposition is not None:
        return try_status(disposition, script_result or ScriptResult.none)
    return CallStatus.error if state in FINAL else CallStatus.awaiting


def ended_by_status(tallies: Mapping[str, int]) -> dict[CallStatus, int]:
    """How many ended calls have each status, by a campaign's tallies `result/<disposition>/<script result>`.

    `recalled/…` are those of them whose subscribers called back.
    """
    counted = dict.fromkeys(CallStatus, 0)
    for key, n in tallies.items():
        noun, _, result = key.partition("/")
        if noun not in ("result", "recalled"):
            continue
        disposition, _, script_result = result.partition("/")
        status = CallStatus.error  # ended without a try
        if disposition != "none":
            status = try_status(Disposition(disposition), ScriptResult(script_result))
        if noun == "recalled":
            counted[CallStatus.recalled] += n
            counted[status] -= n
        else:
            counted[status] += n
    return counted


def statuses_of(status: AutocallStatus) -> list[str]:
    """The campaign statuses that this wire calls so, as the store knows them."""
    return [
        standing_key(ours, waits)
        for ours in CampaignStatus
        for waits in (None, *Waits)
        if autocall_status(ours, waits) is status
    ]


def keys_of(statuses: Collection[CallStatus]) -> list[str]:
    """The outcomes that have one of these statuses, by the keys that the store knows them by."""
    found = [
        outcome_key(state in FINAL, disposition, script_result, recalled=recalled)
        for state in CallState
        for disposition in (None, *Disposition)
        for script_result in ScriptResult
        for recalled in (False, True)
        if call_status(state, disposition, script_result, recalled=recalled) in statuses
    ]
    return list(dict.fromkeys(found))
