"""What has come in? The items of POST /api/v4/leads/unsorted/sip: a call of somebody whom nobody knows."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from zvonar.core.crm import Kind
from zvonar.dialects.amocrm import limits
from zvonar.dialects.amocrm.errors import PHONE
from zvonar.dialects.amocrm.requests.calls import may_be_phone, responsible
from zvonar.dialects.amocrm.requests.cards import CardWish, card
from zvonar.dialects.amocrm.requests.fields import Item, RequestId, batch


class UnsortedWish(Struct, frozen=True, kw_only=True):
    """A call that came in."""

    request_id: RequestId
    source_name: str
    source_uid: str
    pipeline_id: int | None
    created_at: datetime | None
    metadata: dict[str, Any]  # as it is shown
    params: dict[str, Any] | None  # of the call's note, where one is wanted
    called_at: datetime | None
    call_responsible: str | int | None
    lead: CardWish
    contacts: list[CardWish]
    companies: list[CardWish]


def new_unsorted(found: Any) -> list[UnsortedWish]:
    """Calls that came in. Raises BadRequest, ValidationFailed."""
    return batch(found, _unsorted)


def _unsorted(item: Item, request_id: RequestId) -> UnsortedWish:
    source_name = item.text("source_name", needed=True, blank=False)
    source_uid = item.text("source_uid", needed=True, blank=False)
    metadata = item.inner("metadata", needed=True)
    embedded = item.inner("_embedded")
    call = _Call(metadata, source_name or "")
    leads = _cards(embedded, "leads", Kind.lead, request_id)
    if not leads:
        leads = [card(Item({}, item.faults), request_id, Kind.lead)]
    return UnsortedWish(
        request_id=request_id,
        source_name=source_name or "",
        source_uid=source_uid or "",
        pipeline_id=item.integer("pipeline_id", least=1),
        created_at=item.moment("created_at"),
        metadata=call.shown,
        params=call.params if call.wanted else None,
        called_at=call.called_at,
        call_responsible=call.responsible,
        lead=leads[0],
        contacts=_cards(embedded, "contacts", Kind.contact, request_id),
        companies=_cards(embedded, "companies", Kind.company, request_id),
    )


class _Call:
    """What the metadata of an item say."""

    def __init__(self, item: Item | None, source: str) -> None:
        self.shown: dict[str, Any] = {}
        self.params: dict[str, Any] = {}
        self.wanted = False
        self.called_at: datetime | None = None
        self.responsible: str | int | None = None
        if item is None:
            return
        phone = item.text("phone", needed=True, blank=False)
        if phone is not None and not may_be_phone(phone):
            item.wrong(PHONE, "phone")
        called_at = item.moment("called_at", needed=True)
        self.wanted = item.flag("is_call_event_needed") or False
        self.called_at = called_at
        self.responsible = responsible(item)
        told = {
            "uniq": item.text("uniq", needed=True),
            "duration": item.integer("duration", needed=True, most=limits.MAX_DURATION),
            "service_code": item.text("service_code", needed=True, blank=False),
            "link": item.link("link"),
            "phone": phone,
            "called_at": None if called_at is None else int(called_at.timestamp()),
            "from": item.text("from", needed=True),
        }
        self.shown = {
            **told,
            "is_call_event_needed": self.wanted,
            **({} if self.responsible is None else {"call_responsible": self.responsible}),
        }
        params = {name: told[name] for name in ("uniq", "duration", "link", "phone")}
        params |= {"source": told["service_code"] or source, "call_responsible": self.responsible}
        self.params = {name: value for name, value in params.items() if value is not None}


def _cards(embedded: Item | None, name: str, kind: Kind, request_id: RequestId) -> list[CardWish]:
    items = None if embedded is None else embedded.each(name, most=1)
    return [card(one, request_id, kind) for one in items or []]
