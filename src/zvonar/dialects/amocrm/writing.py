"""How does a write change cards? Looked up first, every fault told, then all of it in one transaction or nothing."""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import UNSET, Struct, structs

from zvonar.core.crm import CLOSED, ROBOT, Card, Kind
from zvonar.dialects.amocrm import telling
from zvonar.dialects.amocrm.caller import Caller
from zvonar.dialects.amocrm.errors import CHOICE, Fault, ValidationFailed, fault
from zvonar.dialects.amocrm.requests.cards import CardWish, Pair, TagWish, cards_named
from zvonar.dialects.amocrm.requests.fields import RequestId
from zvonar.store import crm_entities, crm_events, crm_hooks, crm_links, crm_pipelines, crm_tags, crm_users
from zvonar.store.crm_entities import CardRow
from zvonar.store.crm_pipelines import Pipelines
from zvonar.store.crm_users import Directory
from zvonar.store.db import Connection


class Faults:
    """What is wrong with items of a batch, found beside reading them."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[RequestId, list[Fault]]] = {}

    def add(self, place: int, request_id: RequestId, path: str) -> None:
        self._of.setdefault(place, (request_id, []))[1].append(fault(CHOICE, path))

    def check(self) -> None:
        """Raises ValidationFailed where there is any."""
        if self._of:
            raise ValidationFailed([self._of[place] for place in sorted(self._of)])


class _Known(Struct, frozen=True, kw_only=True):
    """What a batch names, as far as it is there."""

    users: Directory
    others: dict[int, Kind]
    pipelines: Pipelines | None  # where it is about leads


async def add(
    connection: Connection, caller: Caller, kind: Kind, wishes: Sequence[CardWish]
) -> list[CardRow]:
    """New cards, in the order of the wishes. Within a transaction. Raises ValidationFailed."""
    known = await _known(connection, caller, kind, wishes)
    tags = await _tags(connection, caller, kind, wishes)
    ids = await crm_entities.next_ids(connection, len(wishes))
    made = [_new(wish, card_id, kind, caller, known, tags) for wish, card_id in zip(wishes, ids, strict=True)]
    await crm_entities.add(connection, caller.account_id, made)
    await crm_events.add(connection, caller.account_id, [telling.added(card, caller) for card in made])
    await _link_all(connection, caller, made, wishes)
    await crm_hooks.tell(connection, [telling.hook("add", card, caller) for card in made])
    return made


async def change(
    connection: Connection, caller: Caller, kind: Kind, wishes: Sequence[CardWish]
) -> list[CardRow | None]:
    """Cards as they are after a change, in the order of the wishes; None for one that is not there.

    Within a transaction. Raises ValidationFailed.
    """
    known = await _known(connection, caller, kind, wishes)
    ids = sorted({wish.card_id for wish in wishes if wish.card_id is not None})
    before = await crm_entities.by_ids(connection, caller.account_id, kind, ids, lock=True)
    tags = await _tags(connection, caller, kind, wishes)
    after = dict(before)
    for wish in wishes:
        if (card := after.get(wish.card_id or 0)) is not None:
            after[card.card_id] = _changed(wish, card, caller, known, tags)
    changed = [after[card_id] for card_id in sorted(after)]
    await crm_entities.change(connection, caller.account_id, changed)
    there = [wish for wish in wishes if wish.card_id in after]
    await _link_all(connection, caller, [after[wish.card_id or 0] for wish in there], there)
    names = {tag_id: name for name, tag_id in tags.items() if isinstance(name, str)}
    await crm_events.add(
        connection,
        caller.account_id,
        [event for card in changed for event in telling.events(before[card.card_id], card, caller, names)],
    )
    await crm_hooks.tell(
        connection,
        [hook for card in changed for hook in telling.hooks(before[card.card_id], card, caller)],
    )
    return [after.get(wish.card_id or 0) for wish in wishes]


async def _known(connection: Connection, caller: Caller, kind: Kind, wishes: Sequence[CardWish]) -> _Known:
    """What the wishes name; ValidationFailed where something is not there."""
    named = {
        user
        for wish in wishes
        for name in ("responsible_user_id", "created_by", "updated_by")
        if (user := wish.values.get(name)) not in (None, ROBOT)
    }
    known = _Known(
        users=await crm_users.directory_of(connection, caller.account_id, user_ids=named),
        others=await crm_entities.kinds(connection, caller.account_id, sorted(cards_named(wishes))),
        pipelines=await crm_pipelines.all_of(connection, caller.account_id) if kind == Kind.lead else None,
    )
    faults = Faults()
    for place, wish in enumerate(wishes):
        for name in ("responsible_user_id", "created_by", "updated_by"):
            user = wish.values.get(name)
            if user not in (None, ROBOT) and not known.users.has(user):
                faults.add(place, wish.request_id, name)
        for link in wish.links:
            if known.others.get(link.card.card_id) != link.card.kind:
                faults.add(place, wish.request_id, link.path)
        if known.pipelines is not None:
            for name in _wrong_stage(known.pipelines, wish.values):
                faults.add(place, wish.request_id, name)
    faults.check()
    return known


def _wrong_stage(pipelines: Pipelines, values: dict[str, Any]) -> Iterable[str]:
    pipeline, status = values.get("pipeline_id"), values.get("status_id")
    if pipeline is not None and not pipelines.has(pipeline):
        yield "pipeline_id"
    elif status is not None and status not in CLOSED:
        home = pipelines.pipeline_of(status)
        if home is None or pipeline not in (None, home):
            yield "status_id"


async def _tags(
    connection: Connection, caller: Caller, kind: Kind, wishes: Sequence[CardWish]
) -> dict[int | str, int]:
    """The tags that the wishes name, by id and by name in small letters; new ones are made.

    ValidationFailed for an id that is not there.
    """
    named = [(place, wish, tag) for place, wish in enumerate(wishes) for tag in _named_tags(wish)]
    ids = {tag.tag_id for _, _, tag in named if tag.tag_id is not None}
    found = await crm_tags.by_ids(connection, caller.account_id, kind, ids)
    faults = Faults()
    for place, wish, tag in named:
        if tag.tag_id is not None and tag.tag_id not in found:
            faults.add(place, wish.request_id, tag.path)
    faults.check()
    new = [(tag.name, None) for _, _, tag in named if tag.tag_id is None and tag.name is not None]
    made = await crm_tags.put(connection, caller.account_id, kind, new)
    by: dict[int | str, int] = {tag_id: tag_id for tag_id in found}
    return by | {tag.name.lower(): tag.tag_id for tag in [*found.values(), *made]}


def _named_tags(wish: CardWish) -> list[TagWish]:
    return [*([] if wish.tags is UNSET else wish.tags), *wish.add_tags, *wish.drop_tags]


def _tag_ids(wishes: Sequence[TagWish], tags: dict[int | str, int]) -> list[int]:
    return [tags[wish.tag_id if wish.tag_id is not None else (wish.name or "").lower()] for wish in wishes]


def _new(
    wish: CardWish, card_id: int, kind: Kind, caller: Caller, known: _Known, tags: dict[int | str, int]
) -> CardRow:
    user, now = caller.user.user_id, caller.now
    values = dict(wish.values)
    values.setdefault("name", _name(values, card_id, kind))
    values.setdefault("responsible_user_id", user)
    values.setdefault("created_by", user)
    values.setdefault("updated_by", values["created_by"])
    values.setdefault("created_at", now)
    values.setdefault("updated_at", now)
    if known.pipelines is not None:
        pipeline = values.get("pipeline_id")
        if pipeline is None:
            pipeline = known.pipelines.pipeline_of(values.get("status_id", 0))
        values["pipeline_id"] = known.pipelines.main.pipeline_id if pipeline is None else pipeline
        values.setdefault("status_id", known.pipelines.first(values["pipeline_id"]))
        if values["status_id"] in CLOSED:
            values.setdefault("closed_at", now)
    listed = [*([] if wish.tags is UNSET else wish.tags), *wish.add_tags]
    return CardRow(
        card_id=card_id,
        kind=kind,
        fields=_merged([], wish.fields),
        tags=list(dict.fromkeys(_tag_ids(listed, tags))),
        **values,
    )


def _name(values: dict[str, Any], card_id: int, kind: Kind) -> str:
    # A lead without a name shows as this one in the vendor's interface; people are called by both of theirs.
    if kind == Kind.lead:
        return f"Сделка #{card_id}"
    return " ".join(filter(None, (values.get("first_name"), values.get("last_name"))))


def _changed(
    wish: CardWish, card: CardRow, caller: Caller, known: _Known, tags: dict[int | str, int]
) -> CardRow:
    values = dict(wish.values)
    values.setdefault("updated_by", caller.user.user_id)
    values.setdefault("updated_at", caller.now)
    if known.pipelines is not None:
        values |= _stage(known.pipelines, card, values, caller)
    marks = card.tags if wish.tags is UNSET else _tag_ids(wish.tags, tags)
    dropped = set(_tag_ids(wish.drop_tags, tags))
    marks = [tag for tag in [*marks, *_tag_ids(wish.add_tags, tags)] if tag not in dropped]
    return structs.replace(
        card, fields=_merged(card.fields, wish.fields), tags=list(dict.fromkeys(marks)), **values
    )


def _stage(pipelines: Pipelines, card: CardRow, values: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """Where a lead is after a change, and since when it is closed."""
    pipeline, status = values.get("pipeline_id"), values.get("status_id")
    if status is None:
        status = card.status_id
        if pipeline is not None and pipeline != card.pipeline_id and status not in CLOSED:
            status = pipelines.first(pipeline)
    if pipeline is None:
        home = None if status in CLOSED else pipelines.pipeline_of(status or 0)
        pipeline = card.pipeline_id if home is None else home
    closed_at = values.get("closed_at", card.closed_at)
    if status not in CLOSED:
        closed_at = None
    elif closed_at is None or (card.status_id not in CLOSED and "closed_at" not in values):
        closed_at = caller.now
    taken = {"unsorted": None} if status != card.status_id else {}
    return {"pipeline_id": pipeline, "status_id": status, "closed_at": closed_at, **taken}


def _merged(
    stored: Sequence[dict[str, Any]], written: dict[str, list[dict[str, str]]]
) -> list[dict[str, Any]]:
    """The fields of a card after some of them were written."""
    by = {one["code"]: one["values"] for one in stored} | written
    return [{"code": code, "values": values} for code, values in by.items() if values]


async def _link_all(
    connection: Connection, caller: Caller, cards: Sequence[CardRow], wishes: Sequence[CardWish]
) -> None:
    links: list[tuple[Card, Card, bool]] = []
    for card, wish in zip(cards, wishes, strict=True):
        here = Card(kind=Kind(card.kind), card_id=card.card_id)
        links += [(here, link.card, link.is_main) for link in wish.links]
    await link(connection, caller, links)


async def link(connection: Connection, caller: Caller, links: Sequence[tuple[Card, Card, bool]]) -> None:
    """Link pairs of cards. A new company takes the place of the old one, a new main contact that of the old.

    The pairs have to be of kinds that may be linked. Within a transaction.
    """
    if not links:
        return
    account_id = caller.account_id
    sided = [(a, b, main) if b.kind == Kind.company else (b, a, main) for a, b, main in links]
    joining = [(a, b) for a, b, _ in sided if b.kind == Kind.company]
    old = await crm_links.of_cards(
        connection, account_id, [a.card_id for a, _ in joining], [Kind.company], limit=1
    )
    moved = [(a.card_id, one.to_id) for a, b in joining for one in old[a.card_id] if one.to_id != b.card_id]
    if moved:
        await crm_links.remove(connection, account_id, moved)
    leads = [card.card_id for a, b, main in links if main for card in (a, b) if card.kind == Kind.lead]
    if leads:
        await crm_links.demote(connection, account_id, leads)
    await crm_links.add(connection, account_id, links)
    told = [telling.linked(a, b, caller) for a, b, _ in links]
    await crm_events.add(connection, account_id, [event for both in told for event in both])


def may_link(a: Kind, b: Kind) -> bool:
    """Whether cards of these kinds may be linked."""
    return frozenset((a, b)) in crm_links.PAIRS


async def link_pairs(
    connection: Connection, caller: Caller, kind: Kind, pairs: Sequence[tuple[int, Pair]], *, unlink: bool
) -> None:
    """Link or unlink cards of this kind (by id) with others. Within a transaction. Raises ValidationFailed."""
    ids = sorted({card_id for card_id, _ in pairs} | {pair.card.card_id for _, pair in pairs})
    there = await crm_entities.kinds(connection, caller.account_id, ids)
    faults = Faults()
    for place, (card_id, pair) in enumerate(pairs):
        if there.get(card_id) != kind:
            faults.add(place, pair.request_id, "entity_id")
        if not may_link(kind, pair.card.kind):
            faults.add(place, pair.request_id, "to_entity_type")
        elif there.get(pair.card.card_id) != pair.card.kind:
            faults.add(place, pair.request_id, "to_entity_id")
    faults.check()
    if not unlink:
        here = [(Card(kind=kind, card_id=card_id), pair.card, pair.is_main) for card_id, pair in pairs]
        await link(connection, caller, here)
        return
    both = [(card_id, pair.card.card_id) for card_id, pair in pairs]
    if await crm_links.remove(connection, caller.account_id, both):
        events = [telling.unlinked(Card(kind=kind, card_id=a), pair.card, caller) for a, pair in pairs]
        await crm_events.add(connection, caller.account_id, [event for two in events for event in two])
