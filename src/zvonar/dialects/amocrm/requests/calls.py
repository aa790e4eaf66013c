"""Which calls does somebody tell of? The items of POST /api/v4/calls, every parameter of the reference."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from zvonar.core.crm import ROBOT
from zvonar.dialects.amocrm import limits
from zvonar.dialects.amocrm.errors import CHOICE, PHONE, TYPE
from zvonar.dialects.amocrm.requests import calls_fast
from zvonar.dialects.amocrm.requests.calls_fast import PlainCall
from zvonar.dialects.amocrm.requests.fields import Item, RequestId, batch, document, is_integer

DIRECTIONS = {"inbound": "call_in", "outbound": "call_out"}
STATUSES = range(1, 9)  # the reference's 1 to 7, and the 8 of the vendor's SDK: undefined


class Call(Struct, frozen=True, kw_only=True):
    """One call, as far as it can be read without looking anything up."""

    request_id: RequestId
    inbound: bool
    phone: str
    params: dict[str, Any]  # of the note, in the order of the wire
    call_responsible: str | int | None  # a user's id, number or name
    responsible_user_id: int | None
    created_by: int | None
    updated_by: int | None
    created_at: datetime | None
    updated_at: datetime | None

    def users(self) -> set[int]:
        """Whom it names by id as somebody who has to be a user of the account."""
        named = {self.responsible_user_id, self.created_by, self.updated_by}
        return {user for user in named if user is not None and user != ROBOT}


def calls(body: bytes, *, strict: bool) -> list[Call]:
    """The calls of a batch; none is taken where one is wrong. Raises BadRequest, ValidationFailed."""
    if not strict and (plain := calls_fast.plain(body)) is not None:
        return [_plain(call, str(place)) for place, call in enumerate(plain)]
    return batch(document(body), _call, strict=strict)


def _plain(call: PlainCall, place: str) -> Call:
    return Call(
        request_id=place if call.request_id is None else call.request_id,
        inbound=call.direction == "inbound",
        phone=call.phone,
        params=calls_fast.params(call),
        call_responsible=call.call_responsible,
        responsible_user_id=call.responsible_user_id,
        created_by=call.created_by,
        updated_by=call.updated_by,
        created_at=calls_fast.moment(call.created_at),
        updated_at=calls_fast.moment(call.updated_at),
    )


def _call(item: Item, request_id: RequestId) -> Call:
    direction = item.chosen("direction", tuple(DIRECTIONS), needed=True)
    duration = item.integer("duration", needed=True, most=limits.MAX_DURATION)
    source = item.text("source", needed=True, blank=False)
    phone = item.text("phone", needed=True, blank=False)
    if phone is not None and not may_be_phone(phone):
        item.wrong(PHONE, "phone")
    status = item.integer("call_status")
    if status is not None and status not in STATUSES:
        item.wrong(CHOICE, "call_status")
    params: dict[str, Any] = {
        "uniq": item.text("uniq"),
        "duration": duration,
        "source": source,
        "link": item.link("link"),
        "phone": phone,
        "call_result": item.text("call_result", most=limits.MAX_TEXT),
        "call_status": status,
        "call_responsible": responsible(item),
    }
    return Call(
        request_id=request_id,
        inbound=direction == "inbound",
        phone=phone or "",
        params={name: value for name, value in params.items() if value is not None},
        call_responsible=params["call_responsible"],
        responsible_user_id=item.integer("responsible_user_id", least=1),
        created_by=item.integer("created_by"),
        updated_by=item.integer("updated_by"),
        created_at=item.moment("created_at"),
        updated_at=item.moment("updated_at"),
    )


def responsible(item: Item) -> str | int | None:
    """Who spoke: a user's id, number or name, or nobody. By the reference null is one of its values, so no fault."""
    value = item.values.get("call_responsible")
    if value is None:
        return None
    if is_integer(value):
        return item.integer("call_responsible")
    if isinstance(value, str):
        return item.text("call_responsible") or None
    item.wrong(TYPE, "call_responsible", type="string|int|null")
    return None


def may_be_phone(phone: str) -> bool:
    """Whether this is a number as people write it."""
    # Digits and what people put between them. With a letter it is no number, and its digits might be another's.
    return any(map(_is_digit, phone)) and not any(map(str.isalpha, phone)) and len(phone) <= limits.MAX_PHONE


def _is_digit(character: str) -> bool:
    return "0" <= character <= "9"
