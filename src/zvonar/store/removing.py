"""How is a call taken out before its end? At once while it waits; while it is up, its end honours a flag."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from zvonar.store.db import Connection, Database, rows

# Calls of a campaign, locked in one order, so that two removals never wait for each other in a ring.
LOCK_BY_ID = """
SELECT call_id, call_end IS NOT NULL AS over FROM calls
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND call_id = %(call_id)s FOR NO KEY UPDATE
"""
LOCK_BY_PHONE = """
SELECT call_id, call_end IS NOT NULL AS over FROM calls
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND phone = %(phone)s
ORDER BY call_id FOR NO KEY UPDATE
"""

# What waits is removed; what is dialled or talks is flagged. A lease ends with it.
REMOVE = """
UPDATE calls SET
    removing = state IN ('dialing', 'talking'),
    state = CASE WHEN state IN ('queued', 'waiting') THEN 'removed' ELSE state END,
    call_end = CASE WHEN state IN ('queued', 'waiting') THEN 'removed' END,
    lease_epoch = CASE WHEN state IN ('queued', 'waiting') THEN NULL ELSE lease_epoch END,
    completed_at = CASE WHEN state IN ('queued', 'waiting') THEN %(now)s::timestamptz END,
    updated_at = %(now)s
WHERE account_id = %(account_id)s AND call_id = ANY(%(call_ids)s) AND call_end IS NULL
"""


class Removed(Struct, frozen=True, kw_only=True):
    """What a removal met."""

    call_ids: list[int]  # removed now, or about to be
    over: list[int]  # had ended before


class _Locked(Struct, frozen=True, kw_only=True):
    call_id: int
    over: bool


async def by_id(db: Database, account_id: int, campaign_id: int, call_id: int, *, now: datetime) -> Removed:
    """Remove one call of a campaign unless it has ended."""
    params = {"account_id": account_id, "campaign_id": campaign_id, "call_id": call_id}
    async with db.transaction() as connection:
        return await _remove(connection, account_id, await rows(connection, _Locked, LOCK_BY_ID, params), now)


async def by_phone(db: Database, account_id: int, campaign_id: int, phone: str, *, now: datetime) -> Removed:
    """Remove all calls of a campaign to an E.164 number that have not ended."""
    params = {"account_id": account_id, "campaign_id": campaign_id, "phone": phone}
    async with db.transaction() as connection:
        return await _remove(
            connection, account_id, await rows(connection, _Locked, LOCK_BY_PHONE, params), now
        )


async def _remove(
    connection: Connection, account_id: int, locked: Sequence[_Locked], now: datetime
) -> Removed:
    removed = Removed(
        call_ids=[call.call_id for call in locked if not call.over],
        over=[call.call_id for call in locked if call.over],
    )
    if removed.call_ids:
        await connection.execute(REMOVE, {"account_id": account_id, "call_ids": removed.call_ids, "now": now})
    return removed
