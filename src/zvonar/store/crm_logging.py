"""Into which cards do these calls go? Numbers are looked up by index, and every call is a note at once."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.crm import CLOSED, Card, Kind
from zvonar.store import crm_hooks, crm_notes
from zvonar.store.crm_notes import NoteType
from zvonar.store.db import Connection, Database


class LoggedCall(Struct, frozen=True, kw_only=True):
    """A call that somebody tells of. The statement reads it by the names of its fields."""

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


# Notes for all calls to known numbers, or none. Whose number it is: a contact comes before a company, and of several
# the one that was there first, which is the order of the key. Then the documented rule: the only active lead where
# there is no customer, the only customer where there is no active lead, else whose number it is; of leads and customers
# two are as good as more. Ids are taken first, so that each is known by its place.
LOG = f"""
WITH found AS MATERIALIZED (
    SELECT g.*, p.kind AS owner_kind, p.card_id AS owner_id, d.leads, d.customers
    FROM ROWS FROM (jsonb_to_recordset(%(calls)s) AS (account_id bigint, tail text, note_type text, params jsonb,
            responsible_user_id bigint, created_by bigint, updated_by bigint, created_at timestamptz,
            updated_at timestamptz)) WITH ORDINALITY
        AS g (account_id, tail, note_type, params, responsible_user_id, created_by, updated_by, created_at, updated_at,
              place)
    CROSS JOIN LATERAL (
        SELECT kind, card_id FROM crm_phones
        WHERE account_id = g.account_id AND tail = g.tail ORDER BY kind, card_id LIMIT 1) p
    CROSS JOIN LATERAL (
        SELECT
            ARRAY(SELECT l.to_id FROM crm_links l
                  JOIN crm_entities c ON c.account_id = l.account_id AND c.kind = 'lead' AND c.card_id = l.to_id
                  WHERE l.account_id = g.account_id AND l.from_id = p.card_id AND l.to_kind = 'lead'
                    AND c.status_id NOT IN {CLOSED} LIMIT 2) AS leads,
            ARRAY(SELECT l.to_id FROM crm_links l
                  WHERE l.account_id = g.account_id AND l.from_id = p.card_id AND l.to_kind = 'customer'
                  LIMIT 2) AS customers) d
), chosen AS MATERIALIZED (
    SELECT nextval('crm_note_ids') AS note_id, f.*, c.kind, c.card_id, coalesce(f.responsible_user_id, (
        SELECT e.responsible_user_id FROM crm_entities e
        WHERE e.account_id = f.account_id AND e.kind = c.kind AND e.card_id = c.card_id)) AS responsible
    FROM found f
    CROSS JOIN LATERAL (
        SELECT CASE WHEN cardinality(f.leads) = 1 AND f.customers = '{{}}' THEN 'lead'
                    WHEN cardinality(f.customers) = 1 AND f.leads = '{{}}' THEN 'customer'
                    ELSE f.owner_kind END AS kind,
            CASE WHEN cardinality(f.leads) = 1 AND f.customers = '{{}}' THEN f.leads[1]
                 WHEN cardinality(f.customers) = 1 AND f.leads = '{{}}' THEN f.customers[1]
                 ELSE f.owner_id END AS card_id) c
), added AS (
    INSERT INTO crm_notes (account_id, note_id, kind, card_id, note_type, params, responsible_user_id, created_by,
        updated_by, created_at, updated_at)
    SELECT account_id, note_id, kind, card_id, note_type, params, responsible, created_by, updated_by, created_at,
        updated_at
    FROM chosen ORDER BY place
)
SELECT place, note_id, kind::text, card_id, responsible FROM chosen
"""

_dumps = msgspec.json.Encoder().encode


async def log(db: Database, calls: Sequence[LoggedCall], *, heard: bool) -> list[Noted | None]:
    """Note every call on the card that the rule chooses, all of them or none; None for a number that nobody has.

    In their order. `heard`: whether the account has webhooks.
    """
    async with db.connection() as connection:
        if not heard:
            return await _log(connection, calls, heard=False)  # one statement is a transaction of its own
        async with connection.transaction():
            return await _log(connection, calls, heard=True)


async def log_within(connection: Connection, calls: Sequence[LoggedCall]) -> list[Noted | None]:
    """The same, in the transaction that the connection is in."""
    return await _log(connection, calls, heard=True)


async def _log(connection: Connection, calls: Sequence[LoggedCall], *, heard: bool) -> list[Noted | None]:
    found = await (await connection.execute(LOG, {"calls": Jsonb(calls, dumps=_dumps)})).fetchall()
    noted: list[Noted | None] = [None] * len(calls)
    happenings = []
    for place, note_id, kind, card_id, responsible in found:
        card = Card(kind=Kind(kind), card_id=card_id)
        noted[place - 1] = Noted(note_id=note_id, card=card)
        if heard:
            call = calls[place - 1]
            happenings.append(crm_notes.happening(call, card, note_id=note_id, responsible=responsible))
    await crm_hooks.tell(connection, happenings)
    return noted
