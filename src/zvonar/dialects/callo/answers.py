"""What does a Callo client read about a call? Keys in the order of the reference's samples."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from zvonar.core.call import CallState
from zvonar.core.result import CallEnd, Disposition, ScriptResult
from zvonar.dialects.callo.errors import Language, Text
from zvonar.dialects.callo.media import Sounds
from zvonar.dialects.callo.outcomes import CallStatus, attempt_status, call_status, dial_status
from zvonar.store.accounts import Account
from zvonar.store.calls import Attempt, Call
from zvonar.store.phone_lists import PhoneList

_BUTTON = Text(en="Button {}", ru="Кнопка {}")


def instant(at: datetime) -> str:
    """`2019-06-18T10:00:36.667Z`."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def money(amount: Decimal) -> str:
    """A cost as a string: two decimals, up to four where they say something."""
    text = f"{amount:.4f}"
    return text[:-2] if text.endswith("00") else text.removesuffix("0")


def balance(amount: Decimal) -> str:
    """A balance as a string with six decimals."""
    return f"{amount:.6f}"


def added(
    account: Account, *, call_id: int, phone: str, clip_id: int, created: datetime, caller_id: str | None
) -> dict[str, Any]:
    """The answer of `phones/call/`. `callerid` is there only when it is certain."""
    answer: dict[str, Any] = {
        "call_id": call_id,
        "phone": phone,
        "balance": balance(account.balance),
        "audioclip_id": clip_id,
        "created": instant(created),
    }
    if caller_id is not None:
        answer["callerid"] = caller_id
    return answer


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


def result(
    call: Call,
    attempts: Sequence[Attempt] | None,
    *,
    account: Account,
    language: Language,
    sounds: Sounds,
) -> dict[str, Any]:
    """One row of a list of results; with `attempts` where they were asked for."""
    disposition, script_result = _outcome(call)
    end = None if call.call_end is None else CallEnd(call.call_end)
    status = call_status(disposition, script_result, end)
    dialled = dial_status(disposition, script_result, end, CallState(call.state))
    button = int(call.choice) if call.choice is not None and call.choice.isdecimal() else None
    said = call.status_name
    if said is None and button is not None:
        said = _BUTTON.said(language).format(button)
    row: dict[str, Any] = {
        "phone": call.phone,
        "status_display": status.display(language),
        "recorded_audio": sounds.of_call(call.call_id),
        "status": status,
        "dial_status_display": dialled.display(language),
        "dial_status": dialled,
        "call_id": call.call_id,
        "user_choice": call.status_name,
        "updated": instant(call.updated_at),
        "user_choice_display": said,
        "action_type": None,
        "created": instant(call.created_at),
        "button_num": button,
        "completed": None if call.completed_at is None else instant(call.completed_at),
        "duration": call.talk_seconds,
        "audioclip_id": call.clip_id,
        "ivr_data": None,
        "transcribing": [],
        "cost": money(call.cost),
        "currency": account.currency,
    }
    if attempts is not None:
        row["attempts"] = [
            _attempt(attempt, status if attempt.attempt == call.attempts else None, account.currency, sounds)
            for attempt in attempts
        ]
    return row


def _attempt(attempt: Attempt, of_call: CallStatus | None, currency: str, sounds: Sounds) -> dict[str, Any]:
    disposition, script_result = _outcome(attempt)
    if disposition is None:
        status = CallStatus.in_process
    elif of_call is None or of_call is CallStatus.in_process:
        status = attempt_status(disposition, script_result)
    else:
        status = of_call
    return {
        "created": instant(attempt.started_at),
        "call_type": "outgoing",
        "attempt_num": attempt.attempt,
        "status": status,
        "dial_status": dial_status(disposition, script_result),
        "billsec": attempt.talk_seconds,
        "cost": float(attempt.cost),
        "currency": currency,
        "recorded_audio": sounds.of_attempt(attempt),
    }


def _outcome(of: Call | Attempt) -> tuple[Disposition | None, ScriptResult]:
    return (
        None if of.disposition is None else Disposition(of.disposition),
        ScriptResult.none if of.script_result is None else ScriptResult(of.script_result),
    )
