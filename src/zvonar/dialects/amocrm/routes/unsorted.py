"""Who called whom nobody knows? /api/v4/leads/unsorted, until somebody takes or declines them."""

import uuid
from collections.abc import Sequence
from typing import Any

from litestar import Response, delete, get, post
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET, structs

from zvonar.core.crm import LOST, ROBOT, Card, Kind
from zvonar.dialects.amocrm import answers, writing
from zvonar.dialects.amocrm.caller import Caller
from zvonar.dialects.amocrm.errors import CHOICE, BadRequest, Fault, NotThere, ValidationFailed, fault
from zvonar.dialects.amocrm.requests import fields, lists
from zvonar.dialects.amocrm.requests import unsorted as reading
from zvonar.dialects.amocrm.requests.cards import CardWish
from zvonar.dialects.amocrm.requests.fields import Item
from zvonar.dialects.amocrm.requests.lists import Many, Range
from zvonar.dialects.amocrm.requests.unsorted import UnsortedWish
from zvonar.dialects.amocrm.routes.common import Door, Req, Service, asked, url_of
from zvonar.store import crm_entities, crm_links, crm_notes, crm_pipelines, crm_users
from zvonar.store.crm_entities import CardRow
from zvonar.store.crm_lists import Order, Slice
from zvonar.store.crm_notes import NewNote, NoteType
from zvonar.store.crm_users import Directory
from zvonar.store.db import Connection

FILTERS: dict[str, Many | Range] = {
    "uid": Many(clause="uids", param="uids", read=lists.text),
    "category": Many(clause="categories", param="categories", read=lists.text),
    "pipeline_id": Many(clause="pipelines", param="pipelines", read=lists.whole),
    "created_at": Range(clause="created", read=lists.moment),
}
CATEGORY = "sip"
_KINDS = [Kind.contact, Kind.company]


def handlers(service: Service, door: Door) -> list[HTTPRouteHandler]:
    db = service.db

    @get("/leads/unsorted")
    async def list_unsorted(request: Req) -> Response[bytes]:
        """A page of what came in."""
        caller, wanted = await door.reader(request), asked(request)
        values = {"account_id": caller.account_id, "kind": Kind.lead}
        part = wanted.slice(("kind", "unsorted"), values, filters=FILTERS, orders=crm_entities.ORDERS)
        found = await crm_entities.page(db, part)
        things = await shown(caller, found[: part.limit])
        links = wanted.links(url_of(caller, "leads/unsorted"), more=len(found) > part.limit)
        return answers.page("unsorted", things, url=links, number=wanted.page)

    @get("/leads/unsorted/{uid:str}")
    async def one_unsorted(request: Req) -> Response[bytes]:
        """One of what came in; 204 where there is none."""
        caller = await door.reader(request)
        things = await shown(caller, await named(caller, request))
        return answers.hal(things[0]) if things else answers.nothing()

    @post("/leads/unsorted/sip", status_code=200)
    async def add_unsorted(request: Req) -> Response[bytes]:
        """Calls that came in: a lead each, with its contact and company, and a note of the call."""
        caller = await door.writer(request)
        wishes = reading.new_unsorted(fields.document(await request.body()))
        async with db.transaction() as connection:
            things = await _add(connection, caller, wishes)
        return answers.written("unsorted", things, url_of(caller, "leads/unsorted/sip"), total=len(things))

    @post("/leads/unsorted/{uid:str}/accept", status_code=200)
    async def accept(request: Req) -> Response[bytes]:
        """Somebody takes a lead that came in."""
        caller = await door.writer(request)
        item, faults = _item(await request.body())
        user, status = item.integer("user_id", least=1), item.integer("status_id", least=1)
        _check(faults)
        return await leave(caller, request, user=user, status=status)

    @delete("/leads/unsorted/{uid:str}/decline", status_code=200)
    async def decline(request: Req) -> Response[bytes]:
        """Nobody wants a lead that came in: it is lost."""
        caller = await door.writer(request)
        item, faults = _item(await request.body())
        user = item.integer("user_id", least=1)
        _check(faults)
        return await leave(caller, request, user=user, status=LOST)

    async def leave(caller: Caller, request: Req, *, user: int | None, status: int | None) -> Response[bytes]:
        found = await named(caller, request)
        if not found:
            raise NotThere("There is no such unsorted lead.")
        lead = found[0]
        async with db.transaction() as connection:
            pipelines = await crm_pipelines.all_of(connection, caller.account_id)
            values: dict[str, Any] = {"status_id": status or pipelines.first(lead.pipeline_id or 0)}
            if user is not None:
                values["responsible_user_id"] = user
            await writing.change(connection, caller, Kind.lead, [_change(lead.card_id, values)])
        [thing] = await shown(caller, [lead])
        thing["pipeline_id"] = lead.pipeline_id
        return answers.hal(thing)

    async def named(caller: Caller, request: Req) -> list[CardRow]:
        uid = str(request.path_params["uid"])
        if "\0" in uid:
            return []
        values = {"account_id": caller.account_id, "kind": Kind.lead, "uids": [uid]}
        part = Slice(clauses=("kind", "unsorted", "uids"), values=values, order=Order(), limit=1, skipped=0)
        return await crm_entities.page(db, part)

    async def shown(caller: Caller, leads: Sequence[CardRow]) -> list[dict[str, Any]]:
        ids = [lead.card_id for lead in leads]
        async with db.connection() as connection:
            links = await crm_links.of_cards(connection, caller.account_id, ids, _KINDS, limit=10)
        return [
            _thing(
                lead,
                caller,
                contacts=[link.to_id for link in links[lead.card_id] if link.to_kind == Kind.contact],
                companies=[link.to_id for link in links[lead.card_id] if link.to_kind == Kind.company],
            )
            for lead in leads
        ]

    return [list_unsorted, one_unsorted, add_unsorted, accept, decline]


