"""What became of a delivery, and can it be sent again? The operator's view of what the workers do."""

from datetime import datetime

from msgspec import Struct

from zvonar.core.errors import NotFound, Refused
from zvonar.store.db import Database, row, rows


class DeliveryNotFound(NotFound):
    """There is no such delivery."""


class ReceiverDisabled(Refused):
    """The address is disabled: zvonar deliveries enable lets it have everything that waits."""


class Filter(Struct, frozen=True, kw_only=True):
    """Which deliveries are meant; None does not narrow."""

    account_id: int | None = None
    state: str | None = None  # pending, disabled, delivered, dead
    address: str | None = None
    since: datetime | None = None  # of the event
    until: datetime | None = None  # of the event, exclusive
    first_event: int | None = None
    last_event: int | None = None


class Entry(Struct, frozen=True, kw_only=True):
    """One delivery."""

    delivery_id: int
    account_id: int
    event_id: int
    event_at: datetime
    kind: str
    method: str
    address: str
    state: str
    tries: int
    next_at: datetime | None  # of a pending one
    last_status: int | None
    last_error: str | None
    delivered_at: datetime | None


class Details(Entry, frozen=True, kw_only=True):
    """One delivery with what it carries."""

    url: str
    order_key: str
    content_type: str
    body: bytes


class Attempt(Struct, frozen=True, kw_only=True):
    """One try."""

    attempt: int
    at: datetime
    latency: int  # milliseconds
    status: int | None
    error: str | None
    answer: bytes  # the first KiB


class UnrenderedEvent(Struct, frozen=True, kw_only=True):
    """An event that no renderer could make anything of, or that waits behind one."""

    event_id: int
    account_id: int
    event_at: datetime
    kind: str
    error: str  # class of the exception, or held
    tries: int
    next_at: datetime | None  # None: given up


_ENTRY = """delivery_id, account_id, event_id, event_at, kind, method, address, state, tries,
    CASE WHEN state = 'pending' THEN next_at END AS next_at, last_status, last_error, delivered_at"""

_MATCHES = """(%(account_id)s::bigint IS NULL OR account_id = %(account_id)s)
  AND (%(state)s::text IS NULL OR state = %(state)s)
  AND (%(address)s::text IS NULL OR address = %(address)s)
  AND (%(since)s::timestamptz IS NULL OR event_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR event_at < %(until)s)
  AND (%(first_event)s::bigint IS NULL OR event_id >= %(first_event)s)
  AND (%(last_event)s::bigint IS NULL OR event_id <= %(last_event)s)"""

# The newest first.
LIST = f"SELECT {_ENTRY} FROM deliveries WHERE {_MATCHES} ORDER BY delivery_id DESC LIMIT %(limit)s"

SHOW = f"""
SELECT {_ENTRY}, coalesce(url, address) AS url, order_key, content_type, body FROM deliveries
WHERE delivery_id = %(delivery_id)s
"""

ATTEMPTS = """
SELECT attempt, at, latency, status, error, answer FROM delivery_attempts
WHERE delivery_id = %(delivery_id)s ORDER BY attempt
"""

# Due now, and with a whole schedule of tries before it; with it what was put off behind it. What is being tried at
# this moment is left to it.
RETRY_ONE = """
WITH followers AS (
    UPDATE deliveries f SET next_at = %(now)s FROM deliveries d
    WHERE d.delivery_id = %(delivery_id)s AND f.order_key = d.order_key AND f.event_id > d.event_id
      AND f.state = 'pending' AND f.tries = f.tries_before AND f.next_at > %(now)s
      AND f.address IS NOT DISTINCT FROM d.address
)
UPDATE deliveries SET state = 'pending', next_at = %(now)s, tries_before = tries, delivered_at = NULL
WHERE delivery_id = %(delivery_id)s AND state <> 'disabled' AND leased_until IS NULL
RETURNING delivery_id
"""

# A batch of what matches, oldest first, and with it what was put off behind it; what is for a disabled address waits
# for it.
RETRY = f"""
WITH chosen AS (
    SELECT delivery_id FROM deliveries WHERE {_MATCHES} AND state <> 'disabled' AND delivery_id > %(after)s
    ORDER BY delivery_id LIMIT %(limit)s
), again AS (
    UPDATE deliveries d SET next_at = %(now)s, tries_before = tries, delivered_at = NULL,
        state = CASE WHEN EXISTS (SELECT FROM receivers r WHERE r.account_id = d.account_id
                                  AND r.address = d.address AND r.disabled_at IS NOT NULL)
                THEN 'disabled' ELSE 'pending' END
    WHERE delivery_id IN (SELECT delivery_id FROM chosen) AND leased_until IS NULL
    RETURNING d.delivery_id, d.order_key, d.event_id, d.address
), followers AS (
    UPDATE deliveries f SET next_at = %(now)s FROM again d
    WHERE f.order_key = d.order_key AND f.event_id > d.event_id AND f.address IS NOT DISTINCT FROM d.address
      AND f.state = 'pending' AND f.tries = f.tries_before AND f.next_at > %(now)s
      AND f.delivery_id NOT IN (SELECT delivery_id FROM chosen)
)
SELECT (SELECT max(delivery_id) FROM chosen) AS upto, (SELECT count(*) FROM again) AS again
"""

