"""What does a Callo client read about a call? Keys in the order of the reference's samples."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from msgspec import Struct

from zvonar.core.call import CallState
from zvonar.core.campaign import CampaignType
from zvonar.core.result import CallEnd, Cause, Disposition, ScriptResult
from zvonar.core.script import Script
from zvonar.dialects.callo import ours, reactions
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
from zvonar.store.accepting import Accepted
from zvonar.store.calls import Attempt
from zvonar.store.campaigns import Campaign
from zvonar.store.phone_lists import PhoneList
from zvonar.store.results import Counted, Result


def instant(at: datetime) -> str:
    """`2019-06-18T10:00:36.667Z`."""
    text = at.isoformat(timespec="milliseconds")
    if not text.endswith("+00:00"):
        text = at.astimezone(UTC).isoformat(timespec="milliseconds")
    return text[:-6] + "Z"


def money(amount: Decimal) -> str:
    """A cost as a string: two decimals, up to four where they say something."""
    text = f"{amount:.4f}"
    return text[:-2] if text.endswith("00") else text.removesuffix("0")


def balance(amount: Decimal) -> str:
    """A balance as a string with six decimals."""
    return f"{amount:.6f}"


def added(
    call: Accepted, *, phone: str, clip_id: int | None, created: datetime, caller_id: str | None
) -> dict[str, Any]:
    """The answer of `phones/call/`. `callerid` is null where it is not certain yet."""
    return {
        "call_id": call.call_id,
        "phone": phone,
        "balance": balance(call.balance),
        "audioclip_id": clip_id,
        "created": instant(created),
        "callerid": caller_id,
    }


def list_added(campaign_id: int, *, calls: int, phone_list_id: int) -> dict[str, Any]:
    """The answer of `phones/append/calls/`."""
    return {"campaign_id": campaign_id, "calls_count": calls, "phonelist_id": phone_list_id}


def phone_list(found: PhoneList) -> dict[str, Any]:
    """How far a list is worked off; an answer of ours, as the reference has none."""
    return {
        "phonelist_id": found.phone_list_id,
        "campaign_id": found.campaign_id,
        "status": found.state,
        "error": found.error,
        "rows_count": found.total,
        "rows_done": found.done,
        "calls_count": found.loaded,
        "rejected_count": found.rejected,
        "created": instant(found.created_at),
        "completed": None if found.finished_at is None else instant(found.finished_at),
    }


def coded(
    call: Accepted, *, phone: str, code: str, created: datetime, allowed: list[str] | None = None
) -> dict[str, Any]:
    """The answer of the three that add a call with a code. `allowed`: what may be called to confirm."""
    data: dict[str, Any] = {
        "balance": balance(call.balance),
        "call_id": call.call_id,
        "created": instant(created),
        "phone": phone,
        "pincode": code,
    }
    if allowed is not None:
        data["allowed_phones_for_call"] = allowed
    return {"status": "ok", "data": data}


class Reading(Struct, frozen=True, kw_only=True):
    """Who reads results, and what they need to know beside the calls."""

    currency: str
    language: Language
    sounds: Sounds  # where their recordings play
    campaigns: Mapping[int, Campaign]  # of the calls that are read


def results(
    calls: Sequence[Result],
    attempts: Mapping[int, Sequence[Attempt]] | None,
    *,
    reading: Reading,
    label: bool = False,
) -> list[dict[str, Any]]:
    """A list of results; with `attempts` where they were asked for, with the label where calls were asked by it."""
    rows = []
    for call in calls:
        row = _result(call, reading)
        if attempts is not None:
            campaign = reading.campaigns[call.campaign_id]
            row["attempts"] = [
                _attempt(
                    attempt,
                    row["status"] if attempt.attempt == call.attempts else None,
                    campaign.type,
                    reading,
                )
                for attempt in attempts[call.call_id]
            ]
        if label:
            row["label"] = call.label
        rows.append(row)
    return rows


def _result(call: Result, reading: Reading) -> dict[str, Any]:
    said = _said(
        call.disposition,
        call.script_result,
        call.call_end,
        call.state,
        call.cause,
        call.choice,
        call.status_name,
        reading.language,
    )
    script = None if call.steps is None else reading.campaigns[call.campaign_id].settings.script
    return {
        "phone": call.phone,
        "status_display": said.status_display,
        "recorded_audio": reading.sounds.of_call(call.call_id),
        "status": said.status,
        "dial_status_display": said.dial_status_display,
        "call_status": said.status,
        "call_status_display": said.call_status_display,
        "dial_status": said.dial_status,
        "call_id": call.call_id,
        "user_choice": said.user_choice,
        "updated": instant(call.updated_at),
        "user_choice_display": said.user_choice_display,
        "action_type": _action(script, call),
        "created": instant(call.created_at),
        "button_num": said.button_num,
        "completed": None if call.completed_at is None else instant(call.completed_at),
        "duration": call.talk_seconds,
        "audioclip_id": call.clip_id,
        "ivr_data": None if call.steps is None else reactions.ivr_data(script, call.steps),
        "transcribing": [],
        "cost": money(call.cost),
        "currency": reading.currency,
    }


def _action(script: Script | None, call: Result) -> str | None:
    return None if script is None or call.steps is None else reactions.action_type(script, call.steps)


class _Said(Struct, frozen=True, kw_only=True):
    """What of a row is the same for every call that came to the same."""

    status: str
    status_display: str
    call_status_display: str
    dial_status: int | None
    dial_status_display: str | None
    user_choice: str | None
    user_choice_display: str | None
    button_num: int | None


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
) -> _Said:
    came_to, dialled = _outcome(disposition, script_result, call_end, state, cause)
    button = int(choice) if choice is not None and choice.isdecimal() else None
    pressed = None if button is None else ours.BUTTON.said(language).format(button)
    word = status_name or (choice if button is None else None)
    display = came_to.display(language)
    chosen = (pressed or choice) if came_to is CallStatus.user else None
    return _Said(
        status=str(came_to),
        status_display=display,
        call_status_display=f"{display} ({chosen})" if chosen else display,
        dial_status=None if dialled is None else int(dialled),
        dial_status_display=None if dialled is None else dialled.display(language),
        user_choice=word,
        user_choice_display=word or pressed,
        button_num=button,
    )


def _outcome(
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
    attempt: Attempt, of_call: str | None, campaign_type: CampaignType, reading: Reading
) -> dict[str, Any]:
    disposition = None if attempt.disposition is None else Disposition(attempt.disposition)
    heard = ScriptResult.none if attempt.script_result is None else ScriptResult(attempt.script_result)
    if disposition is None:
        status = CallStatus.in_process
    elif of_call is None or of_call == CallStatus.in_process:
        status = attempt_status(disposition, heard)
    else:
        status = CallStatus(of_call)
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


def statistics(counted: Sequence[Counted], *, language: Language) -> dict[str, Any]:
    """The answer of `camp_stats/`: how many calls have each dial status, and how many each call status."""
    total = sum(count.n for count in counted)
    dialled: dict[int, int] = {}
    statuses: dict[str, int] = {}
    names: dict[str, str] = {}
    for count in counted:
        came_to, dial = _outcome(
            count.disposition, count.script_result, count.call_end, count.state, count.cause
        )
        # A call on the line waits for its dial status, so that both lists add up to the same.
        dial = dial if dial is not None else DialStatus.waiting
        dialled[dial] = dialled.get(dial, 0) + count.n
        key, name = str(came_to), came_to.display(language)
        if came_to is CallStatus.user and count.choice is not None:
            key, name = count.choice, count.status_name or _button_name(count.choice, language)
        statuses[key] = statuses.get(key, 0) + count.n
        names.setdefault(key, name)
    return {
        "status": "ok",
        "data": {
            "dial_statuses": [
                *(
                    {
                        "status": status,
                        "name": DialStatus(status).display(language),
                        "count": n,
                        "percent": _percent(n, total),
                    }
                    for status, n in sorted(dialled.items())
                ),
                _total(total, language),
            ],
            "call_statuses": [
                *(
                    {"status": key, "count": n, "name": names[key], "percent": _percent(n, total)}
                    for key, n in sorted(statuses.items())
                ),
                _total(total, language),
            ],
        },
    }


def _total(total: int, language: Language) -> dict[str, Any]:
    return {
        "status": "all",
        "count": total,
        "name": ours.TOTAL.said(language),
        "percent": _percent(total, total),
    }


def _percent(n: int, total: int) -> float | int:
    percent = round(n * 100 / total, 2) if total else 0
    return int(percent) if percent == int(percent) else percent


def _button_name(choice: str, language: Language) -> str:
    digits = ours.DIGITS.said(language).split()
    return digits[int(choice)] if choice.isdecimal() and len(choice) == 1 else choice
