"""Which deliveries are due, and what came of them? Many at a time, and each address its fair share."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, LiteralString

from msgspec import Struct

from zvonar.store import receivers
from zvonar.store.db import Database
from zvonar.store.outbox import Swept

_PEOPLE = ("mailto:", "sms:")  # schemes of addresses that are a person's


class Delivery(Struct, frozen=True, kw_only=True):
    """One event on its way to one address."""

    delivery_id: int
    account_id: int
    event_id: int
    event_at: datetime
    kind: str
    address: str  # the receiver
    method: Literal["POST", "GET"]
    url: str  # what is asked for
    content_type: str
    body: bytes
    tries: int  # made before this one
    tries_before: int  # of these, before somebody had it sent again


class Settlement(Struct, frozen=True, kw_only=True):
    """What one try came to."""

    delivery: Delivery
    worker_id: int
    until: datetime  # the end of the lease under which it was made
    sent_at: datetime
    at: datetime  # of the verdict
    latency: int  # milliseconds
    status: int | None  # HTTP, SMTP or SMPP
    error: str | None  # None: the address took it
    next_at: datetime | None  # of the next try; None: there is none
    gone: bool = False  # the receiver wants nothing any more
    answer: bytes = b""  # the first of what it said

    @property
    def state(self) -> str:
        if self.error is None:
            return "delivered"
        if self.gone:
            return "disabled"
        return "dead" if self.next_at is None else "pending"


# What is due at one address, as much as there is room for and some more: only the first of each key may go, since
# later ones wait behind it. Not "account_id =" nor "address =" in the look for earlier ones: other indexes would
# tempt, and read all of an account or an address.
_SEEN: LiteralString = """CROSS JOIN LATERAL (
    SELECT p.delivery_id, p.next_at,
        (SELECT max(e.next_at) FROM deliveries e
         WHERE e.order_key = p.order_key AND e.event_id < p.event_id AND e.state = 'pending'
           AND e.account_id IS NOT DISTINCT FROM p.account_id AND e.address IS NOT DISTINCT FROM p.address) AS behind
    FROM deliveries p
    WHERE p.address = a.address AND p.state = 'pending' AND p.next_at <= %(now)s
      AND (p.leased_until IS NULL OR p.leased_until < %(now)s)
    ORDER BY p.next_at, p.delivery_id LIMIT CASE WHEN a.room > 0 THEN a.room + 8 ELSE 0 END
) p"""

# Whatever is due behind one that is due later was put off until then by PUT_OFF or at fan-out; what slipped through is
# put off here, since it would stand before its own first one for ever.
_TAKE: LiteralString = """
due AS (
    SELECT delivery_id FROM (
        SELECT delivery_id, next_at, room,
            row_number() OVER (PARTITION BY address ORDER BY next_at, delivery_id) AS place
        FROM seen WHERE behind IS NULL) heads
    WHERE place <= room ORDER BY next_at, delivery_id LIMIT %(limit)s
), put_off AS (
    UPDATE deliveries d SET next_at = seen.behind FROM seen
    WHERE d.delivery_id = seen.delivery_id AND seen.behind > seen.next_at
      AND d.leased_until IS NULL AND d.state = 'pending'
), picked AS (
    SELECT delivery_id FROM deliveries
    WHERE delivery_id IN (SELECT delivery_id FROM due)
      AND state = 'pending' AND (leased_until IS NULL OR leased_until < %(now)s)
    FOR UPDATE SKIP LOCKED
), hasty AS MATERIALIZED (
    -- A lease that a crash of PostgreSQL forgets costs one repetition, so its commit need not wait for the disk.
    SELECT set_config('synchronous_commit', 'off', true)
)
UPDATE deliveries d SET leased_until = %(until)s, leased_by = %(worker_id)s FROM picked, hasty
WHERE d.delivery_id = picked.delivery_id
RETURNING d.delivery_id, d.account_id, d.event_id, d.event_at, d.kind, d.address, d.method,
    coalesce(d.url, d.address) AS url, d.content_type, d.body, d.tries, d.tries_before
