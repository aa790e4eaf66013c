"""Which calls go to a CRM next, and what became of each there? What is on its way is written down before it leaves.

A CRM does not notice that it gets the same call twice. So each is marked as posted, durably, before it may arrive; a
mark without an end means that nobody knows, and that the CRM has to be asked before the call is posted again.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec import Struct

from zvonar.store import deliveries, push_paces
from zvonar.store.db import Connection, Database, rows
from zvonar.store.deliveries import Delivery, Settlement
from zvonar.store.push_paces import Slot

CallState = Literal["posting", "logged", "skipped", "refused"]
Way = Literal["calls", "unsorted"]


class Outgoing(Struct, frozen=True, kw_only=True):
    """A call that is to be logged."""

    delivery: Delivery
    uniq: str
    state: CallState | None  # None: it was never on its way before
    posted_at: datetime | None  # while posting: when it may have arrived; None: it has not
    way: Way

    @property
    def doubtful(self) -> bool:
        """Whether it may be in the CRM already, and nobody knows."""
        return self.state == "posting" and self.posted_at is not None


class Logged(Struct, frozen=True, kw_only=True):
    """What became of a call in the CRM."""

    uniq: str
    state: CallState
    note_id: int | None = None
    entity_type: str | None = None  # contact, company, lead, customer, unsorted
    entity_id: str | None = None


# What is due at one CRM; one delivery of each call at a time.
LEASE = """
WITH due AS (
    SELECT d.delivery_id FROM deliveries d
    WHERE d.address = %(address)s AND d.state = 'pending' AND d.next_at <= %(now)s
      AND (d.leased_until IS NULL OR d.leased_until < %(now)s)
      AND NOT EXISTS (SELECT FROM deliveries e WHERE e.order_key = d.order_key AND e.event_id < d.event_id
          AND e.state = 'pending' AND e.account_id IS NOT DISTINCT FROM d.account_id
          AND e.address IS NOT DISTINCT FROM d.address)
    ORDER BY d.next_at, d.delivery_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE deliveries d SET leased_until = %(until)s, leased_by = %(worker_id)s FROM due
WHERE d.delivery_id = due.delivery_id
RETURNING d.delivery_id, d.account_id, d.event_id, d.event_at, d.kind, d.address, d.method,
    coalesce(d.url, d.address) AS url, d.content_type, d.body, d.tries, d.tries_before, d.order_key AS uniq
"""

# What is known of these calls so far; those that are not logged, and not in doubt, are posted from now on. What was
# skipped or refused before is tried again, since somebody wants it.
MARK = """
WITH wanted AS (
    SELECT * FROM unnest(%(uniqs)s::text[], %(call_ids)s::bigint[], %(attempts)s::int[]) AS w (uniq, call_id, attempt)
), was AS (
    SELECT uniq, state, posted_at, way FROM push_calls
    WHERE account_id = %(account_id)s AND uniq = ANY(%(uniqs)s) FOR NO KEY UPDATE
), marked AS (
    INSERT INTO push_calls AS c (account_id, uniq, call_id, attempt, state, posted_at)
    SELECT %(account_id)s, uniq, call_id, attempt, 'posting', %(now)s FROM wanted
    ON CONFLICT (account_id, uniq) DO UPDATE SET state = 'posting', posted_at = excluded.posted_at, way = 'calls'
    WHERE c.state IN ('skipped', 'refused') OR c.state = 'posting' AND c.posted_at IS NULL
)
SELECT w.uniq, was.state, was.posted_at, coalesce(was.way, 'calls') AS way FROM wanted w LEFT JOIN was USING (uniq)
"""

# They leave now, perhaps again, and perhaps by another way.
POSTING = """
UPDATE push_calls SET posted_at = %(now)s, way = %(way)s
WHERE account_id = %(account_id)s AND uniq = ANY(%(uniqs)s) AND state = 'posting'
"""

# They have surely not arrived.
NOT_POSTED = """
UPDATE push_calls SET posted_at = NULL
WHERE account_id = %(account_id)s AND uniq = ANY(%(uniqs)s) AND state = 'posting'
"""

RECORD = """
UPDATE push_calls c SET state = r.state, posted_at = NULL, note_id = r.note_id, entity_type = r.entity_type,
    entity_id = r.entity_id, settled_at = %(now)s
FROM unnest(%(uniqs)s::text[], %(states)s::text[], %(note_ids)s::bigint[], %(entity_types)s::text[],
            %(entity_ids)s::text[]) AS r (uniq, state, note_id, entity_type, entity_id)
WHERE c.account_id = %(account_id)s AND c.uniq = r.uniq AND c.state <> 'logged'
"""

# Not before then, for a reason that is nobody's failure.
PUT_BACK = """
UPDATE deliveries d SET next_at = p.next_at, leased_until = NULL, leased_by = NULL
FROM unnest(%(delivery_ids)s::bigint[], %(next_ats)s::timestamptz[]) AS p (delivery_id, next_at)
WHERE d.delivery_id = p.delivery_id AND d.leased_by = %(worker_id)s AND d.state = 'pending'
"""


class _Leased(Delivery, frozen=True, kw_only=True):
    uniq: str


class _Known(Struct, frozen=True, kw_only=True):
    uniq: str
    state: CallState | None
    posted_at: datetime | None
    way: Way


class Batch(Struct, frozen=True, kw_only=True):
    """What goes to a CRM together."""

    calls: list[Outgoing]
    slot: Slot  # of the first request
    worker_id: int
    until: datetime  # the end of the lease


class _NoSlot(Exception):
    """Rolls a lease back for which there is no slot."""

    def __init__(self, wait: float) -> None:
        self.wait = wait


def numbers(uniq: str) -> tuple[int, int]:
    """Call and attempt of a `uniq`, which ends in CALL.ATTEMPT."""
    call_id, _, attempt = uniq.rpartition("-")[2].partition(".")
    return int(call_id), int(attempt)


async def take(
    db: Database,
    account_id: int,
    address: str,
    *,
    origin: str,
    per_second: int,
    worker_id: int,
    now: datetime,
    lease: float,
    limit: int,
) -> Batch | float | None:
    """What is due, leased, marked, and with a slot to send it in; else in how many seconds to ask again, or None where
    nothing is due.
    """
    until = now + timedelta(seconds=lease)
    params = {"address": address, "now": now, "until": until, "worker_id": worker_id, "limit": limit}
    try:
        async with db.transaction() as connection:
            leased = await rows(connection, _Leased, LEASE, params)
            if not leased:
                return None
            slot = await push_paces.take(connection, origin, count=per_second)
            if not isinstance(slot, Slot):
                raise _NoSlot(slot)
            known = await _mark(connection, account_id, [one.uniq for one in leased], now=now)
    except _NoSlot as exc:
        return exc.wait
    leased.sort(key=lambda one: (one.event_at, one.event_id))
    calls = [
        Outgoing(
            delivery=one,
            uniq=one.uniq,
            state=known[one.uniq].state,
            posted_at=known[one.uniq].posted_at,
            way=known[one.uniq].way,
        )
        for one in leased
    ]
    return Batch(calls=calls, slot=slot, worker_id=worker_id, until=until)


async def _mark(
    connection: Connection, account_id: int, uniqs: Sequence[str], *, now: datetime
) -> dict[str, _Known]:
    pairs = [numbers(uniq) for uniq in uniqs]
    params = {
        "account_id": account_id,
        "uniqs": list(uniqs),
        "call_ids": [call_id for call_id, _ in pairs],
        "attempts": [attempt for _, attempt in pairs],
        "now": now,
    }
    return {one.uniq: one for one in await rows(connection, _Known, MARK, params)}


async def posting(db: Database, account_id: int, uniqs: Sequence[str], *, way: Way, now: datetime) -> None:
    """These leave now."""
    params = {"account_id": account_id, "uniqs": list(uniqs), "way": way, "now": now}
    await db.execute(POSTING, params)


async def settle(
    db: Database,
    account_id: int,
    tries: Sequence[Settlement],
    logged: Sequence[Logged],
    *,
    not_posted: Sequence[str],
    now: datetime,
) -> None:
    """What tries came to here and what became of the calls there, together or not at all. `not_posted`: those that have
    surely not arrived.
    """
    params = {
        "account_id": account_id,
        "uniqs": [one.uniq for one in logged],
        "states": [one.state for one in logged],
        "note_ids": [one.note_id for one in logged],
        "entity_types": [one.entity_type for one in logged],
        "entity_ids": [one.entity_id for one in logged],
        "now": now,
    }
    async with db.transaction() as connection:
        if logged:
            await connection.execute(RECORD, params)
        if not_posted:
            await connection.execute(NOT_POSTED, {"account_id": account_id, "uniqs": list(not_posted)})
        if tries:
            await connection.execute(deliveries.SETTLE, deliveries.settle_params(tries))


async def put_back(db: Database, when: Sequence[tuple[int, datetime]], *, worker_id: int) -> None:
    """Give these deliveries back, each until its time."""
    params = {
        "delivery_ids": [delivery_id for delivery_id, _ in when],
        "next_ats": [at for _, at in when],
        "worker_id": worker_id,
    }
    await db.execute(PUT_BACK, params)


# The log, and what waits.

# The newest calls, those that were never on their way included; a card's link is made of what stands here.
LOG = """
SELECT * FROM (
    SELECT c.uniq, c.call_id, c.attempt, c.state, c.note_id, c.entity_type, c.entity_id, c.settled_at,
        c.posted_at, NULL::text AS error, NULL::int AS status, c.settled_at AS at
    FROM push_calls c
    WHERE c.account_id = %(account_id)s AND c.state <> 'posting'
      AND (%(since)s::timestamptz IS NULL OR c.settled_at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR c.settled_at < %(until)s)
    UNION ALL
    SELECT DISTINCT ON (d.order_key) d.order_key, NULL, NULL,
        CASE WHEN d.state = 'dead' THEN 'dead' WHEN d.state = 'pending' AND c.posted_at IS NOT NULL THEN 'posting'
            ELSE 'waiting' END,
        NULL, NULL, NULL, NULL, c.posted_at, d.last_error, d.last_status, d.event_at
    FROM deliveries d LEFT JOIN push_calls c ON c.account_id = d.account_id AND c.uniq = d.order_key
    WHERE d.address = %(address)s AND d.account_id = %(account_id)s AND d.state <> 'delivered'
      AND (c.state IS NULL OR c.state = 'posting')
      AND (%(since)s::timestamptz IS NULL OR d.event_at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR d.event_at < %(until)s)
) entries
WHERE %(state)s::text IS NULL OR state = %(state)s
ORDER BY at DESC, uniq DESC LIMIT %(limit)s
"""

COUNTS = """
SELECT (SELECT count(*) FROM deliveries WHERE address = %(address)s AND state = 'pending') AS waiting,
    (SELECT count(*) FROM deliveries WHERE account_id = %(account_id)s AND address = %(address)s
     AND state IN ('dead', 'disabled') AND state = 'disabled') AS disabled,
    (SELECT count(*) FROM deliveries WHERE account_id = %(account_id)s AND address = %(address)s
     AND state IN ('dead', 'disabled') AND state = 'dead') AS dead,
    (SELECT count(*) FROM push_calls WHERE account_id = %(account_id)s AND state = 'logged') AS logged,
    (SELECT count(*) FROM push_calls WHERE account_id = %(account_id)s AND state = 'skipped') AS skipped,
    (SELECT count(*) FROM push_calls WHERE account_id = %(account_id)s AND state = 'refused') AS refused
"""


class Entry(Struct, frozen=True, kw_only=True):
    """A line of the log."""

    uniq: str
    call_id: int
    attempt: int
    state: str  # logged, skipped, refused; waiting, posting, dead: not there yet
    note_id: int | None
    entity_type: str | None
    entity_id: str | None
    settled_at: datetime | None
    posted_at: datetime | None
    error: str | None
    status: int | None
    at: datetime


class _Line(Struct, frozen=True, kw_only=True):
    uniq: str
    call_id: int | None
    attempt: int | None
    state: str
    note_id: int | None
    entity_type: str | None
    entity_id: str | None
    settled_at: datetime | None
    posted_at: datetime | None
    error: str | None
    status: int | None
    at: datetime


class Counts(Struct, frozen=True, kw_only=True):
    """How many calls stand where."""

    waiting: int
    disabled: int  # wait for the CRM to be connected again
    dead: int
    logged: int
    skipped: int
    refused: int


async def log(
    db: Database,
    account_id: int,
    address: str,
    *,
    state: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> list[Entry]:
    """What went where, the newest first."""
    params = {
        "account_id": account_id,
        "address": address,
        "state": state,
        "since": since,
        "until": until,
        "limit": limit,
    }
    entries = []
    for line in await db.rows(_Line, LOG, params):
        call_id, attempt = numbers(line.uniq)
        entries.append(Entry(**{**msgspec.structs.asdict(line), "call_id": call_id, "attempt": attempt}))
    return entries


async def counts(db: Database, account_id: int, address: str) -> Counts:
    """How many stand where."""
    found = await db.row(Counts, COUNTS, {"account_id": account_id, "address": address})
    assert found is not None
    return found
