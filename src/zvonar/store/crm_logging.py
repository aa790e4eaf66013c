"""Into which cards do these calls go? Numbers are looked up by index, then every call becomes a note at once."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from zvonar.core.crm import CLOSED, Card, Found, Kind, choose
from zvonar.store import crm_notes
from zvonar.store.crm_notes import NewNote, NoteType
from zvonar.store.db import Connection, Database, rows


class LoggedCall(Struct, frozen=True, kw_only=True):
    """A call that somebody tells of."""

    account_id: int
    tail: str  # of the other side's number, see core.crm
    note_type: NoteType  # call_in or call_out
    params: dict[str, Any]  # of the note
    responsible_user_id: int | None  # None: whoever is responsible for the card
    created_by: int
    updated_by: int
    created_at: datetime
    updated_at: datetime


class Noted(Struct, frozen=True, kw_only=True):
    """Where a call went."""

    note_id: int
    card: Card


class _Fact(Struct, frozen=True, kw_only=True):
    place: int
    kind: str
    card_id: int
    leads: list[int]
    customers: list[int]
    heard: bool  # whether its account has webhooks


# Whose numbers these are. A contact comes before a company, and of several the one that was there first: the order of
# the key. Of leads and customers two are as good as more.
FIND = f"""
SELECT a.place, p.kind::text AS kind, p.card_id,
    ARRAY(SELECT l.to_id FROM crm_links l
          JOIN crm_entities c ON c.account_id = l.account_id AND c.kind = 'lead' AND c.card_id = l.to_id
          WHERE l.account_id = a.account_id AND l.from_id = p.card_id AND l.to_kind = 'lead'
            AND c.status_id NOT IN {CLOSED} LIMIT 2) AS leads,
    ARRAY(SELECT l.to_id FROM crm_links l
          WHERE l.account_id = a.account_id AND l.from_id = p.card_id AND l.to_kind = 'customer' LIMIT 2) AS customers,
    EXISTS (SELECT FROM crm_webhooks w WHERE w.account_id = a.account_id) AS heard
FROM unnest(%(account_ids)s::bigint[], %(tails)s::text[]) WITH ORDINALITY AS a (account_id, tail, place)
CROSS JOIN LATERAL (
    SELECT kind, card_id FROM crm_phones
    WHERE account_id = a.account_id AND tail = a.tail ORDER BY kind, card_id LIMIT 1) p
"""


async def log(db: Database, calls: Sequence[LoggedCall]) -> list[Noted | None]:
    """Note every call on the card that the rule chooses, all of them or none; None for a number that nobody has.

    In their order.
    """
    async with db.connection() as connection:
        chosen = await _choose(connection, calls)
        if not chosen.heard:
            return await _add(connection, calls, chosen)  # one statement, which is its own transaction
        async with connection.transaction():
            return await _add(connection, calls, chosen)


async def log_within(connection: Connection, calls: Sequence[LoggedCall]) -> list[Noted | None]:
    """The same, in the transaction that the connection is in."""
    return await _add(connection, calls, await _choose(connection, calls))


class _Chosen(Struct, frozen=True, kw_only=True):
    cards: dict[int, Card]  # by the place of the call
    heard: bool  # whether somebody may want to hear of it


async def _choose(connection: Connection, calls: Sequence[LoggedCall]) -> _Chosen:
    params = {"account_ids": [call.account_id for call in calls], "tails": [call.tail for call in calls]}
    facts = await rows(connection, _Fact, FIND, params)
    cards = {
        fact.place - 1: choose(
            Found(
                owner=Card(kind=Kind(fact.kind), card_id=fact.card_id),
                leads=tuple(fact.leads),
                customers=tuple(fact.customers),
            )
        )
        for fact in facts
    }
    return _Chosen(cards=cards, heard=any(fact.heard for fact in facts))


async def _add(connection: Connection, calls: Sequence[LoggedCall], chosen: _Chosen) -> list[Noted | None]:
    places = sorted(chosen.cards)
    notes = [_note(calls[place], chosen.cards[place]) for place in places]
    ids = await crm_notes.add(connection, notes, heard=chosen.heard)
    noted = {
        place: Noted(note_id=note_id, card=chosen.cards[place])
        for place, note_id in zip(places, ids, strict=True)
    }
    return [noted.get(place) for place in range(len(calls))]


def _note(call: LoggedCall, card: Card) -> NewNote:
    return NewNote(
        account_id=call.account_id,
        card=card,
        note_type=call.note_type,
        params=call.params,
        responsible_user_id=call.responsible_user_id,
        created_by=call.created_by,
        updated_by=call.updated_by,
        created_at=call.created_at,
        updated_at=call.updated_at,
    )
