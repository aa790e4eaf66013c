"""Does a key open the door, and from here? Keys with an end, a block or a list of networks, and sessions of logins."""

import asyncio
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from msgspec import Struct

from zvonar.core.errors import Invalid, NotFound
from zvonar.store import accounts
from zvonar.store.accounts import Account, hash_key, password_matches
from zvonar.store.db import Database

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")


class NetworkInvalid(Invalid):
    """A network is an address with a prefix length, such as 203.0.113.0/24; all of them is 0.0.0.0/0."""


class KeyNotFound(NotFound):
    """The account has no such key."""


class Holder(Struct, frozen=True, kw_only=True):
    """Whose key it is and how it stands."""

    account: Account
    kind: str
    expires_at: datetime | None
    blocked: bool
    networks: tuple[str, ...] | None  # None: from everywhere
    active: bool  # whether the account is

    def admits(self, host: str) -> bool:
        """Whether the key may be used from this address."""
        return self.networks is None or within(host, self.networks)


class KeyState(Struct, frozen=True, kw_only=True):
    """A key as its owner sees it; the key itself is known to nobody any more."""

    key: str  # the beginning of its hash
    kind: str
    created_at: datetime
    expires_at: datetime | None
    blocked_at: datetime | None
    networks: list[str] | None


class Customer(Struct, frozen=True, kw_only=True):
    """An account for which another one acts."""

    user_id: int
    account_id: int
    name: str
    timezone: str


class _Found(Struct, frozen=True, kw_only=True):
    account_id: int
    kind: str
    expires_at: datetime | None
    blocked: bool
    networks: list[str] | None
    active: bool


class _Login(Struct, frozen=True, kw_only=True):
    account_id: int
    password_hash: str
    networks: list[str] | None
    active: bool


FIND = """
SELECT k.account_id, k.kind, k.expires_at, k.blocked_at IS NOT NULL AS blocked, k.networks::text[] AS networks,
    a.inactive_at IS NULL AS active
FROM keys k JOIN accounts a USING (account_id)
WHERE k.key_hash = %(key_hash)s AND k.kind = ANY(%(kinds)s) AND k.revoked_at IS NULL
"""

LOGIN = """
SELECT l.account_id, l.password_hash, l.networks::text[] AS networks, a.inactive_at IS NULL AS active
FROM logins l JOIN accounts a USING (account_id)
WHERE l.kind = %(kind)s AND l.login = %(login)s
"""

ADD = """
INSERT INTO keys (key_hash, account_id, kind, expires_at, networks)
VALUES (%(key_hash)s, %(account_id)s, %(kind)s, %(expires_at)s, %(networks)s::text[]::cidr[])
"""

REVOKE = """
UPDATE keys SET revoked_at = %(now)s
WHERE key_hash = %(key_hash)s AND kind = %(kind)s AND revoked_at IS NULL AND expires_at > %(now)s
"""

# Long after nobody could use them.
SWEEP = """
DELETE FROM keys WHERE key_hash IN (
    SELECT key_hash FROM keys WHERE kind = ANY(%(kinds)s) AND expires_at < %(before)s LIMIT 10000)
"""

OF_ACCOUNT = """
SELECT left(encode(key_hash, 'hex'), 12) AS key, kind, created_at, expires_at, blocked_at, networks::text[] AS networks
FROM keys WHERE account_id = %(account_id)s AND kind = %(kind)s AND revoked_at IS NULL
ORDER BY created_at, key_hash
"""

CHANGE = """
UPDATE keys SET networks = coalesce(%(networks)s::text[]::cidr[], networks),
    blocked_at = CASE WHEN %(blocked)s::boolean IS NULL THEN blocked_at WHEN %(blocked)s THEN %(now)s END
WHERE account_id = %(account_id)s AND kind = %(kind)s AND revoked_at IS NULL
    AND encode(key_hash, 'hex') LIKE %(beginning)s || '%%'
"""

SET_LOGIN_NETWORKS = """
UPDATE logins SET networks = %(networks)s::text[]::cidr[] WHERE account_id = %(account_id)s AND kind = %(kind)s
"""

SET_ACTIVE = """
UPDATE accounts SET inactive_at = CASE WHEN NOT %(active)s THEN %(now)s END WHERE account_id = %(account_id)s
"""

CUSTOMERS = """
SELECT c.user_id, c.account_id, a.name, a.timezone FROM account_customers c JOIN accounts a USING (account_id)
WHERE c.agent_account_id = %(account_id)s ORDER BY c.user_id
"""

ADD_CUSTOMER = """
INSERT INTO account_customers (agent_account_id, account_id) VALUES (%(account_id)s, %(customer_id)s)
ON CONFLICT (agent_account_id, account_id) DO UPDATE SET account_id = excluded.account_id
RETURNING user_id
"""

# The customer opens its own doors: whoever acts for it comes from where its own keys may be used.
NETWORKS = """
SELECT coalesce(array_agg(DISTINCT n::text), '{}') FROM keys, unnest(networks) AS n
WHERE account_id = %(account_id)s AND kind = %(kind)s AND revoked_at IS NULL AND blocked_at IS NULL
"""

_NOBODY: Final = accounts.hash_password("nobody")  # so that an unknown login takes as long as a known one


