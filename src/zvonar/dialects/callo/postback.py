"""What does a Callo client's own address hear of a call that has ended? A template of a URL, filled with `{ct_…}`."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from zvonar.core.call import CallState
from zvonar.core.campaign import Postback, PostbackMethod
from zvonar.core.result import CallEnd, Cause, Disposition, ScriptResult
from zvonar.dialects.callo.answers import instant
from zvonar.dialects.callo.outcomes import call_status, dial_status
from zvonar.store.outbox import Event, Rendered

KIND = "callo.postback"
_FORM = "application/x-www-form-urlencoded"

_PLACEHOLDER = re.compile(r"\{(ct_\w+)\}")


class _Before(Struct, frozen=True, kw_only=True):
    """What a call was until this event."""

    state: CallState


class _Tried(Struct, frozen=True, kw_only=True):
    """An attempt, as far as it matters here."""

    cause: Cause | None


class _Change(Struct, frozen=True, kw_only=True):
    """A call's event: the call, and what has changed."""

    call_id: int
    campaign_id: int
    phone: str
    state: CallState
    call_end: CallEnd | None
    disposition: Disposition | None
    script_result: ScriptResult | None
    choice: str | None
    status_name: str | None
    talk_seconds: int
    completed_at: datetime | None
    postback: Postback | None
    attempts: list[_Tried]
    before: _Before
    attempt_ended: bool  # whether this change ended an attempt


def render(event: Event) -> Sequence[Rendered]:
    """The request that follows a call's final status or, where its campaign wants that, each of its attempts."""
    if event.kind != "call" or event.payload.get("postback") is None:
        return ()
    change = msgspec.convert(event.payload, _Change, strict=False)
    wanted = change.postback
    ended = change.state.final and not change.before.state.final
    if wanted is None or not (ended or (wanted.every_attempt and change.attempt_ended)):
        return ()
    values = _values(change)
    posted = wanted.method is PostbackMethod.post
    return (
        Rendered(
            kind=KIND,
            address=wanted.url,
            order_key=f"call/{change.call_id}",
            content_type=_FORM,
            # Receivers read the query even of a POST; what the template leaves out is in the body.
            body=urlencode(values).encode() if posted else b"",
            method="POST" if posted else "GET",
            url=filled(wanted.url, values),
        ),
    )


def filled(template: str, values: Mapping[str, str]) -> str:
    """A URL whose placeholders are filled, percent-encoded; unknown ones are empty."""
    return _PLACEHOLDER.sub(lambda name: quote(values.get(name[1], ""), safe=""), template)


def _values(change: _Change) -> Mapping[str, str]:
    heard = change.script_result or ScriptResult.none
    status = call_status(change.disposition, heard, change.call_end)
    cause = change.attempts[-1].cause if change.attempts else None
    dialled = dial_status(change.disposition, heard, change.call_end, change.state, cause)
    pressed = change.choice is not None and change.choice.isdecimal()
    word = change.status_name or (None if pressed else change.choice)
    return {
        "ct_campaign_id": str(change.campaign_id),
        "ct_phone": change.phone,
        "ct_call_id": str(change.call_id),
        "ct_completed": "" if change.completed_at is None else instant(change.completed_at),
        "ct_status": str(status),
        "ct_dial_status": str(int(dialled)),
        "ct_button_num": str(int(change.choice)) if pressed and change.choice is not None else "",
        "ct_duration": str(float(change.talk_seconds)),
        "ct_user_choice": word or "",
    }
