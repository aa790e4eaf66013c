"""What do an account's webhooks hear? The vendor's forms: a note or a card, key by key in brackets."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from zvonar.core.crm import Kind
from zvonar.core.schedule import zone_of
from zvonar.dialects.amocrm import custom_fields
from zvonar.dialects.amocrm.answers import unix
from zvonar.store import crm_hooks
from zvonar.store.crm_entities import CardRow
from zvonar.store.crm_notes import NoteType
from zvonar.store.crm_tasks import Task
from zvonar.store.outbox import Event, Rendered

KIND: Final = "amocrm.hook"  # of the deliveries
_FORM: Final = "application/x-www-form-urlencoded"

# How a kind is called in these forms, and its number. Companies are a sort of contacts there [G for their notes].
_NAMES: Final = {
    Kind.contact: ("contacts", 1),
    Kind.lead: ("leads", 2),
    Kind.company: ("contacts", 3),
    Kind.customer: ("customers", 12),
}
_NOTE_TYPES: Final = {
    NoteType.common: 4,
    NoteType.attachment: 5,
    NoteType.call_in: 10,
    NoteType.call_out: 11,
    NoteType.geolocation: 17,
    NoteType.service_message: 25,
    NoteType.extended_service_message: 25,
    NoteType.invoice_paid: 25,
    NoteType.message_cashier: 25,
    NoteType.sms_in: 102,
    NoteType.sms_out: 103,
}
_WHATS: Final = ("add", "update", "delete", "restore", "responsible")
SETTINGS: Final = frozenset(
    {
        *(f"{what}_{kind}" for what in (*_WHATS, "note") for kind in Kind),
        *(f"{what}_task" for what in _WHATS),
        "status_lead",
        "status_customer",
    }
)


class _Told(Struct, frozen=True, kw_only=True):
    """The payload of an event."""

    setting: str
    kind: Kind | None
    card_id: int | None
    facts: dict[str, Any]
    addresses: list[str]
    timezone: str


class _Note(Struct, frozen=True, kw_only=True):
    note_id: int
    note_type: NoteType
    params: dict[str, Any]
    responsible_user_id: int
    created_by: int
    updated_by: int
    created_at: datetime
    updated_at: datetime


def render(event: Event) -> Sequence[Rendered]:
    """One request to each address that wanted to hear of this when it happened."""
    if event.kind != crm_hooks.KIND:
        return ()
    told = msgspec.convert(event.payload, _Told, strict=False)
    body = urlencode([*_body(told, event), *_account(event)]).encode()
    subject = f"crm/{told.kind}/{told.card_id}" if told.kind is not None else f"crm/{told.setting}"
    return [
        Rendered(kind=KIND, address=address, order_key=subject, content_type=_FORM, body=body)
        for address in told.addresses
    ]


def _account(event: Event) -> Iterable[tuple[str, str]]:
    yield "account[id]", str(event.account_id)
    yield "account[subdomain]", f"account{event.account_id}"


def _body(told: _Told, event: Event) -> Iterable[tuple[str, str]]:
    what, _, about = told.setting.partition("_")
    if about == "task":
        return _pairs(f"task[{what}][0]", _task(msgspec.convert(told.facts, Task, strict=False), event))
    assert told.kind is not None
    name, number = _NAMES[told.kind]
    if what == "note":
        note = msgspec.convert(told.facts, _Note, strict=False)
        return _pairs(f"{name}[note][0][note]", _note(note, told, number, zone_of(told.timezone)))
    card = msgspec.convert(told.facts, CardRow, strict=False)
    old = {key: value for key, value in told.facts.items() if key.startswith("old_")}
    return _pairs(f"{name}[{what}][0]", {**_card(card, event), **old})


def _note(note: _Note, told: _Told, number: int, zone: ZoneInfo) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "note_type": _NOTE_TYPES[note.note_type],
        "element_type": number,
        "element_id": told.card_id,
        "id": note.note_id,
        "date_create": _local(note.created_at, zone),
        "timestamp_x": _local(note.updated_at, zone),
        "main_user_id": note.responsible_user_id,
        "created_by": note.created_by,
        "modified_by": note.updated_by,
        "text": _text(note),
    }
    if "source" in note.params:
        source = {"event_source": {"author_name": note.params["source"]}}
        shown["metadata"] = msgspec.json.encode(source).decode()
    return shown


def _text(note: _Note) -> str:
    params = note.params
    if note.note_type not in (NoteType.call_in, NoteType.call_out):
        text = params.get("text")
        return text if isinstance(text, str) else msgspec.json.encode(params).decode()
    call: dict[str, Any] = {
        "UNIQ": params.get("uniq", ""),
        "LINK": params.get("link", ""),
        "PHONE": params.get("phone", ""),
        "DURATION": params.get("duration", 0),
        "SRC": params.get("source", ""),
        **{name: params[name] for name in ("call_status", "call_result") if name in params},
    }
    return msgspec.json.encode(call).decode()


def _card(card: CardRow, event: Event) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": card.card_id,
        "name": card.name,
        "responsible_user_id": card.responsible_user_id,
        "group_id": 0,
        "date_create": unix(card.created_at),
        "last_modified": unix(card.updated_at),
        "created_user_id": card.created_by,
        "modified_user_id": card.updated_by,
        "account_id": event.account_id,
        "created_at": unix(card.created_at),
        "updated_at": unix(card.updated_at),
    }
    match Kind(card.kind):
        case Kind.lead:
            lead = {"status_id": card.status_id, "price": card.price, "pipeline_id": card.pipeline_id}
            return {**shown, **lead}
        case Kind.customer:
            return {**shown, "next_price": card.price, "next_date": unix(card.next_date)}
        case Kind.contact | Kind.company as kind:
            shown["type"] = str(kind)
            shown["custom_fields"] = _fields(kind, card)
            return shown


def _fields(kind: Kind, card: CardRow) -> list[dict[str, Any]]:
    return [
        {
            "id": field["field_id"],
            "name": field["field_name"],
            "code": field["field_code"],
            "values": [{"value": one["value"], "enum": one["enum_id"]} for one in field["values"]],
        }
        for field in custom_fields.values(kind, card.fields) or []
    ]


def _task(task: Task, event: Event) -> dict[str, Any]:
    return {
        "id": task.task_id,
        "element_id": task.card_id,
        "element_type": None if task.kind is None else _NAMES[task.kind][1],
        "task_type": task.task_type_id,
        "text": task.text,
        "status": int(task.is_completed),
        "account_id": event.account_id,
        "responsible_user_id": task.responsible_user_id,
        "created_user_id": task.created_by,
        "modified_user_id": task.updated_by,
        "complete_till": unix(task.complete_till),
        "date_create": unix(task.created_at),
        "last_modified": unix(task.updated_at),
    }


def _pairs(path: str, value: Any) -> Iterable[tuple[str, str]]:
    """A document as keys in brackets."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _pairs(f"{path}[{key}]", inner)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _pairs(f"{path}[{place}]", inner)
    else:
        yield path, "" if value is None else str(value)


def _local(at: datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).replace(tzinfo=None).isoformat(" ", "seconds")