def networks(texts: Sequence[str]) -> list[str]:
    """Networks as they are kept; 0.0.0.0/0 opens all of IPv6, too. Raises NetworkInvalid."""
    found: list[IPv4Network | IPv6Network] = []
    for text in texts:
        try:
            found.append(ip_network(text.strip(), strict=False))
        except ValueError:
            raise NetworkInvalid(f"not {text[:60]!r}") from None
    if ip_network("0.0.0.0/0") in found:
        found.append(ip_network("::/0"))
    return list(dict.fromkeys(str(network) for network in found))


def within(host: str, allowed: Sequence[str]) -> bool:
    """Whether an address is in one of these networks; an IPv4 address in IPv6 clothes is one of IPv4."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return any(address in ip_network(network) for network in allowed)


async def find(db: Database, key: str, *, kinds: Sequence[str]) -> Holder | None:
    """Whose key this is, whether or not it may still be used; None where there is none."""
    found = await db.row(_Found, FIND, {"key_hash": hash_key(key), "kinds": list(kinds)})
    if found is None:
        return None
    return Holder(
        account=await accounts.get(db, found.account_id),
        kind=found.kind,
        expires_at=found.expires_at,
        blocked=found.blocked,
        networks=None if found.networks is None else tuple(found.networks),
        active=found.active,
    )


async def login(db: Database, login: str, password: str, *, kind: str) -> Holder | None:
    """Whose login and password these are; None where they are nobody's."""
    found = await db.row(_Login, LOGIN, {"kind": kind, "login": login})
    stored = _NOBODY if found is None else found.password_hash
    fits = await asyncio.to_thread(password_matches, password, stored)
    if found is None or not fits:
        return None
    return Holder(
        account=await accounts.get(db, found.account_id),
        kind=kind,
        expires_at=None,
        blocked=False,
        networks=None if found.networks is None else tuple(found.networks),
        active=found.active,
    )


async def issue(
    db: Database,
    account_id: int,
    *,
    kind: str,
    key: str | None = None,
    expires_at: datetime | None = None,
    allowed: Sequence[str] | None = LOOPBACK,
) -> str:
    """A new key, which is told once."""
    made = key or secrets.token_urlsafe(48)
    params = {
        "key_hash": hash_key(made),
        "account_id": account_id,
        "kind": kind,
        "expires_at": expires_at,
        "networks": None if allowed is None else list(allowed),
    }
    await db.execute(ADD, params)
    return made


async def open_session(db: Database, holder: Holder, *, kind: str, lifetime: timedelta, now: datetime) -> str:
    """The key of a session that ends by itself."""
    return await issue(
        db, holder.account.account_id, kind=kind, expires_at=now + lifetime, allowed=holder.networks
    )


async def sweep(db: Database, kinds: Sequence[str], *, before: datetime) -> int:
    """Forget keys of these kinds that ended before then, at most 10,000 at a time; how many."""
    return await db.execute(SWEEP, {"kinds": list(kinds), "before": before})


async def close_session(db: Database, key: str, *, kind: str, now: datetime) -> bool:
    """End a session; whether there was one."""
    return bool(await db.execute(REVOKE, {"key_hash": hash_key(key), "kind": kind, "now": now}))


async def of_account(db: Database, account_id: int, *, kind: str) -> list[KeyState]:
    """The keys of an account, oldest first."""
    return await db.rows(KeyState, OF_ACCOUNT, {"account_id": account_id, "kind": kind})


async def change(
    db: Database,
    account_id: int,
    *,
    kind: str,
    key: str,
    now: datetime,
    allowed: Sequence[str] | None = None,
    blocked: bool | None = None,
) -> None:
    """Change where the keys that begin like this may be used from, or block them. Raises KeyNotFound."""
    params = {
        "account_id": account_id,
        "kind": kind,
        "beginning": key if key.isalnum() else "-",
        "networks": None if allowed is None else list(allowed),
        "blocked": blocked,
        "now": now,
    }
    if not await db.execute(CHANGE, params):
        raise KeyNotFound(repr(key[:20]))


async def set_login_networks(db: Database, account_id: int, allowed: Sequence[str], *, kind: str) -> None:
    """From where the account's login of this kind may be used."""
    params = {"account_id": account_id, "kind": kind, "networks": list(allowed)}
    await db.execute(SET_LOGIN_NETWORKS, params)


async def set_active(db: Database, account_id: int, active: bool, *, now: datetime) -> None:
    """Whether an account may be used."""
    await db.execute(SET_ACTIVE, {"account_id": account_id, "active": active, "now": now})


async def customers(db: Database, account_id: int) -> list[Customer]:
    """For whom an account acts."""
    return await db.rows(Customer, CUSTOMERS, {"account_id": account_id})


async def add_customer(db: Database, account_id: int, customer_id: int) -> int:
    """Let an account act for another one; the user id by which it does."""
    user_id = await db.value(ADD_CUSTOMER, {"account_id": account_id, "customer_id": customer_id})
    assert isinstance(user_id, int)
    return user_id


async def account_networks(db: Database, account_id: int, *, kind: str) -> list[str]:
    """From where the account's own keys may be used."""
    found = await db.value(NETWORKS, {"account_id": account_id, "kind": kind})
    return list(found)
