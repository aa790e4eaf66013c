"""What was noted on cards? /api/v4/…/notes, calls included."""

from collections.abc import Sequence
from typing import Any

from litestar import Response, get, patch, post
from litestar.handlers import HTTPRouteHandler
from msgspec import structs

from zvonar.core.crm import ROBOT, Card, Kind
from zvonar.dialects.amocrm import answers, views
from zvonar.dialects.amocrm.answers import PLURAL
from zvonar.dialects.amocrm.caller import Caller
from zvonar.dialects.amocrm.errors import Fault, ValidationFailed
from zvonar.dialects.amocrm.requests import fields, lists
from zvonar.dialects.amocrm.requests import notes as reading
from zvonar.dialects.amocrm.requests.fields import Item, RequestId
from zvonar.dialects.amocrm.requests.lists import Asked, Many, Range
from zvonar.dialects.amocrm.requests.notes import NoteWish
from zvonar.dialects.amocrm.routes.common import Door, Req, Service, asked, path_id, url_of
from zvonar.dialects.amocrm.writing import Faults
from zvonar.store import crm_entities, crm_notes, crm_users
from zvonar.store.crm_notes import NewNote, Note, NoteType
from zvonar.store.db import Connection

FILTERS: dict[str, Many | Range] = {
    "id": Many(clause="ids", param="ids", read=lists.whole),
    "entity_id": Many(clause="cards", param="card_ids", read=lists.whole),
    "note_type": Many(clause="types", param="note_types", read=lists.text),
    "updated_at": Range(clause="updated", read=lists.moment),
    # Ours: the vendor has no filter by uniq.
    "uniq": Many(clause="uniq", param="uniqs", read=lists.text),
}


def handlers(service: Service, door: Door) -> list[HTTPRouteHandler]:
    return [handler for kind in Kind for handler in _of_kind(service, door, kind)]


def _of_kind(service: Service, door: Door, kind: Kind) -> list[HTTPRouteHandler]:
    name, db = PLURAL[kind], service.db

    @get(f"/{name}/notes")
    async def all_notes(request: Req) -> Response[bytes]:
        """A page of the notes of all cards of a kind."""
        caller, wanted = await door.reader(request), asked(request)
        values = {"account_id": caller.account_id, "kind": kind}
        return await page(caller, wanted, ("account", "kind"), values, (name, "notes"))

    @get(f"/{name}/{{card_id:str}}/notes")
    async def notes_of(request: Req) -> Response[bytes]:
        """A page of the notes of a card."""
        caller, wanted = await door.reader(request), asked(request)
        number = path_id(request, "card_id")
        values = {"account_id": caller.account_id, "kind": kind, "card_id": number}
        return await page(caller, wanted, ("account", "kind", "card"), values, (name, number, "notes"))

    async def page(
        caller: Caller, wanted: Asked, clauses: Sequence[str], values: dict[str, Any], path: Sequence[object]
    ) -> Response[bytes]:
        part = wanted.slice(clauses, values, filters=FILTERS, orders=crm_notes.ORDERS)
        found = await crm_notes.page(db, part)
        things = [views.note(note, caller) for note in found[: part.limit]]
        links = wanted.links(url_of(caller, *path), more=len(found) > part.limit)
        return answers.page("notes", things, url=links, number=wanted.page)

    @get([f"/{name}/notes/{{note_id:str}}", f"/{name}/{{card_id:str}}/notes/{{note_id:str}}"])
    async def one_note(request: Req) -> Response[bytes]:
        """One note; 204 where there is none."""
        caller = await door.reader(request)
        number = path_id(request, "note_id")
        found = await crm_notes.by_ids(db, caller.account_id, [number])
        there = [note for note in found if note.kind == kind]
        if "card_id" in request.path_params:
            card = path_id(request, "card_id")
            there = [note for note in there if note.card_id == card]
        return answers.hal(views.note(there[0], caller)) if there else answers.nothing()

    @post([f"/{name}/notes", f"/{name}/{{card_id:str}}/notes"], status_code=200)
    async def add_notes(request: Req) -> Response[bytes]:
        """New notes, on one card or each on its own."""
        caller = await door.writer(request)
        card = path_id(request, "card_id") if "card_id" in request.path_params else None
        document = fields.document(await request.body())
        wishes = reading.new_notes(document, on_one_card=card is not None)
        async with db.transaction() as connection:
            notes = await _new(connection, caller, kind, card, wishes)
            ids = await crm_notes.add(connection, notes)
        things = [
            {
                "id": note_id,
                "entity_id": note.card.card_id,
                "request_id": wish.request_id,
                "_links": answers.link(caller.base, name, note.card.card_id, "notes", note_id),
            }
            for wish, note, note_id in zip(wishes, notes, ids, strict=True)
        ]
        path = (name, "notes") if card is None else (name, card, "notes")
        return answers.written("notes", things, url_of(caller, *path))

    @patch([f"/{name}/notes", f"/{name}/{{card_id:str}}/notes"], status_code=200)
    async def change_notes(request: Req) -> Response[bytes]:
        """Changes of notes, each with its id."""
        caller = await door.writer(request)
        card = path_id(request, "card_id") if "card_id" in request.path_params else None
        wishes = reading.changed_notes(fields.document(await request.body()))
        things = await change(caller, card, wishes)
        path = (name, "notes") if card is None else (name, card, "notes")
        return answers.written("notes", things, url_of(caller, *path))

    @patch(
        [f"/{name}/notes/{{note_id:str}}", f"/{name}/{{card_id:str}}/notes/{{note_id:str}}"], status_code=200
    )
    async def change_note(request: Req) -> Response[bytes]:
        """A change of one note."""
        caller = await door.writer(request)
        card = path_id(request, "card_id") if "card_id" in request.path_params else None
        wish = reading.changed_note(fields.document(await request.body()), path_id(request, "note_id"))
        [thing] = await change(caller, card, [wish])
        del thing["request_id"]
        return answers.hal(thing)

    async def change(caller: Caller, card: int | None, wishes: Sequence[NoteWish]) -> list[dict[str, Any]]:
        async with db.transaction() as connection:
            changed = await _changed(connection, caller, kind, card, wishes)
            await crm_notes.change(
                connection, caller.account_id, list({n.note_id: n for n in changed}.values())
            )
        return [
            {
                "id": note.note_id,
                "entity_id": note.card_id,
                "updated_at": answers.unix(note.updated_at),
                "request_id": wish.request_id,
                "_links": answers.link(caller.base, name, note.card_id, "notes", note.note_id),
            }
            for wish, note in zip(wishes, changed, strict=True)
        ]

    return [all_notes, notes_of, one_note, add_notes, change_notes, change_note]