def _item(body: bytes) -> tuple[Item, list[Fault]]:
    found = fields.document(body) if body else {}
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        raise BadRequest("The body has to be a JSON object.")
    faults: list[Fault] = []
    return Item(found, faults), faults


def _check(faults: Sequence[Fault]) -> None:
    if faults:
        raise ValidationFailed([("0", faults)])


def _change(card_id: int, values: dict[str, Any]) -> CardWish:
    return CardWish(
        request_id="0",
        card_id=card_id,
        values=values,
        fields={},
        tags=UNSET,
        add_tags=[],
        drop_tags=[],
        links=[],
    )


async def _add(
    connection: Connection, caller: Caller, wishes: Sequence[UnsortedWish]
) -> list[dict[str, Any]]:
    """Every card of the wishes, linked, with notes of the calls. Within a transaction. Raises ValidationFailed."""
    pipelines = await crm_pipelines.all_of(connection, caller.account_id)
    wrong: list[tuple[str | int, Sequence[Fault]]] = []
    leads = []
    for wish in wishes:
        pipeline = pipelines.main.pipeline_id if wish.pipeline_id is None else wish.pipeline_id
        stage = pipelines.unsorted(pipeline) if pipelines.has(pipeline) else None
        if stage is None:
            wrong.append((wish.request_id, [fault(CHOICE, "pipeline_id")]))
            continue
        values = {**wish.lead.values, "pipeline_id": pipeline, "status_id": stage}
        leads.append(structs.replace(wish.lead, values=values))
    if wrong:
        raise ValidationFailed(wrong)
    made = await writing.add(connection, caller, Kind.lead, leads)
    marked = [_marked(lead, wish, caller) for lead, wish in zip(made, wishes, strict=True)]
    await crm_entities.change(connection, caller.account_id, marked)
    others = {kind: await _others(connection, caller, kind, wishes) for kind in (Kind.contact, Kind.company)}
    links: list[tuple[Card, Card, bool]] = []
    for place, lead in enumerate(marked):
        here = Card(kind=Kind.lead, card_id=lead.card_id)
        contact, company = others[Kind.contact].get(place), others[Kind.company].get(place)
        links += [(here, other, other is contact) for other in (contact, company) if other is not None]
        if contact is not None and company is not None:
            links.append((contact, company, False))
    await writing.link(connection, caller, links)
    await _note(connection, caller, wishes, marked)
    return [
        {
            "request_id": wish.request_id,
            **_thing(
                lead,
                caller,
                contacts=[card.card_id for card in (others[Kind.contact].get(place),) if card is not None],
                companies=[card.card_id for card in (others[Kind.company].get(place),) if card is not None],
            ),
        }
        for place, (wish, lead) in enumerate(zip(wishes, marked, strict=True))
    ]


