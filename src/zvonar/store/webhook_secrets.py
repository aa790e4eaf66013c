"""With which secrets are an account's webhooks signed? One, and while it is being replaced, two."""

import base64
import secrets
from datetime import datetime, timedelta

from msgspec import Struct

from zvonar.core.errors import AccountNotFound
from zvonar.store.db import Connection, Database, rows

MOST = 2  # live at once


class Secret(Struct, frozen=True, kw_only=True):
    """A signing secret, in the form of Standard Webhooks."""

    secret: str  # whsec_ and base64; never logged
    created_at: datetime
    expires_at: datetime | None  # None: the current one

    def __repr__(self) -> str:
        return "Secret(…)"


# The current one first, then the one that it replaces.
LIVE = """
SELECT secret, created_at, expires_at FROM webhook_secrets
WHERE account_id = %(account_id)s AND (expires_at IS NULL OR expires_at > %(now)s)
ORDER BY expires_at DESC NULLS FIRST LIMIT 2
"""

# Accounts that are older than webhook secrets get theirs when it is first wanted.
ADD = """
INSERT INTO webhook_secrets (account_id, secret, created_at)
SELECT account_id, %(secret)s, %(now)s FROM accounts WHERE account_id = %(account_id)s
ON CONFLICT DO NOTHING
"""

# Two live ones at most: an older one that was still to expire ends with the next rotation.
RETIRE = """
UPDATE webhook_secrets SET expires_at = CASE WHEN expires_at IS NULL THEN %(until)s ELSE least(expires_at, %(now)s) END
WHERE account_id = %(account_id)s AND (expires_at IS NULL OR expires_at > %(now)s)
"""


def new_secret() -> str:
    """A fresh secret: 32 random bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


async def add(connection: Connection, account_id: int, secret: str, *, now: datetime) -> None:
    """Give an account its secret, unless it has one."""
    await connection.execute(ADD, {"account_id": account_id, "secret": secret, "now": now})


async def live(db: Database, account_id: int, *, now: datetime) -> list[Secret]:
    """The secrets to sign with, the current one first; the account's first one is made here. Raises AccountNotFound."""
    async with db.connection() as connection:
        found = await rows(connection, Secret, LIVE, {"account_id": account_id, "now": now})
        if not any(secret.expires_at is None for secret in found):
            await add(connection, account_id, new_secret(), now=now)
            found = await rows(connection, Secret, LIVE, {"account_id": account_id, "now": now})
    if not found:
        raise AccountNotFound(str(account_id))
    return found


async def rotate(db: Database, account_id: int, *, overlap: timedelta, now: datetime) -> list[Secret]:
    """A new secret; the old one also signs for `overlap`. The live ones, the new one first. Raises AccountNotFound."""
    async with db.transaction() as connection:
        await connection.execute(RETIRE, {"account_id": account_id, "until": now + overlap, "now": now})
        await add(connection, account_id, new_secret(), now=now)
    return await live(db, account_id, now=now)
