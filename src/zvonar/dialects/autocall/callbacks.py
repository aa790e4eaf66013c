"""Which events does an autocall client hear of, and in which bytes? The renderer that the fan-out calls."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from zvonar.core.call import CallState
from zvonar.core.result import Disposition, ScriptResult
from zvonar.dialects.autocall import answers
from zvonar.dialects.autocall.answers import AutocallBody, CallBody, CallFact, CampaignFact
from zvonar.dialects.autocall.outcomes import call_status
from zvonar.store.outbox import Event, Rendered

KIND = "autocall"
_CONTENT_TYPE = "application/json"


class Before(Struct, frozen=True, kw_only=True):
    """What a call was until this event."""

    state: CallState
    disposition: Disposition | None
    script_result: ScriptResult | None


class CallChange(CallFact, frozen=True, kw_only=True):
    """A call's event: the call, and what has changed."""

    callback_url: str | None  # its campaign's
    before: Before
    attempt_ended: bool  # whether this change ended an attempt


def render(event: Event) -> Sequence[Rendered]:
    """The callback of an event: an `autocall` body for each status of a campaign, a `call` body for each
    attempt and each other change of a call's status. None where the campaign has no callback_url.
    """
    match event.kind:
        case "campaign":
            return _autocall(event.payload)
        case "call":
            return _call(event.payload)
        case _:
            return ()


def _autocall(payload: dict[str, Any]) -> Sequence[Rendered]:
    fact = msgspec.convert(payload, CampaignFact, strict=False)
    if fact.settings.callback_url is None:
        return ()
    body = AutocallBody(autocall=answers.autocall(fact))
    return (_rendered(fact.settings.callback_url, f"campaign/{fact.campaign_id}", body),)


def _call(payload: dict[str, Any]) -> Sequence[Rendered]:
    change = msgspec.convert(payload, CallChange, strict=False)
    if change.callback_url is None or not (change.attempt_ended or _status_changed(change)):
        return ()
    body = CallBody(call=answers.call(change))
    return (_rendered(change.callback_url, f"call/{change.call_id}", body),)


def _status_changed(change: CallChange) -> bool:
    before = change.before
    # It is called back once, and nothing of the call changes afterwards.
    recalled = change.recalled_at is not None
    return call_status(
        change.state, change.disposition, change.script_result, recalled=recalled
    ) is not call_status(before.state, before.disposition, before.script_result)


def _rendered(address: str, order_key: str, body: AutocallBody | CallBody) -> Rendered:
    return Rendered(
        kind=KIND,
        address=address,
        order_key=order_key,
        content_type=_CONTENT_TYPE,
        body=msgspec.json.encode(body),
    )
