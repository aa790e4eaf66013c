"""How are cards read, added, changed and linked? /api/v4/contacts, companies, leads and customers."""

from collections.abc import Sequence
from typing import Any

from litestar import Response, get, patch, post
from litestar.handlers import HTTPRouteHandler

from zvonar.core.crm import Kind, tail
from zvonar.dialects.amocrm import answers, limits, views, writing
from zvonar.dialects.amocrm.answers import PLURAL
from zvonar.dialects.amocrm.caller import Caller
from zvonar.dialects.amocrm.errors import BadRequest
from zvonar.dialects.amocrm.requests import cards as reading
from zvonar.dialects.amocrm.requests import fields, lists
from zvonar.dialects.amocrm.requests.cards import CardWish
from zvonar.dialects.amocrm.requests.lists import Asked, Many, Range
from zvonar.dialects.amocrm.routes.common import Door, Req, Service, asked, path_id, url_of
from zvonar.store import crm_entities, crm_links, crm_tags
from zvonar.store.crm_entities import CardRow
from zvonar.store.crm_lists import Slice
from zvonar.store.db import Connection

FILTERS: dict[str, Many | Range] = {
    "id": Many(clause="ids", param="ids", read=lists.whole),
    "name": Many(clause="names", param="names", read=lists.text),
    "created_by": Many(clause="created_by", param="creators", read=lists.whole),
    "updated_by": Many(clause="updated_by", param="updaters", read=lists.whole),
    "responsible_user_id": Many(clause="responsible_user_id", param="responsibles", read=lists.whole),
    "created_at": Range(clause="created", read=lists.moment),
    "updated_at": Range(clause="updated", read=lists.moment),
}
OF_LEADS: dict[str, Many | Range] = {
    "closed_at": Range(clause="closed", read=lists.moment),
    "price": Range(clause="price", read=lists.whole),
    "pipeline_id": Many(clause="pipelines", param="pipelines", read=lists.whole),
}
OF_CUSTOMERS: dict[str, Many | Range] = {
    "next_date": Range(clause="next_date", read=lists.moment),
    "next_price": Range(clause="price", read=lists.whole),
}
# What of the linked is shown unasked, and what `with` may ask for.
ALWAYS = {
    Kind.contact: (Kind.company,),
    Kind.company: (),
    Kind.lead: (Kind.company,),
    Kind.customer: (),
}
ON_DEMAND = {
    Kind.contact: (Kind.lead, Kind.customer),
    Kind.company: (Kind.contact, Kind.lead, Kind.customer),
    Kind.lead: (Kind.contact,),
    Kind.customer: (Kind.contact, Kind.company),
}
_MOST_LINKS = 500  # of a kind, shown with one card


def handlers(service: Service, door: Door) -> list[HTTPRouteHandler]:
    return [handler for kind in Kind for handler in _of_kind(service, door, kind)]


