"""Who wants to hear of changes in an account's CRM? What they subscribed to becomes an event of the outbox."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.crm import Card
from zvonar.store.db import Connection, Database, row

KIND = "crm"  # of the events


class Happening(Struct, frozen=True, kw_only=True):
    """Something that webhooks may be about."""

    account_id: int
    setting: str  # what one subscribes to: note_lead, add_contact, …
    card: Card | None
    at: datetime
    facts: dict[str, Any]


class Webhook(Struct, frozen=True, kw_only=True):
    """A subscription."""

    webhook_id: int
    destination: str
    settings: list[str]
    created_by: int
    created_at: datetime
    updated_at: datetime
    disabled: bool


# Whether anybody listens at all; most often nobody does.
WANTED = """
SELECT DISTINCT account_id, setting FROM crm_webhooks, unnest(settings) setting
WHERE account_id = ANY(%(account_ids)s::bigint[])
"""

# The addresses are those of this moment, as with every event.
TELL = """
INSERT INTO outbox (account_id, kind, at, payload)
SELECT h.account_id, 'crm', h.at, h.payload || jsonb_build_object('addresses', a.addresses, 'timezone', t.timezone)
FROM unnest(%(account_ids)s::bigint[], %(settings)s::text[], %(ats)s::timestamptz[], %(payloads)s::jsonb[])
    WITH ORDINALITY AS h (account_id, setting, at, payload, place)
JOIN accounts t USING (account_id)
CROSS JOIN LATERAL (
    SELECT jsonb_agg(w.destination ORDER BY w.destination) AS addresses FROM crm_webhooks w
    WHERE w.account_id = h.account_id AND h.setting = ANY(w.settings)) a
WHERE a.addresses IS NOT NULL ORDER BY h.place
"""

_COLUMNS = """webhook_id, destination, settings, created_by, created_at, updated_at,
    EXISTS (SELECT FROM receivers r WHERE r.account_id = w.account_id AND r.address = w.destination
            AND r.disabled_at IS NOT NULL) AS disabled"""

LIST = f"SELECT {_COLUMNS} FROM crm_webhooks w WHERE account_id = %(account_id)s ORDER BY webhook_id"

# Subscribing an address again replaces what it wants to hear.
SUBSCRIBE = f"""
INSERT INTO crm_webhooks AS w (account_id, destination, settings, created_by, created_at, updated_at)
VALUES (%(account_id)s, %(destination)s, %(settings)s::text[], %(user_id)s, %(now)s, %(now)s)
ON CONFLICT (account_id, destination) DO UPDATE SET settings = excluded.settings, updated_at = excluded.updated_at
RETURNING {_COLUMNS}
"""

COUNT = (
    "SELECT count(*) FROM crm_webhooks WHERE account_id = %(account_id)s AND destination <> %(destination)s"
)

UNSUBSCRIBE = "DELETE FROM crm_webhooks WHERE account_id = %(account_id)s AND destination = %(destination)s"


async def tell(connection: Connection, happenings: Sequence[Happening]) -> None:
    """Put what somebody wants to hear into the outbox, in the transaction that made it true."""
    accounts = sorted({happening.account_id for happening in happenings})
    if not accounts:
        return
    found = await (await connection.execute(WANTED, {"account_ids": accounts})).fetchall()
    wanted = {(account_id, setting) for account_id, setting in found}
    told = [h for h in happenings if (h.account_id, h.setting) in wanted]
    if not told:
        return
    params = {
        "account_ids": [h.account_id for h in told],
        "settings": [h.setting for h in told],
        "ats": [h.at for h in told],
        "payloads": [Jsonb(_payload(h)) for h in told],
    }
    await connection.execute(TELL, params)


def _payload(happening: Happening) -> dict[str, Any]:
    card = happening.card
    return {
        "setting": happening.setting,
        "kind": None if card is None else card.kind,
        "card_id": None if card is None else card.card_id,
        "facts": happening.facts,
    }


async def subscriptions(db: Database, account_id: int) -> list[Webhook]:
    """Every webhook of an account."""
    return await db.rows(Webhook, LIST, {"account_id": account_id})


async def subscribe(
    db: Database,
    account_id: int,
    destination: str,
    settings: Sequence[str],
    *,
    most: int,
    user_id: int,
    now: datetime,
) -> Webhook | None:
    """From now on this address hears of these; None where the account has the most webhooks already."""
    params = {
        "account_id": account_id,
        "destination": destination,
        "settings": list(settings),
        "user_id": user_id,
        "now": now,
    }
    async with db.transaction() as connection:
        others = await (await connection.execute(COUNT, params)).fetchone()
        if others is not None and others[0] >= most:
            return None
        return await row(connection, Webhook, SUBSCRIBE, params)


async def unsubscribe(db: Database, account_id: int, destination: str) -> bool:
    """This address hears of nothing any more; whether it did."""
    return bool(await db.execute(UNSUBSCRIBE, {"account_id": account_id, "destination": destination}))
