"""Has this request been done before? What was answered stands beside what was done, in the same transaction."""

from datetime import datetime, timedelta
from enum import Enum

from msgspec import Struct

from zvonar.store.db import Connection, Database, row

KEPT = timedelta(hours=24)


class Kept(Struct, frozen=True, kw_only=True):
    """An answer that was given."""

    fingerprint: bytes  # of the request
    status: int
    content_type: str
    body: bytes


class Busy(Enum):
    """The same request is being worked on at this moment."""

    busy = "busy"


# Whoever gets it is alone with this key until the transaction ends, in whichever process.
ALONE = "SELECT pg_try_advisory_xact_lock(hashtextextended(%(account_id)s || ' ' || encode(%(key_hash)s, 'hex'), 6))"

GET = """
SELECT fingerprint, status, content_type, body FROM idempotency_keys
WHERE account_id = %(account_id)s AND key_hash = %(key_hash)s AND created_at > %(since)s
"""

# One that is older than is promised makes room.
KEEP = """
INSERT INTO idempotency_keys (account_id, key_hash, fingerprint, status, content_type, body, created_at)
VALUES (%(account_id)s, %(key_hash)s, %(fingerprint)s, %(status_code)s, %(content_type)s, %(data)s, %(now)s)
ON CONFLICT (account_id, key_hash) DO UPDATE SET fingerprint = excluded.fingerprint, status = excluded.status,
    content_type = excluded.content_type, body = excluded.body, created_at = excluded.created_at
"""

SWEEP = """
DELETE FROM idempotency_keys WHERE (account_id, key_hash) IN (
    SELECT account_id, key_hash FROM idempotency_keys WHERE created_at <= %(since)s LIMIT 1000 FOR UPDATE SKIP LOCKED)
"""


async def known(
    connection: Connection, account_id: int, key_hash: bytes, *, now: datetime
) -> Kept | Busy | None:
    """What was answered under this key; None: nobody else answers until this transaction ends."""
    params = {"account_id": account_id, "key_hash": key_hash, "since": now - KEPT}
    alone = await (await connection.execute(ALONE, params)).fetchone()
    if alone is None or not alone[0]:
        return Busy.busy
    return await row(connection, Kept, GET, params)


async def keep(
    connection: Connection, account_id: int, key_hash: bytes, kept: Kept, *, now: datetime
) -> None:
    """Remember an answer with what the transaction has done."""
    params = {
        "account_id": account_id,
        "key_hash": key_hash,
        "fingerprint": kept.fingerprint,
        "status_code": kept.status,
        "content_type": kept.content_type,
        "data": kept.body,
        "now": now,
    }
    await connection.execute(KEEP, params)


async def sweep(db: Database, *, now: datetime) -> int:
    """Forget what nobody may repeat any more, at most 1,000 at a time; how many."""
    return await db.execute(SWEEP, {"since": now - KEPT})
