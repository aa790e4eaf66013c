"""What does a UIS client read about sessions? Rows and metadata, times in the account's zone."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Raw

from zvonar.core.result import Disposition, ScriptResult
from zvonar.dialects.uis import outcomes
from zvonar.dialects.uis.errors import RpcError
from zvonar.dialects.uis.fields import COUNTRIES, FIELDS
from zvonar.reports.query import Page, Session

_NULL = Raw(b"null")


def local(at: datetime, zone: ZoneInfo) -> str:
    """`2026-11-22 14:37:50`, the second in which it was."""
    return at.astimezone(zone).replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")


def row(session: Session, fields: Sequence[str], zone: ZoneInfo) -> dict[str, Any]:
    """A session as these fields. What is not known is null, an array is empty."""
    script_result = ScriptResult(session.script_result)
    own = session.own_phone
    known: dict[str, Any] = {
        "id": session.session_id,
        "start_time": local(session.start_time, zone),
        "finish_time": local(session.finish_time, zone),
        "virtual_phone_number": None if own is None else own.removeprefix("+"),
        "is_transfer": outcomes.is_transfer(script_result),
        "finish_reason": outcomes.finish_reason(Disposition(session.disposition), script_result),
        "direction": session.direction,
        "source": outcomes.SOURCES[session.direction],
        "communication_id": session.session_id,
        "communication_type": "call",
        "is_lost": session.is_lost,
        "cpn_country_name": COUNTRIES.get(session.country or ""),
        "cpn_country_id": session.country,
        "wait_duration": session.wait_seconds,
        "total_wait_duration": session.wait_seconds,
        "talk_duration": session.talk_seconds,
        "clean_talk_duration": session.talk_seconds,
        "total_duration": session.total_seconds,
        "postprocess_duration": 0,
        "auto_call_campaign_name": session.details.get("campaign_name"),
        "contact_phone_number": session.contact_phone.removeprefix("+"),
    }
    return {
        name: known[name] if name in known else [] if FIELDS[name].type == "array" else None
        for name in fields
    }


def report(id: Raw, page: Page, fields: Sequence[str], zone: ZoneInfo, limits: dict[str, int]) -> bytes:
    """The answer of a report."""
    metadata = {"total_items": page.total, "version": None, "limits": limits}
    data = [row(session, fields, zone) for session in page.rows]
    return msgspec.json.encode({"jsonrpc": "2.0", "id": id, "result": {"metadata": metadata, "data": data}})


def failed(id: Raw | None, error: RpcError, limits: dict[str, int] | None) -> bytes:
    """The answer of a request that came to nothing. Limits are there once it was known whose request it is."""
    metadata = None if limits is None else {"limits": limits}
    return msgspec.json.encode({"jsonrpc": "2.0", "id": id or _NULL, "error": error.document(metadata)})
