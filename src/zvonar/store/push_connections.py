"""Which CRM does an account log its calls in, with which keys, and does it work?

The keys arrive here encrypted and leave so; whoever holds the home's key file reads them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.errors import NotFound
from zvonar.store import receivers
from zvonar.store.db import Connection, Database, row, rows
from zvonar.store.outbox import ADD_MAIL

SCHEME = "amocrm"  # of the addresses of such deliveries
REFRESH_SECONDS = 30.0  # of a claim to refresh: longer than that may take
REFRESH_EARLY = timedelta(minutes=5)  # before its end an access token is no longer relied upon

State = Literal["connected", "lost", "off"]
Kind = Literal["oauth", "long_lived"]


class NotConnected(NotFound):
    """The account has no CRM: zvonar crm connect makes it one."""


class CrmConnection(Struct, frozen=True, kw_only=True):
    """An account's CRM."""

    account_id: int
    tag: str  # begins each call's `uniq`
    base_url: str  # scheme, host and port: the origin
    state: State  # lost: its keys are no longer taken, and a person has to connect it anew
    kind: Kind
    credentials: bytes | None  # encrypted
    version: int  # of the credentials
    expires_at: datetime | None  # of the access token
    settings: dict[str, Any]
    crm_account_id: int | None
    customers: bool  # whether the CRM may have cards of customers
    trouble: str | None
    trouble_status: int | None
    trouble_since: datetime | None
    troubles: int  # in a row
    connected_at: datetime

    def __repr__(self) -> str:
        return f"CrmConnection({self.account_id}, {self.state})"


COLUMNS = """account_id, tag, base_url, state, kind, credentials, version, expires_at, settings, crm_account_id,
    customers, trouble, trouble_status, trouble_since, troubles, connected_at"""

GET = f"SELECT {COLUMNS} FROM push_connections WHERE account_id = %(account_id)s"

# Those to which something may go now.
WITH_WORK = f"""
SELECT {COLUMNS} FROM push_connections c
WHERE state = 'connected' AND EXISTS (
    SELECT FROM deliveries d WHERE d.address = 'amocrm:' || c.account_id AND d.state = 'pending'
      AND d.next_at <= %(now)s AND (d.leased_until IS NULL OR d.leased_until < %(now)s))
ORDER BY account_id
"""

# Whose calls become deliveries: also those that wait for new keys, so that none is missing afterwards.
OF_ACCOUNTS = f"""
SELECT {COLUMNS} FROM push_connections WHERE account_id = ANY(%(account_ids)s) AND state <> 'off'
"""

# The tag stays as long as it is the same account of the CRM, so that what was logged before is still known.
PUT = f"""
INSERT INTO push_connections AS c (account_id, tag, base_url, state, kind, credentials, expires_at, settings,
    crm_account_id, customers, connected_at, updated_at)
VALUES (%(account_id)s, %(tag)s, %(base_url)s, 'connected', %(crm_kind)s, %(credentials)b, %(expires_at)s,
    %(settings)s, %(crm_account_id)s, %(customers)s, %(now)s, %(now)s)
ON CONFLICT (account_id) DO UPDATE SET
    tag = CASE WHEN c.crm_account_id IS NOT DISTINCT FROM excluded.crm_account_id
               AND (c.crm_account_id IS NOT NULL OR c.base_url = excluded.base_url) THEN c.tag ELSE excluded.tag END,
    base_url = excluded.base_url, state = 'connected', kind = excluded.kind,
    credentials = excluded.credentials, version = c.version + 1, expires_at = excluded.expires_at,
    refreshing_until = NULL, crm_account_id = excluded.crm_account_id, customers = excluded.customers, trouble = NULL,
    trouble_status = NULL, trouble_since = NULL, troubles = 0, connected_at = excluded.connected_at,
    updated_at = excluded.updated_at
RETURNING {COLUMNS}
"""

FORGET_CARDS = "DELETE FROM push_cards WHERE account_id = %(account_id)s"

SET = f"""
UPDATE push_connections SET settings = %(settings)s, updated_at = %(now)s
WHERE account_id = %(account_id)s RETURNING {COLUMNS}
"""

OFF = """
UPDATE push_connections SET state = 'off', credentials = NULL, expires_at = NULL, refreshing_until = NULL,
    version = version + 1, trouble = NULL, trouble_status = NULL, trouble_since = NULL, troubles = 0,
    updated_at = %(now)s
WHERE account_id = %(account_id)s AND state <> 'off'
"""

