"""What does a Callo client read about a call? Keys in the order of the reference's samples."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from zvonar.store.accepting import Accepted
from zvonar.store.phone_lists import PhoneList


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
