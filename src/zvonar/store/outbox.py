"""Which facts have not been told yet, and to whom? Events become deliveries; a delivery is tried until it is over."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from zvonar.store.db import Database, rows


class Event(Struct, frozen=True, kw_only=True):
    """A fact, as things were when it became one."""

    event_id: int
    account_id: int
    campaign_id: int | None
    call_id: int | None
    kind: str  # campaign, call
    at: datetime
    payload: dict[str, Any]


class Rendered(Struct, frozen=True, kw_only=True):
    """One event in the bytes that one address will get, whatever happens to the account meanwhile."""

    kind: str  # which renderer made it
    address: str  # http(s) URL
    order_key: str  # deliveries of one key to one address keep the order of their events
    content_type: str
    body: bytes
    method: Literal["POST", "GET"] = "POST"
    url: str | None = None  # what is asked for, where that is not the address itself


Renderer = Callable[[Event], Sequence[Rendered]]


class Delivery(Struct, frozen=True, kw_only=True):
    """One event on its way to one address."""

    delivery_id: int
    account_id: int
    event_id: int
    event_at: datetime
    kind: str
    address: str
    content_type: str
    body: bytes
    tries: int  # made before this one


# Only one process fans out at a time, so events of one call become deliveries in their order.
FAN_OUT_LOCK = "SELECT pg_try_advisory_xact_lock(1515605070)"

PENDING = """
SELECT event_id, account_id, campaign_id, call_id, kind, at, payload FROM outbox
WHERE fanned_out_at IS NULL ORDER BY event_id LIMIT %(limit)s FOR UPDATE
"""

ADD_DELIVERIES = """
INSERT INTO deliveries (account_id, event_id, event_at, kind, address, order_key, content_type, body, next_at,
    created_at)
SELECT d.account_id, d.event_id, d.event_at, d.kind, d.address, d.order_key, d.content_type, d.body, %(now)s, %(now)s
FROM unnest(%(account_ids)s::bigint[], %(event_ids)s::bigint[], %(event_ats)s::timestamptz[], %(kinds)s::text[],
            %(addresses)s::text[], %(order_keys)s::text[], %(content_types)s::text[], %(bodies)s::bytea[])
    AS d (account_id, event_id, event_at, kind, address, order_key, content_type, body)
ON CONFLICT DO NOTHING
"""

FANNED_OUT = "UPDATE outbox SET fanned_out_at = %(now)s WHERE event_id = ANY(%(event_ids)s)"

# The first pending delivery of each key and address that is due; later ones wait behind it.
LEASE = """
UPDATE deliveries d SET leased_until = %(until)s
FROM (
    SELECT delivery_id FROM deliveries p
    WHERE state = 'pending' AND next_at <= %(now)s AND (leased_until IS NULL OR leased_until < %(now)s)
      AND NOT EXISTS (SELECT FROM deliveries e WHERE e.account_id = p.account_id AND e.order_key = p.order_key
                      AND e.address = p.address AND e.state = 'pending' AND e.event_id < p.event_id)
    ORDER BY next_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) picked
WHERE d.delivery_id = picked.delivery_id
RETURNING d.delivery_id, d.account_id, d.event_id, d.event_at, d.kind, d.address, d.content_type, d.body, d.tries
"""

DELIVERED = """
UPDATE deliveries SET state = 'delivered', delivered_at = %(now)s, tries = tries + 1, last_status = %(status)s,
    last_error = NULL, leased_until = NULL
WHERE delivery_id = %(delivery_id)s AND state = 'pending'
"""

FAILED = """
UPDATE deliveries SET tries = tries + 1, last_status = %(status)s, last_error = %(error)s, leased_until = NULL,
    state = CASE WHEN %(next_at)s::timestamptz IS NULL THEN 'dead' ELSE 'pending' END,
    next_at = coalesce(%(next_at)s, next_at)
WHERE delivery_id = %(delivery_id)s AND state = 'pending'
"""

# When something becomes due by itself, with no notification: not what waits behind another or is leased.
NEXT_DUE = """
SELECT min(greatest(p.next_at, p.leased_until)) FROM deliveries p
WHERE p.state = 'pending'
  AND NOT EXISTS (SELECT FROM deliveries e WHERE e.account_id = p.account_id AND e.order_key = p.order_key
                  AND e.address = p.address AND e.state = 'pending' AND e.event_id < p.event_id)
"""

# How far behind the deliveries are, for /metrics and the demo's end.
LAG = """
SELECT (SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL) AS events,
    count(*) FILTER (WHERE state = 'pending') AS pending, count(*) FILTER (WHERE state = 'dead') AS dead,
    coalesce(extract(epoch FROM %(now)s - min(event_at) FILTER (WHERE state = 'pending')), 0)::float8 AS oldest
FROM deliveries WHERE state <> 'delivered'
"""


class Lag(Struct, frozen=True, kw_only=True):
    """What has not been told yet."""

    events: int  # not fanned out
    pending: int
    dead: int
    oldest: float  # seconds since the event of the oldest pending delivery


async def fan_out(db: Database, render: Renderer, *, now: datetime, limit: int = 500) -> int:
    """Turn pending events into deliveries, each rendered once; how many events that were.

    0 also where another process is at it.
    """
    async with db.transaction() as connection:
        mine = await (await connection.execute(FAN_OUT_LOCK)).fetchone()
        if mine is None or not mine[0]:
            return 0
        events = await rows(connection, Event, PENDING, {"limit": limit})
        if not events:
            return 0
        made = [(event, rendered) for event in events for rendered in render(event)]
        if made:
            await connection.execute(
                ADD_DELIVERIES,
                {
                    "account_ids": [event.account_id for event, _ in made],
                    "event_ids": [event.event_id for event, _ in made],
                    "event_ats": [event.at for event, _ in made],
                    "kinds": [rendered.kind for _, rendered in made],
                    "addresses": [rendered.address for _, rendered in made],
                    "order_keys": [rendered.order_key for _, rendered in made],
                    "content_types": [rendered.content_type for _, rendered in made],
                    "bodies": [rendered.body for _, rendered in made],
                    "now": now,
                },
            )
        await connection.execute(FANNED_OUT, {"event_ids": [event.event_id for event in events], "now": now})
    return len(events)


async def lease(db: Database, *, now: datetime, until: datetime, limit: int) -> list[Delivery]:
    """Due deliveries; each is ours until delivered, failed, or `until` has passed."""
    leased = await db.rows(Delivery, LEASE, {"now": now, "until": until, "limit": limit})
    return sorted(leased, key=lambda delivery: delivery.event_id)


async def delivered(db: Database, delivery: Delivery, *, status: int, now: datetime) -> None:
    """The address took it."""
    await db.execute(DELIVERED, {"delivery_id": delivery.delivery_id, "status": status, "now": now})


async def failed(
    db: Database, delivery: Delivery, *, status: int | None, error: str, next_at: datetime | None
) -> None:
    """The address did not take it: again at `next_at`, or never (None: dead)."""
    await db.execute(
        FAILED,
        {"delivery_id": delivery.delivery_id, "status": status, "error": error, "next_at": next_at},
    )


async def next_due(db: Database) -> datetime | None:
    """When the next delivery is due, if any is pending."""
    due = await db.value(NEXT_DUE)
    return due if isinstance(due, datetime) else None


async def lag(db: Database, *, now: datetime) -> Lag:
    """How far behind deliveries are."""
    found = await db.row(Lag, LAG, {"now": now})
    assert found is not None
    return found
