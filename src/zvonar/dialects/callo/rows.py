"""How is a row of results written? As JSON at once: a page has a thousand, and most of a row is the same for many."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from zvonar.core.call import CallState
from zvonar.core.campaign import CampaignType
from zvonar.core.result import CallEnd, Cause, Disposition, ScriptResult
from zvonar.dialects.callo import ours, reactions
from zvonar.dialects.callo.answers import instant
from zvonar.dialects.callo.media import Sounds
from zvonar.dialects.callo.outcomes import (
    CallStatus,
    DialStatus,
    attempt_status,
    call_status,
    dial_status,
    dial_status_is_known,
)
from zvonar.dialects.callo.words import Language
from zvonar.store.calls import Attempt
from zvonar.store.campaigns import Campaign
from zvonar.store.results import Result


class Reading(Struct, frozen=True, kw_only=True):
    """Who reads results, and what they need to know beside the calls."""

    currency: str
    language: Language
    sounds: Sounds  # where the calls' recordings play
    campaigns: Mapping[int, Campaign]  # of the calls that are read


def results(
    calls: Sequence[Result],
    attempts: Mapping[int, Sequence[Attempt]] | None,
    *,
    reading: Reading,
    label: bool = False,
) -> bytes:
    """A JSON list of results; with `attempts` where they were asked for, and the label where calls were asked by it."""
    rows = []
    for call in calls:
        said = _said(
            call.disposition,
            call.script_result,
            call.call_end,
            call.state,
            call.cause,
            call.choice,
            call.status_name,
            reading.language,
            reading.currency,
        )
        row = _row(said, call, reading)
        if attempts is not None:
            campaign = reading.campaigns[call.campaign_id]
            tried = [
                _attempt(
                    attempt, said.status if attempt.attempt == call.attempts else None, campaign.type, reading
                )
                for attempt in attempts[call.call_id]
            ]
            row = f'{row[:-1]},"attempts":{_json(tried)}}}'
        if label:
            row = f'{row[:-1]},"label":{_json(call.label)}}}'
        rows.append(row)
    return f"[{','.join(rows)}]".encode()


class _Said(Struct, frozen=True, kw_only=True):
    """What of a row is the same for every call that came to the same."""

    status: CallStatus
    template: str  # of the whole row


def _row(said: _Said, call: Result, reading: Reading) -> str:
    """The row's own values, in the order of the template."""
    recording = reading.sounds.of_call(call)
    action = ivr_data = None
    if call.steps is not None:
        script = reading.campaigns[call.campaign_id].settings.script
        ivr_data = reactions.ivr_data(script, call.steps, call.sent or ())
        action = reactions.action_type(script, call.steps)
    updated, created, completed = call.updated_at, call.created_at, call.completed_at
    cost = call.cost
    return said.template % (
        call.phone,
        "null" if recording is None else _json(recording),
        call.call_id,
        updated[:10],
        updated[11:23],
        "null" if action is None else _json(action),
        created[:10],
        created[11:23],
        "null" if completed is None else f'"{completed[:10]}T{completed[11:23]}Z"',
        call.talk_seconds,
        "null" if call.clip_id is None else call.clip_id,
        "null" if ivr_data is None else _json(ivr_data),
        "[]" if call.transcript is None else _json([_spoken(one) for one in call.transcript]),
        # As `money` writes it.
        cost[:-2] if cost.endswith("00") else cost.removesuffix("0"),
    )


def _spoken(segment: Mapping[str, Any]) -> dict[str, Any]:
    """A stretch of a transcript, as the reference's sample writes it."""
    return {
        "normal_text": segment["text"],
        "channel": segment["channel"],
        "start_time": segment["start"],
        "end_time": segment["end"],
    }


@lru_cache(maxsize=4096)
def _said(
    disposition: str | None,
    script_result: str | None,
    call_end: str | None,
    state: str,
    cause: str | None,
    choice: str | None,
    status_name: str | None,
    language: Language,
    currency: str,
) -> _Said:
    came_to, dialled = outcome(disposition, script_result, call_end, state, cause)
    button = int(choice) if choice is not None and choice.isdecimal() else None
    pressed = None if button is None else ours.BUTTON.said(language).format(button)
    word = status_name or (choice if button is None else None)
    display = came_to.display(language)
    chosen = (pressed or choice) if came_to is CallStatus.user else None
    return _Said(
        status=came_to,
        template=_template(
            phone='"%s"',
            status_display=_constant(display),
            recorded_audio="%s",
            status=_constant(came_to),
            dial_status_display=_constant(None if dialled is None else dialled.display(language)),
            call_status=_constant(came_to),
            call_status_display=_constant(f"{display} ({chosen})" if chosen else display),
            dial_status=_constant(dialled),
            call_id="%d",
            user_choice=_constant(word),
            updated='"%sT%sZ"',
            user_choice_display=_constant(word or pressed),
            action_type="%s",
            created='"%sT%sZ"',
            button_num=_constant(button),
            completed="%s",
            duration="%d",
            audioclip_id="%s",
            ivr_data="%s",
            transcribing="%s",
            cost='"%s"',
            currency=_constant(currency),
        ),
    )


def _template(**fields: str) -> str:
    return "{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}"


def _constant(value: object) -> str:
    return _json(value).replace("%", "%%")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def outcome(
    disposition: str | None, script_result: str | None, call_end: str | None, state: str, cause: str | None
) -> tuple[CallStatus, DialStatus | None]:
    """What a call came to; no dial status where none is known."""
    ended_as = None if disposition is None else Disposition(disposition)
    heard = ScriptResult.none if script_result is None else ScriptResult(script_result)
    end = None if call_end is None else CallEnd(call_end)
    now_in = CallState(state)
    why = None if cause is None else Cause(cause)
    known = dial_status_is_known(now_in, ended_as)
    dialled = dial_status(ended_as, heard, end, now_in, why) if known else None
    return call_status(ended_as, heard, end), dialled


def _attempt(
    attempt: Attempt, of_call: CallStatus | None, campaign_type: CampaignType, reading: Reading
) -> dict[str, Any]:
    disposition = None if attempt.disposition is None else Disposition(attempt.disposition)
    heard = ScriptResult.none if attempt.script_result is None else ScriptResult(attempt.script_result)
    if disposition is None:
        status = CallStatus.in_process
    elif of_call is None or of_call is CallStatus.in_process:
        status = attempt_status(disposition, heard)
    else:
        status = of_call
    cause = None if attempt.cause is None else Cause(attempt.cause)
    return {
        "created": instant(attempt.started_at),
        "call_type": "incoming" if campaign_type is CampaignType.pincode_incoming else "outgoing",
        "attempt_num": attempt.attempt,
        "status": status,
        # An attempt on the line is the same to the rule as a call whose first one is.
        "dial_status": None if disposition is None else dial_status(disposition, heard, cause=cause),
        "billsec": attempt.talk_seconds,
        "cost": float(attempt.cost),
        "currency": reading.currency,
        "recorded_audio": reading.sounds.of_attempt(attempt),
    }
