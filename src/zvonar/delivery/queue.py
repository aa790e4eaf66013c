"""Which deliveries are due, and what came of them? Many at a time, and each address its fair share."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from zvonar.store.db import Database
from zvonar.store.outbox import Delivery

# For each address that has something pending, as much as it may get now: of what is due the first of each key,
# since later ones wait behind it. Walking the addresses, not the deliveries, keeps the backlog of a dead receiver
# out of the others' way.
LEASE = """
WITH RECURSIVE addresses (address) AS (
    (SELECT address FROM deliveries WHERE state = 'pending' ORDER BY address LIMIT 1)
    UNION ALL
    SELECT (SELECT d.address FROM deliveries d WHERE d.state = 'pending' AND d.address > a.address
            ORDER BY d.address LIMIT 1)
    FROM addresses a WHERE a.address IS NOT NULL
), due AS (
    SELECT head.delivery_id
    FROM addresses a
    LEFT JOIN unnest(%(known)s::text[], %(rooms)s::int[]) AS known (address, room) ON known.address = a.address
    CROSS JOIN LATERAL (
        SELECT p.delivery_id, p.next_at FROM deliveries p
        WHERE p.address = a.address AND p.state = 'pending' AND p.next_at <= %(now)s
          AND (p.leased_until IS NULL OR p.leased_until < %(now)s)
          AND NOT EXISTS (SELECT FROM deliveries e WHERE e.account_id = p.account_id AND e.order_key = p.order_key
                          AND e.address = p.address AND e.state = 'pending' AND e.event_id < p.event_id)
        ORDER BY p.next_at LIMIT coalesce(known.room, %(per_address)s)
    ) head
    WHERE a.address IS NOT NULL
    ORDER BY head.next_at LIMIT %(limit)s
), picked AS (
    SELECT delivery_id FROM deliveries
    WHERE delivery_id IN (SELECT delivery_id FROM due)
      AND state = 'pending' AND (leased_until IS NULL OR leased_until < %(now)s)
    FOR UPDATE SKIP LOCKED
), hasty AS MATERIALIZED (
    -- A lease that a crash of PostgreSQL forgets costs one repetition, so its commit need not wait for the disk.
    SELECT set_config('synchronous_commit', 'off', true)
)
UPDATE deliveries d SET leased_until = %(until)s FROM picked, hasty
WHERE d.delivery_id = picked.delivery_id
RETURNING d.delivery_id, d.account_id, d.event_id, d.event_at, d.kind, d.address, d.content_type, d.body, d.tries
"""

# The lease's end names the lease: whoever outlived it has no say, somebody else may be posting by now.
SETTLE = """
UPDATE deliveries d SET tries = d.tries + 1, leased_until = NULL, last_status = s.status, last_error = s.error,
    state = s.state, delivered_at = CASE WHEN s.state = 'delivered' THEN s.at END,
    next_at = coalesce(s.next_at, d.next_at)
FROM unnest(%(delivery_ids)s::bigint[], %(untils)s::timestamptz[], %(states)s::text[], %(statuses)s::int[],
            %(errors)s::text[], %(next_ats)s::timestamptz[], %(ats)s::timestamptz[])
    AS s (delivery_id, until, state, status, error, next_at, at)
WHERE d.delivery_id = s.delivery_id AND d.state = 'pending' AND d.leased_until = s.until
"""


class Settlement(Struct, frozen=True, kw_only=True):
    """What one try came to."""

    delivery: Delivery
    until: datetime  # the end of the lease under which it was made
    at: datetime
    status: int | None  # HTTP
    error: str | None  # None: the address took it
    next_at: datetime | None  # of the next try; None: there is none

    @property
    def state(self) -> str:
        if self.error is None:
            return "delivered"
        return "dead" if self.next_at is None else "pending"


async def lease(
    db: Database,
    *,
    now: datetime,
    until: datetime,
    limit: int,
    per_address: int,
    rooms: Mapping[str, int],
) -> list[Delivery]:
    """Due deliveries, each ours until settled or `until`; at most `per_address` to one, or its room in `rooms`."""
    params = {
        "now": now,
        "until": until,
        "limit": limit,
        "per_address": per_address,
        "known": list(rooms),
        "rooms": list(rooms.values()),
    }
    leased = await db.rows(Delivery, LEASE, params)
    return sorted(leased, key=lambda delivery: delivery.event_id)


async def settle(db: Database, tries: Sequence[Settlement]) -> None:
    """Record what tries came to; those whose lease has run out are left to its next holder."""
    await db.execute(
        SETTLE,
        {
            "delivery_ids": [settled.delivery.delivery_id for settled in tries],
            "untils": [settled.until for settled in tries],
            "states": [settled.state for settled in tries],
            "statuses": [settled.status for settled in tries],
            "errors": [settled.error for settled in tries],
            "next_ats": [settled.next_at for settled in tries],
            "ats": [settled.at for settled in tries],
        },
    )