def _marked(lead: CardRow, wish: UnsortedWish, caller: Caller) -> CardRow:
    created_at = wish.created_at or caller.now
    unsorted = {
        "uid": uuid.uuid4().hex,
        "category": CATEGORY,
        "source_name": wish.source_name,
        "source_uid": wish.source_uid,
        "created_at": int(created_at.timestamp()),
        "metadata": wish.metadata,
    }
    return structs.replace(lead, unsorted=unsorted)


async def _others(
    connection: Connection, caller: Caller, kind: Kind, wishes: Sequence[UnsortedWish]
) -> dict[int, Card]:
    """The contacts or companies that come with the leads, by the place of the lead."""
    wanted = [
        (place, card)
        for place, wish in enumerate(wishes)
        for card in (wish.contacts if kind == Kind.contact else wish.companies)
    ]
    if not wanted:
        return {}
    made = await writing.add(connection, caller, kind, [card for _, card in wanted])
    return {
        place: Card(kind=kind, card_id=card.card_id) for (place, _), card in zip(wanted, made, strict=True)
    }


async def _note(
    connection: Connection, caller: Caller, wishes: Sequence[UnsortedWish], leads: Sequence[CardRow]
) -> None:
    called = [wish.call_responsible for wish in wishes if wish.call_responsible is not None]
    directory = await crm_users.directory_of(
        connection,
        caller.account_id,
        user_ids={one for one in called if isinstance(one, int)},
        called={one for one in called if isinstance(one, str)},
    )
    notes = [
        _new_note(caller, wish.params, wish, lead, directory)
        for wish, lead in zip(wishes, leads, strict=True)
        if wish.params is not None
    ]
    await crm_notes.add(connection, notes)


def _new_note(
    caller: Caller, params: dict[str, Any], wish: UnsortedWish, lead: CardRow, directory: Directory
) -> NewNote:
    speaker = directory.meant(wish.call_responsible)
    by = ROBOT if speaker is None else speaker.user_id
    return NewNote(
        account_id=caller.account_id,
        card=Card(kind=Kind.lead, card_id=lead.card_id),
        note_type=NoteType.call_in,
        params=params,
        responsible_user_id=None if speaker is None else speaker.user_id,
        created_by=by,
        updated_by=by,
        created_at=wish.called_at or caller.now,
        updated_at=caller.now,
    )


def _thing(
    lead: CardRow, caller: Caller, *, contacts: Sequence[int], companies: Sequence[int]
) -> dict[str, Any]:
    told = lead.unsorted or {}
    return {
        **{name: told.get(name) for name in ("uid", "source_uid", "source_name", "category")},
        "pipeline_id": lead.pipeline_id,
        "created_at": told.get("created_at"),
        "metadata": told.get("metadata"),
        "account_id": caller.account_id,
        "_links": answers.link(caller.base, "leads/unsorted", told.get("uid")),
        "_embedded": {
            "contacts": [_embedded(caller, "contacts", card_id) for card_id in contacts],
            "leads": [_embedded(caller, "leads", lead.card_id)],
            "companies": [_embedded(caller, "companies", card_id) for card_id in companies],
        },
    }


def _embedded(caller: Caller, name: str, card_id: int) -> dict[str, Any]:
    return {"id": card_id, "_links": answers.link(caller.base, name, card_id)}