def _of_kind(service: Service, door: Door, kind: Kind) -> list[HTTPRouteHandler]:
    name, db = PLURAL[kind], service.db

    @get(f"/{name}")
    async def list_cards(request: Req) -> Response[bytes]:
        """A page of cards."""
        caller, wanted = await door.reader(request), asked(request)
        part = _slice(wanted, kind, caller)
        found = await crm_entities.page(db, part)
        shown = found[: part.limit]
        async with db.connection() as connection:
            things = await shown_cards(connection, caller, kind, shown, wanted.embed)
        links = wanted.links(url_of(caller, name), more=len(found) > part.limit)
        return answers.page(name, things, url=links, number=wanted.page)

    @get(f"/{name}/{{card_id:str}}")
    async def one_card(request: Req) -> Response[bytes]:
        """One card; 204 where there is none."""
        caller, wanted = await door.reader(request), asked(request)
        number = path_id(request, "card_id")
        async with db.connection() as connection:
            found = await crm_entities.by_ids(connection, caller.account_id, kind, [number])
            things = await shown_cards(connection, caller, kind, list(found.values()), wanted.embed)
        return answers.hal(things[0]) if things else answers.nothing()

    @post(f"/{name}", status_code=200)
    async def add_cards(request: Req) -> Response[bytes]:
        """New cards."""
        caller = await door.writer(request)
        wishes = reading.new_cards(fields.document(await request.body()), kind)
        _check_links(wishes, kind)
        async with db.transaction() as connection:
            made = await writing.add(connection, caller, kind, wishes)
        things = [
            {
                "id": card.card_id,
                "is_deleted": False,
                "request_id": wish.request_id,
                "_links": answers.link(caller.base, name, card.card_id),
            }
            for wish, card in zip(wishes, made, strict=True)
        ]
        return answers.written(name, things, url_of(caller, name))

    @patch(f"/{name}", status_code=200)
    async def change_cards(request: Req) -> Response[bytes]:
        """Changes of cards, each with its id."""
        caller = await door.writer(request)
        wishes = reading.changed_cards(fields.document(await request.body()), kind)
        things = await change(caller, wishes)
        return answers.written(name, things, url_of(caller, name))

    @patch(f"/{name}/{{card_id:str}}", status_code=200)
    async def change_card(request: Req) -> Response[bytes]:
        """A change of one card."""
        caller = await door.writer(request)
        wish = reading.changed_card(fields.document(await request.body()), kind, path_id(request, "card_id"))
        [thing] = await change(caller, [wish])
        del thing["request_id"]
        return answers.hal(thing)

    async def change(caller: Caller, wishes: Sequence[CardWish]) -> list[dict[str, Any]]:
        _check_links(wishes, kind)
        async with db.transaction() as connection:
            cards = await writing.change(connection, caller, kind, wishes)
            faults = writing.Faults()
            for place, (wish, card) in enumerate(zip(wishes, cards, strict=True)):
                if card is None:
                    faults.add(place, wish.request_id, "id")
            faults.check()  # and nothing was changed
        return [
            {
                "id": card.card_id,
                "name": card.name,
                "updated_at": answers.unix(card.updated_at),
                "is_deleted": False,
                "request_id": wish.request_id,
                "_links": answers.link(caller.base, name, card.card_id),
            }
            for wish, card in zip(wishes, cards, strict=True)
            if card is not None
        ]

    @get(f"/{name}/{{card_id:str}}/links")
    async def links_of(request: Req) -> Response[bytes]:
        """What a card is linked with."""
        caller = await door.reader(request)
        number = path_id(request, "card_id")
        async with db.connection() as connection:
            if not await crm_entities.by_ids(connection, caller.account_id, kind, [number]):
                return answers.nothing()
            found = await crm_links.of_cards(
                connection, caller.account_id, [number], list(Kind), limit=_MOST_LINKS
            )
        things = [
            {
                "to_entity_id": one.to_id,
                "to_entity_type": PLURAL[one.to_kind],
                "metadata": {"main_contact": one.is_main} if one.to_kind == Kind.contact else None,
            }
            for one in found[number]
        ]
        return answers.written("links", things, url_of(caller, name, number, "links"), total=len(things))

    @post(f"/{name}/{{card_id:str}}/link", status_code=200)
    async def link_card(request: Req) -> Response[bytes]:
        """Link a card with others."""
        caller, number = await door.writer(request), path_id(request, "card_id")
        pairs = reading.pairs(fields.document(await request.body()))
        async with db.transaction() as connection:
            numbered = [(number, pair) for pair in pairs]
            await writing.link_pairs(connection, caller, kind, numbered, unlink=False)
        things = [_linked(number, name, pair) for pair in pairs]
        return answers.written("links", things, url_of(caller, name, number, "link"), total=len(things))

    @post(f"/{name}/{{card_id:str}}/unlink", status_code=200)
    async def unlink_card(request: Req) -> Response[bytes]:
        """Unlink a card from others."""
        caller, number = await door.writer(request), path_id(request, "card_id")
        pairs = reading.pairs(fields.document(await request.body()))
        async with db.transaction() as connection:
            numbered = [(number, pair) for pair in pairs]
            await writing.link_pairs(connection, caller, kind, numbered, unlink=True)
        return answers.nothing()

    @post(f"/{name}/link", status_code=200)
    async def link_cards(request: Req) -> Response[bytes]:
        """Link many cards, each with another."""
        caller = await door.writer(request)
        pairs = reading.pairs(fields.document(await request.body()), from_needed=True)
        async with db.transaction() as connection:
            numbered = [(pair.from_id or 0, pair) for pair in pairs]
            await writing.link_pairs(connection, caller, kind, numbered, unlink=False)
        things = [_linked(pair.from_id or 0, name, pair) for pair in pairs]
        return answers.written("links", things, url_of(caller, name, "link"), total=len(things))

    @post(f"/{name}/unlink", status_code=200)
    async def unlink_cards(request: Req) -> Response[bytes]:
        """Unlink many cards, each from another."""
        caller = await door.writer(request)
        pairs = reading.pairs(fields.document(await request.body()), from_needed=True)
        async with db.transaction() as connection:
            numbered = [(pair.from_id or 0, pair) for pair in pairs]
            await writing.link_pairs(connection, caller, kind, numbered, unlink=True)
        return answers.nothing()

    return [
        *(list_cards, one_card, add_cards, change_cards, change_card, links_of),
        *(link_card, unlink_card, link_cards, unlink_cards),
    ]


