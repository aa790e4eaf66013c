"""What is to be noted? The items of writes to notes of cards."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from zvonar.dialects.amocrm import limits
from zvonar.dialects.amocrm.errors import CHOICE, TYPE
from zvonar.dialects.amocrm.requests.calls import STATUSES, responsible
from zvonar.dialects.amocrm.requests.fields import Item, RequestId, batch
from zvonar.store.crm_notes import NoteType

CALLS = (NoteType.call_in, NoteType.call_out)
# Where these notes have their text, it is needed.
TEXTS = (NoteType.common, NoteType.sms_in, NoteType.sms_out)


class NoteWish(Struct, frozen=True, kw_only=True):
    """A note to be added, or what is to change of one."""

    request_id: RequestId
    note_id: int | None
    entity_id: int | None  # of the card; None where the path has it
    note_type: NoteType | None
    params: dict[str, Any] | None
    responsible_user_id: int | None
    created_by: int | None
    updated_by: int | None
    created_at: datetime | None
    updated_at: datetime | None


def new_notes(found: Any, *, on_one_card: bool) -> list[NoteWish]:
    """Notes to be added. Raises BadRequest, ValidationFailed."""

    def read(item: Item, request_id: RequestId) -> NoteWish:
        kind = item.chosen("note_type", tuple(NoteType), needed=True)
        entity_id = None if on_one_card else item.integer("entity_id", needed=True, least=1)
        inner = item.inner("params", needed=True)
        params = None if inner is None or kind is None else _params(inner, NoteType(kind))
        return _wish(item, request_id, entity_id=entity_id, kind=kind, params=params)

    return batch(found, read)


def changed_notes(found: Any) -> list[NoteWish]:
    """Notes to be changed, each by its id. Raises BadRequest, ValidationFailed."""

    def read(item: Item, request_id: RequestId) -> NoteWish:
        note_id = item.integer("id", needed=True, least=1)
        return _change(item, request_id, note_id)

    return batch(found, read)


def changed_note(found: Any, note_id: int) -> NoteWish:
    """One note to be changed. Raises BadRequest, ValidationFailed."""
    [wish] = batch([found], lambda item, request_id: _change(item, request_id, note_id))
    return wish


def _change(item: Item, request_id: RequestId, note_id: int | None) -> NoteWish:
    # Which parameters a note has depends on what it is, which is looked up later: here they are read as they come.
    inner = item.inner("params")
    params = None if inner is None else dict(inner.values)
    return _wish(item, request_id, note_id=note_id, params=params)


def changed_params(values: dict[str, Any], kind: NoteType, item: Item) -> dict[str, Any] | None:
    """Parameters of a note as they are after a change; faults go to `item`."""
    return _params(Item(values, item.faults, path="params."), kind)


def _wish(
    item: Item,
    request_id: RequestId,
    *,
    note_id: int | None = None,
    entity_id: int | None = None,
    kind: str | None = None,
    params: dict[str, Any] | None = None,
) -> NoteWish:
    return NoteWish(
        request_id=request_id,
        note_id=note_id,
        entity_id=entity_id,
        note_type=None if kind is None else NoteType(kind),
        params=params,
        responsible_user_id=item.integer("responsible_user_id", least=1),
        created_by=item.integer("created_by"),
        updated_by=item.integer("updated_by"),
        created_at=item.moment("created_at"),
        updated_at=item.moment("updated_at"),
    )


def _params(item: Item, kind: NoteType) -> dict[str, Any]:
    if kind in CALLS:
        return call_params(item)
    if kind in TEXTS:
        found: dict[str, Any] = {"text": item.text("text", needed=True, blank=False, most=limits.MAX_TEXT)}
        if kind is not NoteType.common:
            found["phone"] = item.text("phone", needed=True, blank=False, most=limits.MAX_PHONE)
        return found
    # What the other kinds hold is text and numbers; they are shown and not acted on.
    for name, value in item.values.items():
        if not isinstance(value, str | int | float | None):
            item.wrong(TYPE, name, type="string")
        elif isinstance(value, str):
            item.text(name, most=limits.MAX_TEXT)
        elif isinstance(value, int) and not isinstance(value, bool):
            item.integer(name, least=-limits.MAX_ID)
    return dict(item.values)


def call_params(item: Item) -> dict[str, Any]:
    """The parameters of a call's note. Unlike in /calls, null is none of their values: so the vendor answers."""
    strict = Item(item.values, item.faults, path=item.path(""), strict=True)
    status = strict.integer("call_status")
    if status is not None and status not in STATUSES:
        strict.wrong(CHOICE, "call_status")
    params: dict[str, Any] = {
        "uniq": strict.text("uniq"),
        "duration": strict.integer("duration", needed=True, most=limits.MAX_DURATION),
        "source": strict.text("source", needed=True),
        "link": strict.link("link"),
        "phone": strict.text("phone", needed=True, most=limits.MAX_PHONE),
        "call_result": strict.text("call_result", most=limits.MAX_TEXT),
        "call_status": status,
        "call_responsible": responsible(item),
    }
    return {name: value for name, value in params.items() if value is not None}
