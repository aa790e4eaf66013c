"""What was noted on cards? Texts, and calls."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.crm import Card, Kind
from zvonar.store import crm_hooks
from zvonar.store.crm_hooks import Happening
from zvonar.store.crm_lists import Clause, Slice, listed
from zvonar.store.db import Connection, Database, rows


class NoteType(StrEnum):
    """What a note is."""

    common = "common"
    call_in = "call_in"
    call_out = "call_out"
    service_message = "service_message"
    extended_service_message = "extended_service_message"
    message_cashier = "message_cashier"
    invoice_paid = "invoice_paid"
    geolocation = "geolocation"
    sms_in = "sms_in"
    sms_out = "sms_out"
    attachment = "attachment"


class Note(Struct, frozen=True, kw_only=True):
    """A note."""

    note_id: int
    kind: Kind
    card_id: int
    note_type: NoteType
    params: dict[str, Any]
    responsible_user_id: int
    created_by: int
    updated_by: int
    created_at: datetime
    updated_at: datetime


class NewNote(Struct, frozen=True, kw_only=True):
    """A note to be added."""

    account_id: int
    card: Card
    note_type: NoteType
    params: dict[str, Any]
    responsible_user_id: int | None  # None: whoever is responsible for the card
    created_by: int
    updated_by: int
    created_at: datetime
    updated_at: datetime


COLUMNS = """note_id, kind::text AS kind, card_id, note_type, params, responsible_user_id, created_by, updated_by,
    created_at, updated_at"""

# All of them or none. Ids are taken first, so that each is known by its place. One document, because the driver takes
# long to write arrays of such.
ADD = """
WITH given AS MATERIALIZED (
    SELECT nextval('crm_note_ids') AS note_id, g.*, coalesce(g.responsible_user_id, (
        SELECT c.responsible_user_id FROM crm_entities c
        WHERE c.account_id = g.account_id AND c.kind = g.kind AND c.card_id = g.card_id)) AS responsible
    FROM jsonb_to_recordset(%(notes)s) AS g (place integer, account_id bigint, kind crm_kind, card_id bigint,
        note_type text, params jsonb, responsible_user_id bigint, created_by bigint, updated_by bigint,
        created_at timestamptz, updated_at timestamptz)
), added AS (
    INSERT INTO crm_notes (account_id, note_id, kind, card_id, note_type, params, responsible_user_id, created_by,
        updated_by, created_at, updated_at)
    SELECT account_id, note_id, kind, card_id, note_type, params, responsible, created_by, updated_by, created_at,
        updated_at
    FROM given
)
SELECT note_id, responsible FROM given ORDER BY place
"""

BY_IDS = f"""
SELECT {COLUMNS} FROM crm_notes WHERE account_id = %(account_id)s AND note_id = ANY(%(note_ids)s::bigint[])
ORDER BY note_id
"""

# Notes that are about to change, so that two changes of one come after one another.
LOCK = f"{BY_IDS} FOR UPDATE"

CHANGE = """
UPDATE crm_notes n SET params = g.params, responsible_user_id = g.responsible, updated_by = g.updater,
    updated_at = g.updated_at
FROM unnest(%(note_ids)s::bigint[], %(params)s::jsonb[], %(responsibles)s::bigint[], %(updaters)s::bigint[],
            %(updated_ats)s::timestamptz[]) AS g (note_id, params, responsible, updater, updated_at)
WHERE n.account_id = %(account_id)s AND n.note_id = g.note_id
"""

_SELECT = f"SELECT {COLUMNS} FROM crm_notes c"

CLAUSES = {
    "account": Clause("account_id = %(account_id)s"),
    "kind": Clause("kind = %(kind)s::crm_kind"),
    "card": Clause("card_id = %(card_id)s"),
    "cards": Clause("card_id = ANY(%(card_ids)s::bigint[])"),
    "ids": Clause("note_id = ANY(%(ids)s::bigint[])"),
    "types": Clause("note_type = ANY(%(note_types)s)"),
    "updated_from": Clause("updated_at >= %(updated_from)s"),
    "updated_till": Clause("updated_at <= %(updated_till)s"),
    "uniq": Clause("params ->> 'uniq' = ANY(%(uniqs)s)"),
}
ORDERS = {"id": "note_id", "updated_at": "updated_at, note_id"}


async def add(connection: Connection, notes: Sequence[NewNote]) -> list[int]:
    """Add notes to cards that there are, and tell who wants to hear of it; their ids, in their order.

    Within a transaction.
    """
    if not notes:
        return []
    records = [_record(place, note) for place, note in enumerate(notes)]
    added = await (await connection.execute(ADD, {"notes": Jsonb(records, dumps=_dumps)})).fetchall()
    told = zip(added, notes, strict=True)
    await crm_hooks.tell(
        connection,
        [
            happening(note, note.card, note_id=note_id, responsible=responsible)
            for (note_id, responsible), note in told
        ],
    )
    return [int(note_id) for note_id, _ in added]


_dumps = msgspec.json.Encoder().encode


def _record(place: int, note: NewNote) -> dict[str, Any]:
    return {
        "place": place,
        "account_id": note.account_id,
        "kind": note.card.kind,
        "card_id": note.card.card_id,
        "note_type": note.note_type,
        "params": note.params,
        "responsible_user_id": note.responsible_user_id,
        "created_by": note.created_by,
        "updated_by": note.updated_by,
        "created_at": note.created_at,
        "updated_at": note.updated_at,
    }


class Notable(Protocol):
    """What is told of a note."""

    @property
    def account_id(self) -> int: ...
    @property
    def note_type(self) -> NoteType: ...
    @property
    def params(self) -> dict[str, Any]: ...
    @property
    def created_by(self) -> int: ...
    @property
    def updated_by(self) -> int: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def updated_at(self) -> datetime: ...


def happening(note: Notable, card: Card, *, note_id: int, responsible: int) -> Happening:
    """What webhooks may want to hear of a note on this card."""
    return Happening(
        account_id=note.account_id,
        setting=f"note_{card.kind}",
        card=card,
        at=note.updated_at,
        facts={
            "note_id": note_id,
            "note_type": note.note_type,
            "params": note.params,
            "responsible_user_id": responsible,
            "created_by": note.created_by,
            "updated_by": note.updated_by,
            "created_at": note.created_at.isoformat(),
            "updated_at": note.updated_at.isoformat(),
        },
    )


async def change(connection: Connection, account_id: int, notes: Sequence[Note]) -> None:
    """Write notes as they are now."""
    params = {
        "account_id": account_id,
        "note_ids": [note.note_id for note in notes],
        "params": [Jsonb(note.params) for note in notes],
        "responsibles": [note.responsible_user_id for note in notes],
        "updaters": [note.updated_by for note in notes],
        "updated_ats": [note.updated_at for note in notes],
    }
    await connection.execute(CHANGE, params)


async def locked(connection: Connection, account_id: int, note_ids: Sequence[int]) -> list[Note]:
    """Those of these notes that there are, which nobody else changes until the end of the transaction."""
    return await rows(connection, Note, LOCK, {"account_id": account_id, "note_ids": list(note_ids)})


async def by_ids(db: Database, account_id: int, note_ids: Sequence[int]) -> list[Note]:
    """Those of these notes that there are."""
    return await db.rows(Note, BY_IDS, {"account_id": account_id, "note_ids": list(note_ids)})


async def page(db: Database, asked: Slice) -> list[Note]:
    """One more note than was asked for, where there is another page."""
    return await db.rows(Note, listed(_SELECT, CLAUSES, ORDERS, asked), asked.params())
