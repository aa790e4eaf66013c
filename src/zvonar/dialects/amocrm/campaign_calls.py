"""Whose card does a campaign's call belong to? Each that was tried and has ended becomes a note like those of clients.

It happens where events become deliveries, in the same transaction: once for each, and far from the dialling.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from zvonar.core.call import CallState
from zvonar.core.crm import ROBOT, tail
from zvonar.core.result import Disposition, ScriptResult
from zvonar.delivery.crm.outcomes import Language, told
from zvonar.store import crm_logging
from zvonar.store.crm_logging import LoggedCall
from zvonar.store.crm_notes import NoteType
from zvonar.store.db import Connection
from zvonar.store.outbox import Event

SOURCE: Final = "Zvonar"
LANGUAGE: Final[Language] = "ru"  # of sentences on cards


class _Before(Struct, frozen=True, kw_only=True):
    state: CallState


class _Tried(Struct, frozen=True, kw_only=True):
    started_at: datetime


class _Change(Struct, frozen=True, kw_only=True):
    """A call's event, as far as it matters here."""

    account_id: int
    call_id: int
    phone: str
    state: CallState
    disposition: Disposition | None
    script_result: ScriptResult | None
    choice: str | None
    status_name: str | None
    talk_seconds: int  # of all attempts
    attempts: list[_Tried]
    before: _Before


async def record(connection: Connection, events: Sequence[Event]) -> None:
    """Note the calls that have ended with these events, within the transaction of their fan-out."""
    calls = [call for event in events if event.kind == "call" and (call := _call(event)) is not None]
    if calls:
        await crm_logging.log_within(connection, calls)


def _call(event: Event) -> LoggedCall | None:
    change = msgspec.convert(event.payload, _Change, strict=False)
    if change.before.state.final or not change.state.final or not change.attempts:
        return None  # it goes on, or nobody's telephone ever rang
    if change.disposition is None:
        return None
    # As they are told to a company's own amoCRM.
    status, sentence = told(
        change.disposition,
        change.script_result or ScriptResult.none,
        choice=change.choice,
        status_name=change.status_name,
        mapping={},
        language=LANGUAGE,
    )
    return LoggedCall(
        account_id=change.account_id,
        tail=tail(change.phone),
        note_type=NoteType.call_out,
        params={
            "uniq": str(change.call_id),
            "duration": change.talk_seconds,
            "source": SOURCE,
            "phone": change.phone,
            "call_result": sentence,
            "call_status": int(status),
        },
        responsible_user_id=None,
        created_by=ROBOT,
        updated_by=ROBOT,
        created_at=change.attempts[-1].started_at,
        updated_at=event.at,
    )