# Whoever gets a row refreshes the tokens of this version; the others wait for the next version.
CLAIM_REFRESH = """
UPDATE push_connections SET refreshing_until = clock_timestamp() + make_interval(secs => %(pause)s::float8)
WHERE account_id = %(account_id)s AND version = %(version)s AND state = 'connected'
  AND (refreshing_until IS NULL OR refreshing_until < clock_timestamp())
RETURNING true
"""

REFRESHED = """
UPDATE push_connections SET credentials = %(credentials)b, expires_at = %(expires_at)s, version = version + 1,
    refreshing_until = NULL, updated_at = %(now)s
WHERE account_id = %(account_id)s AND version = %(version)s AND state = 'connected'
"""

RELEASE_REFRESH = """
UPDATE push_connections SET refreshing_until = NULL WHERE account_id = %(account_id)s AND version = %(version)s
"""

REFRESHING = """
SELECT refreshing_until > clock_timestamp() FROM push_connections WHERE account_id = %(account_id)s
"""

# A person who connected it anew meanwhile is not overruled.
LOSE = """
UPDATE push_connections c SET state = 'lost', refreshing_until = NULL, trouble = %(trouble)s,
    trouble_status = %(trouble_status)s, trouble_since = %(now)s, updated_at = %(now)s
WHERE account_id = %(account_id)s AND version = %(version)s AND state = 'connected'
RETURNING (SELECT a.email FROM accounts a WHERE a.account_id = c.account_id) AS email
"""

# Whether this trouble is new, which is worth a letter, and how many came in a row.
TROUBLED = """
UPDATE push_connections c SET trouble = %(trouble)s, trouble_status = %(trouble_status)s,
    trouble_since = CASE WHEN c.trouble IS NOT DISTINCT FROM %(trouble)s THEN c.trouble_since ELSE %(now)s END,
    troubles = c.troubles + 1
FROM (SELECT account_id, trouble FROM push_connections WHERE account_id = %(account_id)s FOR NO KEY UPDATE) was
WHERE c.account_id = was.account_id AND c.state = 'connected'
RETURNING was.trouble IS DISTINCT FROM %(trouble)s AS fresh, c.troubles,
    (SELECT a.email FROM accounts a WHERE a.account_id = c.account_id) AS email
"""

WELL = """
UPDATE push_connections SET trouble = NULL, trouble_status = NULL, trouble_since = NULL, troubles = 0
WHERE account_id = %(account_id)s AND trouble IS NOT NULL
"""


class Troubled(Struct, frozen=True, kw_only=True):
    """What a trouble came to."""

    fresh: bool  # it is not the one that there was before
    troubles: int  # in a row
    email: str | None  # whom to tell


class _Lost(Struct, frozen=True, kw_only=True):
    email: str | None


def address(account_id: int) -> str:
    """The address of an account's CRM, as deliveries know it."""
    return f"{SCHEME}:{account_id}"


async def get(db: Database, account_id: int) -> CrmConnection:
    """The account's CRM. Raises NotConnected."""
    found = await db.row(CrmConnection, GET, {"account_id": account_id})
    if found is None:
        raise NotConnected()
    return found


async def with_work(db: Database, *, now: datetime) -> list[CrmConnection]:
    """Those to which something is due."""
    return await db.rows(CrmConnection, WITH_WORK, {"now": now})


async def of_accounts(connection: Connection, account_ids: Sequence[int]) -> dict[int, CrmConnection]:
    """By account: those that want calls."""
    found = await rows(connection, CrmConnection, OF_ACCOUNTS, {"account_ids": list(account_ids)})
    return {one.account_id: one for one in found}


async def put(
    db: Database,
    account_id: int,
    *,
    tag: str,
    base_url: str,
    kind: Kind,
    credentials: bytes,
    expires_at: datetime | None,
    settings: dict[str, Any],
    crm_account_id: int | None,
    customers: bool,
    now: datetime,
) -> tuple[CrmConnection, int]:
    """Connect the account, and send what has waited for it; how many that is. A known one keeps tag and settings."""
    params = {
        "account_id": account_id,
        "tag": tag,
        "base_url": base_url,
        "crm_kind": kind,
        "credentials": credentials,
        "expires_at": expires_at,
        "settings": Jsonb(settings),
        "crm_account_id": crm_account_id,
        "customers": customers,
        "now": now,
    }
    async with db.transaction() as connection:
        made = await row(connection, CrmConnection, PUT, params)
        assert made is not None
        if made.tag == tag:  # another CRM, which has none of the cards that we made
            await connection.execute(FORGET_CARDS, {"account_id": account_id})
        waited = await receivers.reopen(connection, account_id, address(account_id), now=now)
    return made, waited or 0