"""

# The quick way, for addresses that are known and answer well.
LEASE_FROM: LiteralString = f"""
WITH seen AS MATERIALIZED (
    SELECT a.address, a.room, p.delivery_id, p.next_at, p.behind
    FROM unnest(%(addresses)s::text[], %(rooms)s::int[]) AS a (address, room)
    {_SEEN}
), {_TAKE}"""

# The long way: each address that has something pending, as much as it may get now. Walking the addresses, not the
# deliveries, keeps the backlog of a dead receiver out of the others' way. CRMs have a lease of their own.
LEASE: LiteralString = f"""
WITH RECURSIVE addresses (address) AS (
    (SELECT address FROM deliveries WHERE state = 'pending' ORDER BY address LIMIT 1)
    UNION ALL
    SELECT (SELECT d.address FROM deliveries d WHERE d.state = 'pending' AND d.address > a.address
            ORDER BY d.address LIMIT 1)
    FROM addresses a WHERE a.address IS NOT NULL
), seen AS MATERIALIZED (
    SELECT a.address, a.room, p.delivery_id, p.next_at, p.behind
    FROM (SELECT address, coalesce(known.room, %(per_address)s) AS room FROM addresses
          LEFT JOIN unnest(%(addresses)s::text[], %(rooms)s::int[]) AS known (address, room) USING (address)
          WHERE address IS NOT NULL AND NOT starts_with(address, 'amocrm:')) a
    {_SEEN}
), {_TAKE}"""

# The worker and the lease's end name the lease: whoever outlived it has no say, somebody else may be posting by now.
# What was taken is delivered even if its receiver was disabled meanwhile.
SETTLE = """
WITH settled AS (
    UPDATE deliveries d SET tries = d.tries + 1, leased_until = NULL, leased_by = NULL, last_status = s.status,
        last_error = s.error, delivered_at = CASE WHEN s.state = 'delivered' THEN s.at END,
        state = CASE WHEN d.state = 'disabled' AND s.state = 'pending' THEN 'disabled' ELSE s.state END,
        next_at = coalesce(s.next_at, d.next_at)
    FROM unnest(%(delivery_ids)s::bigint[], %(untils)s::timestamptz[], %(states)s::text[], %(statuses)s::int[],
                %(errors)s::text[], %(next_ats)s::timestamptz[], %(ats)s::timestamptz[], %(sent_ats)s::timestamptz[],
                %(latencies)s::int[], %(answers)b::bytea[], %(workers)s::bigint[])
        AS s (delivery_id, until, state, status, error, next_at, at, sent_at, latency, answer, worker_id)
    WHERE d.delivery_id = s.delivery_id AND d.state IN ('pending', 'disabled') AND d.leased_until = s.until
      AND d.leased_by = s.worker_id
    RETURNING d.delivery_id, d.account_id, d.address, d.tries, s.sent_at, s.latency, s.status, s.error, s.answer
), logged AS (
    INSERT INTO delivery_attempts (delivery_id, attempt, at, latency, status, error, answer)
    SELECT delivery_id, tries, sent_at, latency, status, error, answer FROM settled
)
UPDATE receivers r SET failing_since = NULL
FROM (SELECT DISTINCT account_id, address FROM settled WHERE error IS NULL) well
WHERE r.account_id = well.account_id AND r.address = well.address AND r.failing_since IS NOT NULL
  AND r.disabled_at IS NULL
"""

# What waits behind a failed one is due with it. A receiver that is down would otherwise have a backlog that is due and
# may not go, to be read at each lease.
PUT_OFF = """
UPDATE deliveries f SET next_at = s.next_at
FROM unnest(%(delivery_ids)s::bigint[], %(next_ats)s::timestamptz[]) AS s (delivery_id, next_at)
JOIN deliveries d USING (delivery_id)
WHERE f.order_key = d.order_key AND f.event_id > d.event_id AND f.state = 'pending'
  AND f.account_id IS NOT DISTINCT FROM d.account_id AND f.address IS NOT DISTINCT FROM d.address
  AND f.next_at < s.next_at AND f.leased_until IS NULL
