"""Which tokens of a CRM client are good? Codes and refresh tokens work once; all of them are kept as hashes."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from zvonar.store.accounts import hash_key
from zvonar.store.db import Connection, Database, row

SIGNING = "SELECT secret FROM crm_signing_key"

REDIRECT_URI = "SELECT redirect_uri FROM crm_settings WHERE account_id = %(account_id)s"

SET_REDIRECT_URI = """
UPDATE crm_settings SET redirect_uri = %(redirect_uri)s WHERE account_id = %(account_id)s
"""

ADD = """
INSERT INTO keys (key_hash, account_id, kind, created_at, expires_at)
VALUES (%(key_hash)s, %(account_id)s, %(kind)s, %(now)s, %(expires_at)s)
"""

# Whoever comes second finds it revoked.
SPEND = """
UPDATE keys SET revoked_at = %(now)s
WHERE key_hash = %(key_hash)s AND kind = %(kind)s AND account_id = %(account_id)s
  AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > %(now)s)
"""

STATE = (
    "SELECT account_id, revoked_at, expires_at FROM keys WHERE key_hash = %(key_hash)s AND kind = %(kind)s"
)


class Refusal(StrEnum):
    """Why a code or refresh token is not taken."""

    unknown = "unknown"
    foreign = "foreign"  # another account's
    spent = "spent"
    expired = "expired"


class Grant(Struct, frozen=True, kw_only=True):
    """A token that is given out."""

    key: str  # never logged
    expires_at: datetime

    def __repr__(self) -> str:
        return "Grant(…)"


class _State(Struct, frozen=True, kw_only=True):
    account_id: int
    revoked_at: datetime | None
    expires_at: datetime | None


async def secret(db: Database) -> bytes:
    """What access tokens are signed with."""
    return bytes(await db.value(SIGNING))


async def secret_of(connection: Connection) -> bytes:
    """The same, within a transaction."""
    found = await (await connection.execute(SIGNING)).fetchone()
    assert found is not None
    return bytes(found[0])


async def redirect_uri(db: Database, account_id: int) -> str | None:
    """The only address that tokens of this account may be given to; None: any."""
    found: str | None = await db.value(REDIRECT_URI, {"account_id": account_id})
    return found


async def set_redirect_uri(db: Database, account_id: int, uri: str | None) -> None:
    """From now on tokens are given to this address only."""
    await db.execute(SET_REDIRECT_URI, {"account_id": account_id, "redirect_uri": uri})


async def add(connection: Connection, account_id: int, grants: Mapping[str, Grant], *, now: datetime) -> None:
    """Keep these tokens, by kind."""
    for kind, grant in grants.items():
        params = {
            "key_hash": hash_key(grant.key),
            "account_id": account_id,
            "kind": kind,
            "now": now,
            "expires_at": grant.expires_at,
        }
        await connection.execute(ADD, params)


async def exchange(
    db: Database, account_id: int, key: str, *, kind: str, grants: Mapping[str, Grant], now: datetime
) -> Refusal | None:
    """Take a code or refresh token, and give these for it, both or neither. None where that was done."""
    params = {"key_hash": hash_key(key), "kind": kind, "account_id": account_id, "now": now}
    async with db.transaction() as connection:
        if (await connection.execute(SPEND, params)).rowcount:
            await add(connection, account_id, grants, now=now)
            return None
        state = await row(connection, _State, STATE, params)
    if state is None:
        return Refusal.unknown
    if state.account_id != account_id:
        return Refusal.foreign
    return Refusal.spent if state.revoked_at is not None else Refusal.expired
