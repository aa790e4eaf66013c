"""What came of an attempt, of its script, of the call? Three closed enumerations, never one; and sometimes a cause.

`disposition_of` turns what the network said (SIP code, Q.850 cause) into a disposition; every dialect
maps the triple to its own words.
"""

from enum import StrEnum

from msgspec import Struct


class Disposition(StrEnum):
    """What became of one attempt to reach the number."""

    answered = "answered"  # somebody or something picked up
    busy = "busy"  # 486, 600: the subscriber is engaged
    no_answer = "no_answer"  # rang until our ring timeout or the network's
    declined = "declined"  # 603, cause 21: the subscriber refused
    invalid_number = "invalid_number"  # 404, 410, 484: no such number
    unreachable = "unreachable"  # 480: switched off or out of coverage
    congestion = "congestion"  # 503, cause 34: the network had no circuit
    failed = "failed"  # anything else that the network or the gateway answered
    no_route = "no_route"  # no trunk may carry this number
    no_money = "no_money"  # the balance did not cover the worst case
    blocked = "blocked"  # stop list or closed destination, found at dispatch
    synth_failed = "synth_failed"  # the prompt could not be synthesised
    cancelled = "cancelled"  # we gave up before an answer: removed, or the campaign was stopped
    lost = "lost"  # the controller died in doubt; nothing is known and nothing is charged


class ScriptResult(StrEnum):
    """What the script made of an answered attempt."""

    none = "none"  # there was no answer, so no script
    completed = "completed"  # played to its end, nothing was asked
    no_input = "no_input"  # asked, and heard nothing
    invalid_input = "invalid_input"  # only keys that the menu does not know
    choice = "choice"  # a key or word of the menu
    pin_ok = "pin_ok"
    pin_wrong = "pin_wrong"
    machine = "machine"  # an answering machine
    hung_up = "hung_up"  # the callee hung up before the script was over
    max_time = "max_time"  # cut by max_call_time
    transferred = "transferred"
    error = "error"  # the script itself failed


class CallEnd(StrEnum):
    """How a call ended, once it reached a final state."""

    success = "success"
    unsuccessful = "unsuccessful"  # reached, but not what the campaign wants, and no retry is due
    attempts_exhausted = "attempts_exhausted"
    expired = "expired"  # its lifetime or its campaign's dates ran out
    removed = "removed"  # taken out by the client
    stopped = "stopped"  # a stop list, a closed destination or the operator
    no_money = "no_money"


class Cause(StrEnum):
    """Why an attempt came to nothing, where the disposition leaves more than one reason. Kept beside the triple."""

    stop_list = "stop_list"  # blocked: the account's own
    global_stop_list = "global_stop_list"  # blocked: the installation's
    destination = "destination"  # blocked: emergency, premium, satellite, or a closed country
    no_tariff = "no_tariff"  # no_route: nobody says what this destination costs
    internal = "internal"  # failed: by a fault of ours
    no_caller_id = "no_caller_id"  # no_route: no number to show, or none that ends as it should
    own_number = "own_number"  # blocked: the only number to show is the callee's own
    duplicate = "duplicate"  # blocked: another call of the campaign has this number already
    clip_too_short = "clip_too_short"  # synth_failed: nobody could hear a prompt as short as this
    call_too_short = "call_too_short"  # failed: the call may not last as long as its first prompt
    too_short_talk = "too_short_talk"  # answered: not long enough to count
    long_talk = "long_talk"  # answered: long enough to be an event of its own
    press_and_long_talk = "press_and_long_talk"  # answered: likewise, and something was chosen
    without_press = "without_press"  # answered: what follows silence was done


class Outcome(Struct, frozen=True, kw_only=True):
    """What is known of one attempt, as the retry policy and the dialects read it."""

    disposition: Disposition
    script_result: ScriptResult = ScriptResult.none
    hangup_cause: int | None = None  # Q.850, as the gateway gave it
    sip_code: int | None = None  # final SIP status of the last leg
    talk_seconds: int = 0  # answer to hang-up, rounded up
    choice: str | None = None  # the key or word that decided
    cause: Cause | None = None
    verifies: bool = False  # the campaign wants a PIN, and nothing else is a success

    @property
    def succeeded(self) -> bool:
        """Whether this is what a campaign calls for: the callee answered and the script got what it asked.

        Hearing the prompt out without pressing anything is an answer too, where no PIN was asked for; hanging up early
        is not. A flashcall succeeds by ringing: it is cancelled before an answer.
        """
        if self.cause is Cause.too_short_talk:
            return False
        if flashed(self.disposition, self.script_result):
            return True
        if self.disposition is not Disposition.answered:
            return False
        return self.script_result in (_VERIFIED if self.verifies else _SUCCESS)


def flashed(disposition: Disposition, script_result: ScriptResult) -> bool:
    """Whether this is a flashcall that has rung, and was cancelled as it should be."""
    return disposition is Disposition.cancelled and script_result is ScriptResult.completed


_SUCCESS = frozenset(
    {
        ScriptResult.completed,
        ScriptResult.no_input,
        ScriptResult.choice,
        ScriptResult.pin_ok,
        ScriptResult.transferred,
    }
)

_VERIFIED = frozenset({ScriptResult.pin_ok})

# RFC 3398 section 7.2.4.1 maps SIP to Q.850; these are the groups a campaign can act upon.
_BY_SIP = {
    403: Disposition.failed,
    404: Disposition.invalid_number,
    408: Disposition.no_answer,
    410: Disposition.invalid_number,
    480: Disposition.unreachable,
    484: Disposition.invalid_number,
    486: Disposition.busy,
    487: Disposition.no_answer,
    500: Disposition.congestion,
    502: Disposition.congestion,
    503: Disposition.congestion,
    504: Disposition.congestion,
    600: Disposition.busy,
    603: Disposition.declined,
    604: Disposition.invalid_number,
}
_BY_CAUSE = {
    1: Disposition.invalid_number,
    3: Disposition.congestion,
    17: Disposition.busy,
    18: Disposition.no_answer,
    19: Disposition.no_answer,
    20: Disposition.unreachable,
    21: Disposition.declined,
    22: Disposition.invalid_number,
    27: Disposition.congestion,
    28: Disposition.invalid_number,
    34: Disposition.congestion,
    38: Disposition.congestion,
    41: Disposition.congestion,
    42: Disposition.congestion,
    44: Disposition.congestion,
}


def disposition_of(*, sip_code: int | None, hangup_cause: int | None, rang_out: bool) -> Disposition:
    """Disposition of a leg that ended without an answer.

    `rang_out`: our own ring timeout ended it. Asterisk then reports SIP 480, which it made up itself,
    so the timeout is believed first. A SIP code says more than the cause derived from it.
    """
    if rang_out:
        return Disposition.no_answer
    if sip_code is not None and sip_code >= 300:
        if sip_code in _BY_SIP:
            return _BY_SIP[sip_code]
        if sip_code >= 600:
            return Disposition.declined
        if sip_code >= 500:
            return Disposition.congestion
    if hangup_cause in _BY_CAUSE:
        return _BY_CAUSE[hangup_cause]
    return Disposition.failed


def goes_to_next_leg(disposition: Disposition) -> bool:
    """Whether another trunk may succeed where this one did not (the network failed, not the subscriber)."""
    return disposition in (Disposition.congestion, Disposition.failed)