async def _check_users(connection: Connection, caller: Caller, wishes: Sequence[NoteWish]) -> None:
    names = ("responsible_user_id", "created_by", "updated_by")
    ids = {user for wish in wishes for name in names if (user := getattr(wish, name)) not in (None, ROBOT)}
    directory = await crm_users.directory_of(connection, caller.account_id, user_ids=ids)
    faults = Faults()
    for place, wish in enumerate(wishes):
        for name in names:
            user = getattr(wish, name)
            if user not in (None, ROBOT) and not directory.has(user):
                faults.add(place, wish.request_id, name)
    faults.check()


async def _new(
    connection: Connection, caller: Caller, kind: Kind, card: int | None, wishes: Sequence[NoteWish]
) -> list[NewNote]:
    await _check_users(connection, caller, wishes)
    ids = sorted({wish.entity_id or card or 0 for wish in wishes})
    there = await crm_entities.kinds(connection, caller.account_id, ids)
    faults = Faults()
    notes = []
    for place, wish in enumerate(wishes):
        card_id = wish.entity_id or card or 0
        if there.get(card_id) != kind:
            faults.add(place, wish.request_id, "entity_id")
        created_by = caller.user.user_id if wish.created_by is None else wish.created_by
        assert wish.note_type is not None
        assert wish.params is not None  # both are needed
        notes.append(
            NewNote(
                account_id=caller.account_id,
                card=Card(kind=kind, card_id=card_id),
                note_type=wish.note_type,
                params=wish.params,
                responsible_user_id=wish.responsible_user_id,
                created_by=created_by,
                updated_by=created_by if wish.updated_by is None else wish.updated_by,
                created_at=wish.created_at or caller.now,
                updated_at=wish.updated_at or caller.now,
            )
        )
    faults.check()
    return notes


async def _changed(
    connection: Connection, caller: Caller, kind: Kind, card: int | None, wishes: Sequence[NoteWish]
) -> list[Note]:
    await _check_users(connection, caller, wishes)
    ids = sorted({wish.note_id or 0 for wish in wishes})
    there = {
        note.note_id: note
        for note in await crm_notes.locked(connection, caller.account_id, ids)
        if note.kind == kind and card in (None, note.card_id)
    }
    faults = Faults()
    wrong: list[tuple[RequestId, Sequence[Fault]]] = []
    changed = []
    for place, wish in enumerate(wishes):
        note = there.get(wish.note_id or 0)
        if note is None:
            faults.add(place, wish.request_id, "id")
            continue
        params = note.params
        if wish.params is not None:
            item = Item({}, [])
            merged = {**note.params, **wish.params}
            params = reading.changed_params(merged, NoteType(note.note_type), item) or {}
            if item.faults:
                wrong.append((wish.request_id, item.faults))
                continue
        after = structs.replace(
            note,
            params=params,
            responsible_user_id=wish.responsible_user_id or note.responsible_user_id,
            updated_by=caller.user.user_id if wish.updated_by is None else wish.updated_by,
            updated_at=wish.updated_at or caller.now,
        )
        there[note.note_id] = after
        changed.append(after)
    faults.check()
    if wrong:
        raise ValidationFailed(wrong)
    return changed
