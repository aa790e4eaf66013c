"""Can a whole batch of calls be read at once? Plain ones can; whatever else there is takes the long way, item by item.

Whoever telephones much sends batches in which nothing is odd. What is taken here has to be taken by the long way with
the same result; what is not taken here is not wrong yet.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from zvonar.dialects.amocrm import limits

Text = Annotated[str, Meta(max_length=limits.MAX_NAME)]
Number = Annotated[str, Meta(max_length=limits.MAX_PHONE, pattern=r"^[-+() .]*[0-9][-+() .0-9]*$")]
Moment = Annotated[int, Meta(ge=0, le=limits.MAX_MOMENT)]
User = Annotated[int, Meta(ge=0, le=limits.MAX_ID)]
Link = Annotated[
    str, Meta(max_length=limits.MAX_LINK, pattern=r"^https?://[A-Za-z0-9][A-Za-z0-9.-]*(?:/[!-~]*)?$")
]


class PlainCall(Struct, frozen=True, kw_only=True):
    """A call with nothing odd about it."""

    direction: Literal["inbound", "outbound"]
    duration: Annotated[int, Meta(ge=0, le=limits.MAX_DURATION)]
    source: Annotated[str, Meta(max_length=limits.MAX_NAME, pattern=r"\S")]
    phone: Number
    uniq: Text | None = None
    link: Link | None = None
    call_result: Text | None = None
    call_status: Annotated[int, Meta(ge=1, le=8)] | None = None
    call_responsible: Annotated[str, Meta(max_length=limits.MAX_NAME, min_length=1)] | User | None = None
    responsible_user_id: Annotated[int, Meta(ge=1, le=limits.MAX_ID)] | None = None
    created_by: User | None = None
    updated_by: User | None = None
    created_at: Moment | None = None
    updated_at: Moment | None = None
    request_id: Text | None = None


Batch = Annotated[list[PlainCall], Meta(min_length=1, max_length=limits.MAX_BATCH)]
_decoder = msgspec.json.Decoder(Batch)


def plain(body: bytes) -> list[PlainCall] | None:
    """The calls of a body, where all of them are plain."""
    if b"\\u0000" in body:
        return None
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def params(call: PlainCall) -> dict[str, Any]:
    """The parameters of the note, in the order of the wire."""
    found: dict[str, Any] = {}
    if call.uniq is not None:
        found["uniq"] = call.uniq
    found["duration"] = call.duration
    found["source"] = call.source
    if call.link is not None:
        found["link"] = call.link
    found["phone"] = call.phone
    if call.call_result is not None:
        found["call_result"] = call.call_result
    if call.call_status is not None:
        found["call_status"] = call.call_status
    if call.call_responsible is not None:
        found["call_responsible"] = call.call_responsible
    return found


def moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
