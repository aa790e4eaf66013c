"""What is to be on a card? The items of writes to contacts, companies, leads and customers."""

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from zvonar.core.crm import Card, Kind
from zvonar.dialects.amocrm import custom_fields, limits
from zvonar.dialects.amocrm.errors import CHOICE, NULL
from zvonar.dialects.amocrm.requests.fields import Item, RequestId, batch, is_integer

# How a kind is called where a card is named with its kind: in links and tasks.
KINDS = {
    "contacts": Kind.contact,
    "companies": Kind.company,
    "leads": Kind.lead,
    "customers": Kind.customer,
    "contact": Kind.contact,
    "company": Kind.company,
    "lead": Kind.lead,
    "customer": Kind.customer,
}
EMBEDDABLE = {
    Kind.contact: ("companies", "leads", "customers"),
    Kind.company: ("contacts", "leads", "customers"),
    Kind.lead: ("contacts", "companies"),
    Kind.customer: ("contacts", "companies"),
}


class TagWish(Struct, frozen=True, kw_only=True):
    """A tag, by its id or its name."""

    tag_id: int | None
    name: str | None
    path: str


class LinkWish(Struct, frozen=True, kw_only=True):
    """Another card that this one is to be linked with."""

    card: Card
    is_main: bool
    path: str


class CardWish(Struct, frozen=True, kw_only=True):
    """What a write says of a card; what is unset stays as it is."""

    request_id: RequestId
    card_id: int | None  # of the card that changes
    values: dict[str, Any]  # of CardRow, by its names
    fields: dict[str, list[dict[str, str]]]  # values by code, for those that are written
    tags: list[TagWish] | UnsetType  # all that it is to have
    add_tags: list[TagWish]
    drop_tags: list[TagWish]
    links: list[LinkWish]


def new_cards(found: Any, kind: Kind) -> list[CardWish]:
    """Cards to be added. Raises BadRequest, ValidationFailed."""
    return batch(found, lambda item, request_id: card(item, request_id, kind))


def changed_cards(found: Any, kind: Kind) -> list[CardWish]:
    """Cards to be changed, each by its id. Raises BadRequest, ValidationFailed."""

    def read(item: Item, request_id: RequestId) -> CardWish:
        card_id = item.integer("id", needed=True, least=1)
        return card(item, request_id, kind, card_id=card_id)

    return batch(found, read)


def changed_card(found: Any, kind: Kind, card_id: int) -> CardWish:
    """One card to be changed. Raises BadRequest, ValidationFailed."""
    [wish] = batch([found], lambda item, request_id: card(item, request_id, kind, card_id=card_id))
    return wish


def card(item: Item, request_id: RequestId, kind: Kind, *, card_id: int | None = None) -> CardWish:
    """What an item says of a card; faults are the item's."""
    values: dict[str, Any] = {
        "name": item.text("name"),
        "responsible_user_id": item.integer("responsible_user_id", least=1),
        "created_by": item.integer("created_by"),
        "updated_by": item.integer("updated_by"),
        "created_at": item.moment("created_at"),
        "updated_at": item.moment("updated_at"),
    }
    match kind:
        case Kind.contact:
            values |= {name: item.text(name) for name in ("first_name", "last_name")}
        case Kind.lead:
            values |= {
                "price": item.integer("price"),
                "pipeline_id": item.integer("pipeline_id", least=1),
                "status_id": item.integer("status_id", least=1),
                "closed_at": item.moment("closed_at"),
            }
        case Kind.customer:
            values |= {
                "price": item.integer("next_price"),
                "next_date": item.moment("next_date"),
                "periodicity": item.integer("periodicity", most=36_500),
            }
        case Kind.company:
            pass
    embedded = item.inner("_embedded")
    return CardWish(
        request_id=request_id,
        card_id=card_id,
        values={name: value for name, value in values.items() if value is not None},
        fields=_fields(item, kind),
        tags=UNSET if embedded is None or not embedded.has("tags") else _tags(embedded, "tags"),
        add_tags=_tags(item, "tags_to_add"),
        drop_tags=_tags(item, "tags_to_delete"),
        links=[] if embedded is None else _links(embedded, kind),
    )


