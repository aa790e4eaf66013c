"""How is one of our calls told to amoCRM? An attempt as an item of `POST /api/v4/calls`."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from zvonar.core.result import Disposition, ScriptResult
from zvonar.delivery.crm.outcomes import told
from zvonar.delivery.crm.settings import CrmSettings
from zvonar.speech.links import RecordingLinks


class Called(Struct, frozen=True, kw_only=True):
    """An attempt that has ended."""

    account_id: int
    call_id: int
    attempt: int
    phone: str
    started_at: datetime
    disposition: Disposition
    script_result: ScriptResult
    choice: str | None
    status_name: str | None
    talk_seconds: int
    caller_id: str | None
    transferred_to: str | None  # E.164
    recording: str | None


class Links(Struct, frozen=True, kw_only=True):
    """Where recordings play for everybody."""

    base: str  # https://calls.example.com
    makes: RecordingLinks


def uniq(tag: str, call_id: int, attempt: int) -> str:
    """What a call is known by in the CRM."""
    return f"{tag}-{call_id}.{attempt}"


def item(called: Called, *, tag: str, settings: CrmSettings, links: Links | None) -> bytes:
    """The bytes of one item; `request_id` is the `uniq`, so that answers are matched to calls."""
    status, result = told(
        called.disposition,
        called.script_result,
        choice=called.choice,
        status_name=called.status_name,
        mapping=settings.mapping,
        language=settings.language,
    )
    known = uniq(tag, called.call_id, called.attempt)
    made: dict[str, Any] = {
        "direction": "outbound",
        "uniq": known,
        "duration": called.talk_seconds,
        "source": settings.source,
        "phone": called.phone,
        "call_result": result,
        "call_status": int(status),
        "created_at": int(called.started_at.timestamp()),
        "request_id": known,
    }
    # What is not known is left out: null is refused here and there.
    if called.recording is not None and settings.recording and links is not None:
        days = settings.recording_days
        until = called.started_at + timedelta(days=days) if days is not None else None
        made["link"] = links.base + links.makes.path(
            called.account_id, called.call_id, called.attempt, until=until
        )
    made.update(_responsible(called, settings))
    return msgspec.json.encode(made)


def _responsible(called: Called, settings: CrmSettings) -> Mapping[str, Any]:
    """Whose call it is: the employee's to whom it was put through, else theirs whose number it came from."""
    for number in (called.transferred_to, called.caller_id):
        if number is not None and number in settings.employees:
            return _user(settings.employees[number])
    if settings.responsible is not None:
        return _user(settings.responsible)
    # The CRM may know the number of an employee whom we do not know.
    return {"call_responsible": called.transferred_to} if called.transferred_to is not None else {}


def _user(user_id: int) -> Mapping[str, Any]:
    # An id goes as a number: as text it is taken for a name.
    return {"call_responsible": user_id, "responsible_user_id": user_id, "created_by": user_id}
