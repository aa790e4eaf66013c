"""Which numbers must not be called, whoever asks? Looked up again in the statement that places a leg."""

from datetime import datetime

from zvonar.store.db import Database

# One number of one account, until a time or for good.
PUT = """
INSERT INTO stop_list (account_id, phone, reason, until, created_at)
VALUES (%(account_id)s, %(phone)s, %(reason)s, %(until)s, %(now)s)
ON CONFLICT (account_id, phone) DO UPDATE SET reason = excluded.reason, until = excluded.until
"""


async def put(
    db: Database, account_id: int, phone: str, *, reason: str | None, until: datetime | None, now: datetime
) -> None:
    """Stop calls of this account to an E.164 number."""
    await db.execute(
        PUT, {"account_id": account_id, "phone": phone, "reason": reason, "until": until, "now": now}
    )
