"""Which numbers must not be called, whoever asks? Looked up again in the statement that places a leg."""

from collections.abc import Sequence
from datetime import datetime

from zvonar.store.db import Database

# One number of one account, until a time or for good.
PUT = """
INSERT INTO stop_list (account_id, phone, reason, until, created_at)
VALUES (%(account_id)s, %(phone)s, %(reason)s, %(until)s, %(now)s)
ON CONFLICT (account_id, phone) DO UPDATE SET reason = excluded.reason, until = excluded.until
"""

# Those of some numbers that must not be called, by the account's own list or by everybody's.
STOPPED = """
SELECT coalesce(array_agg(phone), '{}') FROM (
    SELECT phone FROM stop_list
    WHERE account_id = %(account_id)s AND phone = ANY(%(phones)s) AND (until IS NULL OR until > %(now)s)
    UNION ALL SELECT phone FROM global_stop_list WHERE phone = ANY(%(phones)s)) stopped
"""


async def put(
    db: Database, account_id: int, phone: str, *, reason: str | None, until: datetime | None, now: datetime
) -> None:
    """Stop calls of this account to an E.164 number."""
    await db.execute(
        PUT, {"account_id": account_id, "phone": phone, "reason": reason, "until": until, "now": now}
    )


async def stopped(db: Database, account_id: int, phones: Sequence[str], *, now: datetime) -> set[str]:
    """Those of these E.164 numbers that this account must not call now."""
    return set(await db.value(STOPPED, {"account_id": account_id, "phones": list(phones), "now": now}))