def _tags(item: Item, name: str) -> list[TagWish]:
    wishes = []
    for one in item.each(name) or []:
        tag_id = one.integer("id", least=1)
        text = one.text("name", blank=False)
        if tag_id is None and text is None:
            one.needs("name")
        wishes.append(TagWish(tag_id=tag_id, name=text and text.strip(), path=one.path("id")))
    return wishes


def _links(embedded: Item, kind: Kind) -> list[LinkWish]:
    wishes = []
    for name in EMBEDDABLE[kind]:
        for one in embedded.each(name) or []:
            card_id = one.integer("id", needed=True, least=1)
            if card_id is not None:
                card = Card(kind=KINDS[name], card_id=card_id)
                wishes.append(LinkWish(card=card, is_main=one.flag("is_main") or False, path=one.path("id")))
    return wishes


def _fields(item: Item, kind: Kind) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for one in item.each("custom_fields_values") or []:
        by = "field_id" if one.values.get("field_id") is not None else "field_code"
        field = custom_fields.named(
            kind, code=one.values.get("field_code"), field_id=one.values.get("field_id")
        )
        if field is None:
            if one.needs(by):
                one.wrong(CHOICE, by)
            continue
        values = found.setdefault(field.code, [])
        if one.values.get("values", ...) is None:  # null empties a field
            continue
        for value in one.each("values", needed=True, most=limits.MAX_FIELDS) or []:
            text = _value(value)
            enum = _enum(value, field)
            if text:
                values.append({"value": text, "enum": enum})
    return found


def _value(item: Item) -> str | None:
    value = item.values.get("value")
    if isinstance(value, int) and is_integer(value):  # numbers are sent as such, too
        return str(value) if abs(value) <= limits.MAX_ID else item.text("value")
    if "value" in item.values and value is None:
        item.wrong(NULL, "value")
        return None
    return item.text("value", needed=True)


def _enum(item: Item, field: custom_fields.Field) -> str:
    for name in ("enum_code", "enum"):
        if item.has(name):
            code = item.chosen(name, tuple(field.enums))
            return code or custom_fields.DEFAULT_ENUM
    if item.has("enum_id"):
        enum_id = item.integer("enum_id")
        code = None if enum_id is None else field.enum_code(enum_id)
        if code is None:
            item.wrong(CHOICE, "enum_id")
        return code or custom_fields.DEFAULT_ENUM
    return custom_fields.DEFAULT_ENUM


class Pair(Struct, frozen=True, kw_only=True):
    """Another card to be linked with, or unlinked from, one."""

    request_id: RequestId
    card: Card
    is_main: bool
    from_id: int | None  # of the other card, where many are linked at once


def pairs(found: Any, *, from_needed: bool = False) -> list[Pair]:
    """The items of link and unlink. Raises BadRequest, ValidationFailed."""

    def read(item: Item, request_id: RequestId) -> Pair:
        from_id = item.integer("entity_id", needed=True, least=1) if from_needed else None
        card_id = item.integer("to_entity_id", needed=True, least=1)
        name = item.chosen("to_entity_type", tuple(KINDS), needed=True)
        metadata = item.inner("metadata")
        return Pair(
            request_id=request_id,
            card=Card(kind=KINDS.get(name or "", Kind.contact), card_id=card_id or 0),
            is_main=(metadata is not None and metadata.flag("is_main")) or False,
            from_id=from_id,
        )

    return batch(found, read)


def cards_named(wishes: Sequence[CardWish]) -> set[int]:
    """Every other card that is named."""
    return {link.card.card_id for wish in wishes for link in wish.links}