async def set_settings(
    db: Database, account_id: int, settings: dict[str, Any], *, now: datetime
) -> CrmConnection:
    """Change what is pushed, and how. Raises NotConnected."""
    params = {"account_id": account_id, "settings": Jsonb(settings), "now": now}
    changed = await db.row(CrmConnection, SET, params)
    if changed is None:
        raise NotConnected()
    return changed


async def off(db: Database, account_id: int, *, now: datetime) -> None:
    """Forget the keys and push nothing more; what is on its way waits. Raises NotConnected."""
    async with db.transaction() as connection:
        if not (await connection.execute(OFF, {"account_id": account_id, "now": now})).rowcount:
            raise NotConnected()
        await receivers.set_aside(connection, account_id, address(account_id), reason="operator", now=now)


async def claim_refresh(db: Database, account_id: int, *, version: int, seconds: float) -> bool:
    """Whether we are the one that refreshes the tokens of this version."""
    params = {"account_id": account_id, "version": version, "pause": seconds}
    return bool(await db.value(CLAIM_REFRESH, params))


async def refreshed(
    db: Database, account_id: int, *, version: int, credentials: bytes, expires_at: datetime, now: datetime
) -> None:
    """Keep new tokens."""
    params = {
        "account_id": account_id,
        "version": version,
        "credentials": credentials,
        "expires_at": expires_at,
        "now": now,
    }
    await db.execute(REFRESHED, params)


async def release_refresh(db: Database, account_id: int, *, version: int) -> None:
    """A refresh came to nothing; somebody else may try."""
    await db.execute(RELEASE_REFRESH, {"account_id": account_id, "version": version})


async def refreshing(db: Database, account_id: int) -> bool:
    """Whether somebody is refreshing its tokens."""
    return bool(await db.value(REFRESHING, {"account_id": account_id}))


async def lose(
    db: Database, account_id: int, *, version: int, trouble: str, status: int | None, now: datetime
) -> bool:
    """The keys of this version are worth nothing any more: its deliveries wait, and the account gets a letter."""
    params = {
        "account_id": account_id,
        "version": version,
        "trouble": trouble,
        "trouble_status": status,
        "now": now,
    }
    async with db.transaction() as connection:
        lost = await row(connection, _Lost, LOSE, params)
        if lost is None:
            return False
        await receivers.set_aside(connection, account_id, address(account_id), reason="unauthorised", now=now)
        found = await row(connection, CrmConnection, GET, {"account_id": account_id})
        assert found is not None
        if lost.email is not None:
            await _tell(connection, found, lost.email, about="crm_lost", now=now)
    return True


async def troubled(
    db: Database, account_id: int, *, trouble: str, status: int | None, tell: bool, now: datetime
) -> int:
    """Note what the CRM objects to; how many times in a row it did. With `tell` the account hears of a new trouble."""
    params = {"account_id": account_id, "trouble": trouble, "trouble_status": status, "now": now}
    async with db.transaction() as connection:
        noted = await row(connection, Troubled, TROUBLED, params)
        if noted is None:
            return 1
        if tell and noted.fresh and noted.email is not None:
            found = await row(connection, CrmConnection, GET, {"account_id": account_id})
            assert found is not None
            await _tell(connection, found, noted.email, about="crm_trouble", now=now)
    return noted.troubles


async def well(db: Database, account_id: int) -> None:
    """Nothing is objected to any more."""
    await db.execute(WELL, {"account_id": account_id})


async def _tell(connection: Connection, crm: CrmConnection, email: str, *, about: str, now: datetime) -> None:
    payload = {
        "to": email,
        "about": about,
        "facts": {
            "base_url": crm.base_url,
            "account_id": str(crm.account_id),
            "trouble": crm.trouble or "",
            "status": str(crm.trouble_status or ""),
        },
    }
    await connection.execute(ADD_MAIL, {"account_id": crm.account_id, "now": now, "payload": Jsonb(payload)})
