"""Which receivers are in trouble? Whoever fails for days is disabled, and its account told."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.errors import NotFound
from zvonar.store.db import Connection, Database, rows
from zvonar.store.outbox import ADD_MAIL

PATIENCE = timedelta(days=5)  # of failing without one success, until a receiver is disabled


class ReceiverNotFound(NotFound):
    """There is no such address in this account's deliveries."""


class Receiver(Struct, frozen=True, kw_only=True):
    """An address that is in trouble, or was."""

    account_id: int
    address: str
    failing_since: datetime | None
    last_failed_at: datetime | None  # to the minute
    disabled_at: datetime | None
    reason: (
        str | None
    )  # gone (it answered 410), failing, operator, unauthorised (its keys are taken no longer)
    waiting: int  # deliveries that wait for it


class Disabled(Struct, frozen=True, kw_only=True):
    """An address that was disabled just now."""

    account_id: int
    address: str
    reason: str
    failing_since: datetime
    email: str | None  # whom to tell


# Days without a try are not days of failing: after such a gap the count begins anew. Written once a minute at most.
FAILED = """
INSERT INTO receivers AS r (account_id, address, failing_since, last_failed_at)
SELECT account_id, address, %(now)s, %(now)s FROM unnest(%(account_ids)s::bigint[], %(addresses)s::text[])
    AS f (account_id, address)
ON CONFLICT (account_id, address) DO UPDATE SET last_failed_at = excluded.last_failed_at,
    failing_since = CASE WHEN r.failing_since IS NULL OR r.last_failed_at < %(now)s - interval '36 hours'
                    THEN %(now)s ELSE r.failing_since END
WHERE r.failing_since IS NULL OR r.last_failed_at < %(now)s - interval '1 minute'
"""

GIVE_UP = """
UPDATE receivers r SET disabled_at = %(now)s, reason = CASE WHEN f.gone THEN 'gone' ELSE 'failing' END
FROM unnest(%(account_ids)s::bigint[], %(addresses)s::text[], %(gone)s::bool[]) AS f (account_id, address, gone)
WHERE r.account_id = f.account_id AND r.address = f.address AND r.disabled_at IS NULL
  AND (f.gone OR r.failing_since <= %(since)s)
RETURNING r.account_id, r.address, r.reason, r.failing_since,
    (SELECT a.email FROM accounts a WHERE a.account_id = r.account_id) AS email
"""

# Out of the way of the lease, and kept. A try under way may still end well.
SET_ASIDE = """
UPDATE deliveries SET state = 'disabled'
WHERE state = 'pending' AND account_id = %(account_id)s AND address = %(address)s
"""

# What slipped into the queue while its receiver was being disabled.
SET_STRAYS_ASIDE = """
UPDATE deliveries d SET state = 'disabled' FROM receivers r
WHERE r.disabled_at IS NOT NULL AND d.account_id = r.account_id AND d.address = r.address AND d.state = 'pending'
"""

DISABLE = """
INSERT INTO receivers (account_id, address, disabled_at, reason)
VALUES (%(account_id)s, %(address)s, %(now)s, %(reason)s)
ON CONFLICT (account_id, address) DO UPDATE SET disabled_at = excluded.disabled_at, reason = excluded.reason
WHERE receivers.disabled_at IS NULL
"""

ENABLE = """
UPDATE receivers SET disabled_at = NULL, reason = NULL, failing_since = NULL, last_failed_at = NULL
WHERE account_id = %(account_id)s AND address = %(address)s AND disabled_at IS NOT NULL
"""

# Each with a whole schedule of tries before it.
REOPEN = """
WITH reopened AS (
    UPDATE deliveries SET state = 'pending', next_at = %(now)s, tries_before = tries
    WHERE state = 'disabled' AND account_id = %(account_id)s AND address = %(address)s
    RETURNING 1
)
SELECT count(*), pg_notify('zvonar_deliveries', '') FROM reopened
"""

LIST = """
SELECT r.account_id, r.address, r.failing_since, r.last_failed_at, r.disabled_at, r.reason,
    (SELECT count(*) FROM deliveries d WHERE d.account_id = r.account_id AND d.address = r.address
     AND d.state IN ('dead', 'disabled') AND d.state = 'disabled') AS waiting
FROM receivers r
WHERE (%(account_id)s::bigint IS NULL OR r.account_id = %(account_id)s)
  AND (r.failing_since IS NOT NULL OR r.disabled_at IS NOT NULL)
ORDER BY r.account_id, r.address
"""


async def failed(
    connection: Connection, failures: Sequence[tuple[int, str, bool]], *, now: datetime
) -> list[Disabled]:
    """Note that tries failed (account, address, whether it wants nothing any more); who was disabled by it.

    Whoever is disabled gets nothing more, and its account a letter, in the same transaction.
    """
    worst: dict[tuple[int, str], bool] = {}
    for account_id, address, gone in failures:
        worst[account_id, address] = worst.get((account_id, address), False) or gone
    # In one order, so that two workers never wait for each other in a ring.
    keys = sorted(worst)
    params = {
        "account_ids": [account_id for account_id, _ in keys],
        "addresses": [address for _, address in keys],
        "now": now,
    }
    await connection.execute(FAILED, params)
    judged = {**params, "gone": [worst[key] for key in keys], "since": now - PATIENCE}
    disabled = await rows(connection, Disabled, GIVE_UP, judged)
    for one in disabled:
        await connection.execute(SET_ASIDE, {"account_id": one.account_id, "address": one.address})
        if one.email is not None:
            payload = {
                "to": one.email,
                "about": "receiver_disabled",
                "facts": {
                    "address": one.address,
                    "reason": one.reason,
                    "failing_since": one.failing_since.isoformat(),
                },
            }
            await connection.execute(
                ADD_MAIL, {"account_id": one.account_id, "now": now, "payload": Jsonb(payload)}
            )
    return disabled


async def set_strays_aside(db: Database) -> int:
    """Take what is pending for disabled receivers out of the queue."""
    return await db.execute(SET_STRAYS_ASIDE)


async def disable(db: Database, account_id: int, address: str, *, now: datetime) -> None:
    """Send nothing more to this address until it is enabled; what is for it waits."""
    async with db.transaction() as connection:
        await set_aside(connection, account_id, address, reason="operator", now=now)


async def set_aside(
    connection: Connection, account_id: int, address: str, *, reason: str, now: datetime
) -> None:
    """The same, for whatever reason, in the caller's transaction."""
    params = {"account_id": account_id, "address": address}
    await connection.execute(DISABLE, {**params, "reason": reason, "now": now})
    await connection.execute(SET_ASIDE, params)


async def enable(db: Database, account_id: int, address: str, *, now: datetime) -> int:
    """Send to this address again; how many deliveries waited for it. Raises ReceiverNotFound."""
    async with db.transaction() as connection:
        waited = await reopen(connection, account_id, address, now=now)
        if waited is None:
            raise ReceiverNotFound("zvonar deliveries addresses lists those that are disabled.")
        return waited


async def reopen(connection: Connection, account_id: int, address: str, *, now: datetime) -> int | None:
    """The same, in the caller's transaction; None where the address is not disabled."""
    params = {"account_id": account_id, "address": address}
    if not (await connection.execute(ENABLE, params)).rowcount:
        return None
    found = await (await connection.execute(REOPEN, {**params, "now": now})).fetchone()
    return int(found[0]) if found else 0


async def troubled(db: Database, account_id: int | None) -> list[Receiver]:
    """The addresses that fail or are disabled, of one account or of all."""
    return await db.rows(Receiver, LIST, {"account_id": account_id})