IS_DISABLED = """
SELECT EXISTS (SELECT FROM deliveries d JOIN receivers r USING (account_id, address)
               WHERE d.delivery_id = %(delivery_id)s AND r.disabled_at IS NOT NULL)
"""

RING = "SELECT pg_notify('zvonar_deliveries', '')"

UNRENDERED = """
SELECT event_id, account_id, at AS event_at, kind, render_error AS error, render_tries AS tries, render_at AS next_at
FROM outbox
WHERE fanned_out_at IS NULL AND render_error IS NOT NULL
  AND (%(account_id)s::bigint IS NULL OR account_id = %(account_id)s)
  AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
  AND (%(first_event)s::bigint IS NULL OR event_id >= %(first_event)s)
  AND (%(last_event)s::bigint IS NULL OR event_id <= %(last_event)s)
ORDER BY event_id DESC LIMIT %(limit)s
"""

# Events that stand aside take their places in the queue again.
RENDER_AGAIN = """
WITH again AS (
    UPDATE outbox SET render_error = NULL, render_tries = 0, render_at = NULL
    WHERE fanned_out_at IS NULL AND render_error IS NOT NULL
      AND (%(account_id)s::bigint IS NULL OR account_id = %(account_id)s)
      AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
      AND (%(first_event)s::bigint IS NULL OR event_id >= %(first_event)s)
      AND (%(last_event)s::bigint IS NULL OR event_id <= %(last_event)s)
    RETURNING 1
)
SELECT count(*), pg_notify('zvonar_outbox', '') FROM again
"""

_BATCH = 5000  # deliveries of one statement of a retry


class _Again(Struct, frozen=True, kw_only=True):
    upto: int | None
    again: int


def _params(which: Filter) -> dict[str, object]:
    return {
        "account_id": which.account_id,
        "state": which.state,
        "address": which.address,
        "since": which.since,
        "until": which.until,
        "first_event": which.first_event,
        "last_event": which.last_event,
    }


async def find(db: Database, which: Filter, *, limit: int) -> list[Entry]:
    """The newest deliveries of these."""
    return await db.rows(Entry, LIST, {**_params(which), "limit": limit})


async def show(db: Database, delivery_id: int) -> tuple[Details, list[Attempt]]:
    """A delivery and the log of its tries. Raises DeliveryNotFound."""
    async with db.connection() as connection:
        found = await row(connection, Details, SHOW, {"delivery_id": delivery_id})
        if found is None:
            raise DeliveryNotFound(str(delivery_id))
        return found, await rows(connection, Attempt, ATTEMPTS, {"delivery_id": delivery_id})


async def retry_one(db: Database, delivery_id: int, *, now: datetime) -> bool:
    """Send it again now, whatever became of it; False where it is being tried at this moment.

    Raises DeliveryNotFound, ReceiverDisabled.
    """
    await show(db, delivery_id)
    if await db.value(IS_DISABLED, {"delivery_id": delivery_id}):
        raise ReceiverDisabled()
    done = await db.value(RETRY_ONE, {"delivery_id": delivery_id, "now": now})
    await db.execute(RING)
    return done is not None


async def retry(db: Database, which: Filter, *, now: datetime) -> int:
    """Send these again now, oldest first; how many. Those for a disabled address wait for it."""
    after, again = 0, 0
    while True:
        params = {**_params(which), "after": after, "limit": _BATCH, "now": now}
        found = await db.row(_Again, RETRY, params)
        if found is None or found.upto is None:
            break
        after, again = found.upto, again + found.again
    await db.execute(RING)
    return again


async def unrendered(db: Database, which: Filter, *, limit: int) -> list[UnrenderedEvent]:
    """The newest events that stand aside."""
    return await db.rows(UnrenderedEvent, UNRENDERED, {**_params(which), "limit": limit})


async def render_again(db: Database, which: Filter) -> int:
    """Have these events rendered again now; how many."""
    found = await db.value(RENDER_AGAIN, _params(which))
    return int(found or 0)