"""

# What a worker that stops has leased and not tried yet.
RELEASE = """
UPDATE deliveries SET leased_until = NULL, leased_by = NULL
WHERE delivery_id = ANY(%(delivery_ids)s) AND leased_by = %(worker_id)s AND state = 'pending'
"""

# Old enough to be forgotten, of one stretch of the table; how far the stretch went, and whether anything in it is too
# young. What is dead or waits is kept until somebody has decided about it.
SWEEP = """
WITH stretch AS (
    SELECT delivery_id, state, delivered_at, created_at FROM deliveries WHERE delivery_id > %(after)s
    ORDER BY delivery_id LIMIT %(limit)s
), swept AS (
    DELETE FROM deliveries
    WHERE delivery_id IN (SELECT delivery_id FROM stretch WHERE state = 'delivered' AND delivered_at < %(before)s)
    RETURNING delivery_id
), attempts AS (
    DELETE FROM delivery_attempts WHERE delivery_id IN (SELECT delivery_id FROM swept)
)
SELECT max(delivery_id) AS upto, coalesce(bool_or(created_at >= %(before)s), true) AS young FROM stretch
"""


async def lease(
    db: Database,
    *,
    worker_id: int,
    now: datetime,
    until: datetime,
    limit: int,
    per_address: int,
    rooms: Mapping[str, int],
) -> list[Delivery]:
    """Due deliveries of any address, each ours until settled or `until`; at most `per_address` to one, or its room
    in `rooms`.
    """
    params = {**_params(worker_id, now, until, limit, rooms), "per_address": per_address}
    leased = await db.rows(Delivery, LEASE, params)
    return sorted(leased, key=lambda delivery: delivery.event_id)


async def lease_from(
    db: Database, *, worker_id: int, now: datetime, until: datetime, limit: int, rooms: Mapping[str, int]
) -> list[Delivery]:
    """Due deliveries of these addresses only, at most its room to each."""
    leased = await db.rows(Delivery, LEASE_FROM, _params(worker_id, now, until, limit, rooms))
    return sorted(leased, key=lambda delivery: delivery.event_id)


def _params(
    worker_id: int, now: datetime, until: datetime, limit: int, rooms: Mapping[str, int]
) -> dict[str, object]:
    return {
        "worker_id": worker_id,
        "now": now,
        "until": until,
        "limit": limit,
        "addresses": list(rooms),
        "rooms": list(rooms.values()),
    }


def settle_params(tries: Sequence[Settlement]) -> dict[str, object]:
    """What SETTLE is told of these tries."""
    return {
        "workers": [settled.worker_id for settled in tries],
        "delivery_ids": [settled.delivery.delivery_id for settled in tries],
        "untils": [settled.until for settled in tries],
        "states": [settled.state for settled in tries],
        "statuses": [settled.status for settled in tries],
        "errors": [settled.error for settled in tries],
        "next_ats": [settled.next_at for settled in tries],
        "ats": [settled.at for settled in tries],
        "sent_ats": [settled.sent_at for settled in tries],
        "latencies": [settled.latency for settled in tries],
        "answers": [settled.answer for settled in tries],
    }


async def settle(db: Database, tries: Sequence[Settlement], *, now: datetime) -> list[receivers.Disabled]:
    """Record what tries came to; those whose lease has run out are left to its next holder.

    Returns the receivers that were given up because of it.
    """
    params = settle_params(tries)
    failed = [settled for settled in tries if settled.error is not None]
    if not failed:
        await db.execute(SETTLE, params)
        return []
    again = [settled for settled in failed if settled.state == "pending"]
    failures = [
        (settled.delivery.account_id, settled.delivery.address, settled.gone)
        for settled in failed
        if not settled.delivery.address.startswith(_PEOPLE)  # a person is no receiver to give up
    ]
    async with db.transaction() as connection:
        await connection.execute(SETTLE, params)
        if again:
            put_off = {
                "delivery_ids": [settled.delivery.delivery_id for settled in again],
                "next_ats": [settled.next_at for settled in again],
            }
            await connection.execute(PUT_OFF, put_off)
        return await receivers.failed(connection, failures, now=now) if failures else []


async def release(db: Database, delivery_ids: Sequence[int], *, worker_id: int) -> None:
    """Give leases back untried."""
    await db.execute(RELEASE, {"delivery_ids": list(delivery_ids), "worker_id": worker_id})


async def sweep(db: Database, *, before: datetime, after: int, limit: int) -> Swept:
    """Forget what was delivered before then, and its tries, in the `limit` rows after id `after`."""
    found = await db.row(Swept, SWEEP, {"before": before, "after": after, "limit": limit})
    assert found is not None
    return found
