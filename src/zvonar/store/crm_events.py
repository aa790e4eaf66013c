"""What happened to an account's cards? What was done with them, and notes, which tell of themselves."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.crm import Card, Kind
from zvonar.store.crm_lists import Clause, Slice, listed
from zvonar.store.db import Connection, Database


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened to a card."""

    event_id: int
    type: str
    kind: Kind
    card_id: int
    created_by: int
    created_at: datetime
    value_after: list[Any]
    value_before: list[Any]


class NewEvent(Struct, frozen=True, kw_only=True):
    """The same, to be kept."""

    type: str
    card: Card
    created_by: int
    created_at: datetime
    after: Sequence[Any] = ()
    before: Sequence[Any] = ()


ADD = """
INSERT INTO crm_events (account_id, type, kind, card_id, created_by, created_at, value_after, value_before)
SELECT %(account_id)s, g.* FROM unnest(%(types)s::text[], %(card_kinds)s::crm_kind[], %(card_ids)s::bigint[],
    %(creators)s::bigint[], %(created_ats)s::timestamptz[], %(afters)s::jsonb[], %(befores)s::jsonb[]) AS g
"""

# The types of notes that are events, too.
_OF_NOTES = """CASE note_type WHEN 'call_in' THEN 'incoming_call' WHEN 'call_out' THEN 'outgoing_call'
    WHEN 'common' THEN 'common_note_added' WHEN 'sms_in' THEN 'incoming_sms' WHEN 'sms_out' THEN 'outgoing_sms'
    WHEN 'geolocation' THEN 'geo_note_added' WHEN 'attachment' THEN 'attachment_note_added'
    WHEN 'message_cashier' THEN 'message_to_cashier_note_added' ELSE 'service_note_added' END"""

_SELECT = f"""
SELECT event_id, type, kind::text AS kind, card_id, created_by, created_at, value_after, value_before FROM (
    SELECT account_id, event_id, type, kind, card_id, created_by, created_at, value_after, value_before FROM crm_events
    UNION ALL
    SELECT account_id, note_id, {_OF_NOTES}, kind, card_id, created_by, created_at,
        jsonb_build_array(jsonb_build_object('note', jsonb_build_object('id', note_id))), '[]'::jsonb FROM crm_notes
) c"""

CLAUSES = {
    "account": Clause("account_id = %(account_id)s"),
    "ids": Clause("event_id = ANY(%(ids)s::bigint[])"),
    "created_from": Clause("created_at >= %(created_from)s"),
    "created_till": Clause("created_at <= %(created_till)s"),
    "created_by": Clause("created_by = ANY(%(creators)s::bigint[])"),
    "types": Clause("type = ANY(%(types)s)"),
    "kinds": Clause("kind = ANY(%(kinds)s::crm_kind[])"),
    "cards": Clause("card_id = ANY(%(card_ids)s::bigint[])"),
}
ORDERS = {"created_at": "created_at, event_id"}


async def add(connection: Connection, account_id: int, events: Sequence[NewEvent]) -> None:
    """Keep what happened, in the transaction in which it did."""
    if not events:
        return
    params = {
        "account_id": account_id,
        "types": [event.type for event in events],
        "card_kinds": [event.card.kind for event in events],
        "card_ids": [event.card.card_id for event in events],
        "creators": [event.created_by for event in events],
        "created_ats": [event.created_at for event in events],
        "afters": [Jsonb(list(event.after)) for event in events],
        "befores": [Jsonb(list(event.before)) for event in events],
    }
    await connection.execute(ADD, params)


async def page(db: Database, asked: Slice) -> list[Event]:
    """One more event than was asked for, where there is another page."""
    return await db.rows(Event, listed(_SELECT, CLAUSES, ORDERS, asked), asked.params())