def _linked(card_id: int, name: str, pair: reading.Pair) -> dict[str, Any]:
    return {
        "entity_id": card_id,
        "entity_type": name,
        "to_entity_id": pair.card.card_id,
        "to_entity_type": PLURAL[pair.card.kind],
        "metadata": {"main_contact": pair.is_main} if pair.card.kind == Kind.contact else None,
    }


def _check_links(wishes: Sequence[CardWish], kind: Kind) -> None:
    for wish in wishes:
        for link in wish.links:
            assert writing.may_link(kind, link.card.kind)  # reading knows only such


def _slice(wanted: Asked, kind: Kind, caller: Caller) -> Slice:
    """The part of a list of cards that is asked for. Raises BadRequest."""
    filters = dict(FILTERS)
    if kind == Kind.lead:
        filters |= OF_LEADS
    if kind == Kind.customer:
        filters |= OF_CUSTOMERS
    clauses, values = ["kind"], {"account_id": caller.account_id, "kind": kind}
    if kind == Kind.lead and "statuses" in wanted.filters:
        clauses.append("statuses")
        values |= _statuses(wanted.filters["statuses"])
        filters["statuses"] = Many(clause="statuses", param="ignored", read=lists.whole)
    if wanted.query is not None:
        digits = tail(wanted.query)
        if len(digits) == 10 and not any(map(str.isalpha, wanted.query)):
            clauses.append("tail")
            values["tail"] = digits
        else:
            clauses.append("text")
            values["pattern"] = crm_entities.pattern(wanted.query)
    return wanted.slice(clauses, values, filters=filters, orders=crm_entities.ORDERS)


def _statuses(given: Sequence[tuple[tuple[str, ...], str]]) -> dict[str, list[int]]:
    """filter[statuses][0][pipeline_id] and [status_id], pair by pair."""
    pairs: dict[str, dict[str, int]] = {}
    for brackets, value in given:
        if len(brackets) != 2 or brackets[1] not in ("pipeline_id", "status_id"):
            raise BadRequest("The filter statuses has pairs of pipeline_id and status_id.")
        pairs.setdefault(brackets[0], {})[brackets[1]] = lists.whole(value)
    if not all(len(pair) == 2 for pair in pairs.values()) or len(pairs) > limits.MAX_BATCH:
        raise BadRequest("The filter statuses has pairs of pipeline_id and status_id.")
    return {
        "status_pipelines": [pair["pipeline_id"] for pair in pairs.values()],
        "statuses": [pair["status_id"] for pair in pairs.values()],
    }


async def shown_cards(
    connection: Connection, caller: Caller, kind: Kind, cards: Sequence[CardRow], wanted: frozenset[str]
) -> list[dict[str, Any]]:
    """Cards as they are answered, with whatever of the linked is wanted."""
    embed = [*ALWAYS[kind], *(other for other in ON_DEMAND[kind] if PLURAL[other] in wanted)]
    ids = [card.card_id for card in cards]
    links = await crm_links.of_cards(connection, caller.account_id, ids, embed, limit=_MOST_LINKS)
    marks = {tag for card in cards for tag in card.tags}
    tags = await crm_tags.by_ids(connection, caller.account_id, kind, marks)
    return [views.card(card, caller, tags=tags, links=links[card.card_id], embed=embed) for card in cards]
