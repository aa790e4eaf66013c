"""What is on an account's cards? Contacts, companies, leads and customers, each read and written whole."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.crm import Kind
from zvonar.store.crm_lists import Clause, Slice, listed
from zvonar.store.db import Connection, Database, rows


class CardRow(Struct, frozen=True, kw_only=True):
    """A card."""

    card_id: int
    kind: Kind
    name: str
    first_name: str = ""
    last_name: str = ""
    fields: list[dict[str, Any]] = []  # [{"code", "values": [{"value", "enum"}]}]; codes PHONE and EMAIL
    tags: list[int] = []
    price: int = 0  # of a lead; of a customer, of the next purchase
    pipeline_id: int | None = None  # of leads
    status_id: int | None = None  # of leads
    closed_at: datetime | None = None  # of leads
    next_date: datetime | None = None  # of customers: the next purchase
    periodicity: int = 0  # of customers, days
    unsorted: dict[str, Any] | None = None  # what a lead came in with
    responsible_user_id: int
    created_by: int
    updated_by: int
    created_at: datetime
    updated_at: datetime
    closest_task_at: datetime | None = None  # read only


_WRITTEN = """name, first_name, last_name, fields, tags, price, pipeline_id, status_id, closed_at, next_date,
    periodicity, unsorted, responsible_user_id, created_by, updated_by, created_at, updated_at"""

COLUMNS = f"""card_id, kind::text AS kind, {_WRITTEN},
    (SELECT min(t.complete_till) FROM crm_tasks t
     WHERE t.account_id = c.account_id AND t.card_id = c.card_id AND NOT t.is_completed) AS closest_task_at"""

# What the cards of a document are, column by column.
_RECORDS = """jsonb_to_recordset(%(cards)s) AS g (card_id bigint, kind crm_kind, name text, first_name text,
    last_name text, fields jsonb, tags bigint[], price bigint, pipeline_id bigint, status_id bigint,
    closed_at timestamptz, next_date timestamptz, periodicity integer, unsorted jsonb, responsible_user_id bigint,
    created_by bigint, updated_by bigint, created_at timestamptz, updated_at timestamptz)"""

NEXT_IDS = "SELECT nextval('crm_card_ids') FROM generate_series(1, %(count)s)"

ADD = f"""
INSERT INTO crm_entities (account_id, card_id, kind, {_WRITTEN})
SELECT %(account_id)s, card_id, kind, {_WRITTEN} FROM {_RECORDS}
"""

BY_IDS = f"""
SELECT {COLUMNS} FROM crm_entities c
WHERE account_id = %(account_id)s AND kind = %(kind)s::crm_kind AND card_id = ANY(%(card_ids)s::bigint[])
ORDER BY card_id
"""

# Cards that are about to change, so that two changes of one come after one another.
LOCK = f"{BY_IDS} FOR UPDATE OF c"

CHANGE = f"""
UPDATE crm_entities c SET ({_WRITTEN}) = (SELECT {", ".join(f"g.{name.strip()}" for name in _WRITTEN.split(","))})
FROM {_RECORDS}
WHERE c.account_id = %(account_id)s AND c.kind = g.kind AND c.card_id = g.card_id
"""

# Which of these cards there are, whatever they are.
KINDS = """
SELECT card_id, kind::text FROM crm_entities
WHERE account_id = %(account_id)s AND card_id = ANY(%(card_ids)s::bigint[])
"""

_SELECT = f"SELECT {COLUMNS} FROM crm_entities c"

_HAS_VALUE = """EXISTS (SELECT FROM jsonb_array_elements(c.fields) f, jsonb_array_elements(f -> 'values') v
    WHERE v ->> 'value' ILIKE %(pattern)s)"""

CLAUSES = {
    "kind": Clause("account_id = %(account_id)s AND kind = %(kind)s::crm_kind"),
    "ids": Clause("card_id = ANY(%(ids)s::bigint[])"),
    "names": Clause("name = ANY(%(names)s)"),
    "created_by": Clause("created_by = ANY(%(creators)s::bigint[])"),
    "updated_by": Clause("updated_by = ANY(%(updaters)s::bigint[])"),
    "responsible_user_id": Clause("responsible_user_id = ANY(%(responsibles)s::bigint[])"),
    "created_from": Clause("created_at >= %(created_from)s"),
    "created_till": Clause("created_at <= %(created_till)s"),
    "updated_from": Clause("updated_at >= %(updated_from)s"),
    "updated_till": Clause("updated_at <= %(updated_till)s"),
    "closed_from": Clause("closed_at >= %(closed_from)s"),
    "closed_till": Clause("closed_at <= %(closed_till)s"),
    "price_from": Clause("price >= %(price_from)s"),
    "price_till": Clause("price <= %(price_till)s"),
    "pipelines": Clause("pipeline_id = ANY(%(pipelines)s::bigint[])"),
    "statuses": Clause(
        "(pipeline_id, status_id) IN (SELECT * FROM unnest(%(status_pipelines)s::bigint[], %(statuses)s::bigint[]))"
    ),
    "next_date_from": Clause("next_date >= %(next_date_from)s"),
    "next_date_till": Clause("next_date <= %(next_date_till)s"),
    # Whoever has this number. By index, whatever else is in the account.
    "tail": Clause(
        "card_id IN (SELECT p.card_id FROM crm_phones p WHERE p.account_id = %(account_id)s AND p.tail = %(tail)s)"
    ),
    "text": Clause(f"(name ILIKE %(pattern)s OR {_HAS_VALUE})"),
    "unsorted": Clause("unsorted IS NOT NULL"),
    "uids": Clause("unsorted ->> 'uid' = ANY(%(uids)s)"),
    "categories": Clause("unsorted ->> 'category' = ANY(%(categories)s)"),
}
ORDERS = {
    "id": "card_id",
    "created_at": "created_at, card_id",
    "updated_at": "updated_at, card_id",
}


async def next_ids(connection: Connection, count: int) -> list[int]:
    """Ids for cards to be added."""
    found = await (await connection.execute(NEXT_IDS, {"count": count})).fetchall()
    return [int(card_id) for (card_id,) in found]


async def add(connection: Connection, account_id: int, cards: Sequence[CardRow]) -> None:
    """Add cards whole."""
    if cards:
        await connection.execute(ADD, {"account_id": account_id, "cards": Jsonb(_records(cards))})


async def change(connection: Connection, account_id: int, cards: Sequence[CardRow]) -> None:
    """Write cards as they are now."""
    if cards:
        await connection.execute(CHANGE, {"account_id": account_id, "cards": Jsonb(_records(cards))})


def _records(cards: Sequence[CardRow]) -> list[Any]:
    return [msgspec.to_builtins(card) for card in cards]


async def by_ids(
    connection: Connection, account_id: int, kind: Kind, card_ids: Sequence[int], *, lock: bool = False
) -> dict[int, CardRow]:
    """Those of these cards that there are; locked, nobody else changes them until the end of the transaction."""
    if not card_ids:
        return {}
    params = {"account_id": account_id, "kind": kind, "card_ids": list(card_ids)}
    found = await rows(connection, CardRow, LOCK if lock else BY_IDS, params)
    return {card.card_id: card for card in found}


async def kinds(connection: Connection, account_id: int, card_ids: Sequence[int]) -> dict[int, Kind]:
    """What these cards are; those that there are not are not there."""
    if not card_ids:
        return {}
    params = {"account_id": account_id, "card_ids": list(card_ids)}
    found = await (await connection.execute(KINDS, params)).fetchall()
    return {int(card_id): Kind(kind) for card_id, kind in found}


async def page(db: Database, asked: Slice) -> list[CardRow]:
    """One more card than was asked for, where there is another page."""
    return await db.rows(CardRow, listed(_SELECT, CLAUSES, ORDERS, asked), asked.params())


def pattern(text: str) -> str:
    """What ILIKE finds wherever it has this text."""
    escaped: Mapping[str, str] = {"\\": "\\\\", "%": "\\%", "_": "\\_"}
    return f"%{''.join(escaped.get(character, character) for character in text)}%"
