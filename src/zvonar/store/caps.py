"""When may a callee be dialled again? Where caps over several windows are reached; the placing statement holds them.

Counted are attempts that were dialled, of all campaigns of the account.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from zvonar.core.control import Cap
from zvonar.store.db import Database

# Of these callees, those whom a cap keeps from being dialled now: each cap has its own last attempt that must be past.
FREE_AT = """
SELECT p.phone, max(last.started_at + make_interval(secs => cap.seconds)) AS free_at
FROM unnest(%(phones)s::text[]) AS p (phone),
    unnest(%(cap_attempts)s::integer[], %(cap_seconds)s::integer[]) AS cap (attempts, seconds),
LATERAL (
    -- Not "account_id =": the primary key would tempt.
    SELECT t.started_at FROM attempts t
    WHERE t.phone = p.phone AND t.started_at > %(now)s::timestamptz - make_interval(secs => cap.seconds)
      AND t.account_id IS NOT DISTINCT FROM %(account_id)s AND (t.ended_at IS NULL OR t.session_id IS NOT NULL)
    ORDER BY t.started_at DESC OFFSET cap.attempts - 1 LIMIT 1
) last
GROUP BY p.phone
"""


class _Capped(Struct, frozen=True, kw_only=True):
    phone: str
    free_at: datetime


async def free_at(
    db: Database, account_id: int, phones: Sequence[str], caps: Sequence[Cap], *, now: datetime
) -> dict[str, datetime]:
    """When each of these E.164 numbers may be dialled again that may not be dialled now."""
    params = {
        "account_id": account_id,
        "phones": list(phones),
        "cap_attempts": [cap.attempts for cap in caps],
        "cap_seconds": [cap.seconds for cap in caps],
        "now": now,
    }
    return {found.phone: found.free_at for found in await db.rows(_Capped, FREE_AT, params)}
