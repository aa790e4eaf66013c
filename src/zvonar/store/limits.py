"""Has somebody asked too often? Rules that hold across processes: each is a row, changed in the statement that asks.

A sliding rule lets `count` through in any stretch of `seconds`. A window is a counter that starts at its first use
and is empty again when it ends. What is refused does not count.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct, structs

from zvonar.core.errors import Unauthorised
from zvonar.store import accounts
from zvonar.store.accounts import Account
from zvonar.store.db import Database, rows


class Rule(Struct, frozen=True, kw_only=True):
    """How often something may happen."""

    scope: str  # names the rule; one scope has one count and one length
    count: int
    seconds: int


class Budget(Struct, frozen=True, kw_only=True):
    """How a window stands."""

    rule: Rule
    used: int
    until: datetime  # when it is empty again
    refused: bool = False  # it was used up, and so nothing was spent


# `hits` has the latest first, so the rule is kept when the count-th of them is older than its length. Whoever was
# overtaken on the way here counts as coming now. `accept_call` does the same.
TAKE = """
INSERT INTO rate_limits AS r (scope, key_hash, hits, until)
VALUES (%(scope)s, %(key_hash)s, ARRAY[%(now)s::timestamptz], %(until)s)
ON CONFLICT (scope, key_hash) DO UPDATE SET
    hits = (greatest(%(now)s::timestamptz, r.hits[1]) || r.hits)[1:%(count)s],
    until = greatest(excluded.until, r.until)
WHERE r.hits[%(count)s] IS NULL
    OR r.hits[%(count)s] <= greatest(%(now)s::timestamptz, r.hits[1]) - make_interval(secs => %(seconds)s)
RETURNING true
"""


def using(columns: str) -> str:
    """The same, for whoever a key belongs to: one look at both, these columns of it. An unknown key leaves no trace."""
    return f"""
WITH owner AS (
    SELECT {columns}
    FROM accounts JOIN keys USING (account_id)
    WHERE key_hash = %(key_hash)s AND kind = %(kind)s AND revoked_at IS NULL AND blocked_at IS NULL
      AND inactive_at IS NULL AND (expires_at IS NULL OR expires_at > %(now)s)
), taken AS (
    INSERT INTO rate_limits AS r (scope, key_hash, hits, until)
    SELECT %(scope)s, %(key_hash)s, ARRAY[%(now)s::timestamptz], %(until)s FROM owner
    ON CONFLICT (scope, key_hash) DO UPDATE SET
        hits = (greatest(%(now)s::timestamptz, r.hits[1]) || r.hits)[1:%(count)s],
        until = greatest(excluded.until, r.until)
    WHERE r.hits[%(count)s] IS NULL
        OR r.hits[%(count)s] <= greatest(%(now)s::timestamptz, r.hits[1]) - make_interval(secs => %(seconds)s)
    RETURNING true
)
SELECT owner.*, EXISTS (SELECT FROM taken) AS allowed FROM owner
"""


USE_KEY = using(accounts.COLUMNS)

# One more of each window, in the order of their names, so that two of these never wait for each other in a ring.
# Whoever asks does not wait for the disk: a crash gives a moment's points back.
SPEND = """
WITH quiet AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO rate_limits AS r (scope, key_hash, used, until)
SELECT scope, %(key_hash)s, 1, until
FROM quiet, unnest(%(scopes)s::text[], %(untils)s::timestamptz[]) AS w (scope, until)
ORDER BY scope
ON CONFLICT (scope, key_hash) DO UPDATE SET
    used = CASE WHEN r.until <= %(now)s THEN 1 ELSE r.used + 1 END,
    until = CASE WHEN r.until <= %(now)s THEN excluded.until ELSE r.until END
RETURNING scope, used, until
"""

# What was spent for nothing is given back, unless its window has ended meanwhile.
REFUND = """
UPDATE rate_limits SET used = used - 1
WHERE key_hash = %(key_hash)s AND used > 0 AND (scope, until) IN (
    SELECT scope, until FROM unnest(%(scopes)s::text[], %(untils)s::timestamptz[]) AS w (scope, until))
"""

# Rows that no longer say anything.
SWEEP = """
DELETE FROM rate_limits WHERE (scope, key_hash) IN (
    SELECT scope, key_hash FROM rate_limits WHERE until < %(now)s ORDER BY until LIMIT 10000 FOR UPDATE SKIP LOCKED)
"""


class _Spent(Struct, frozen=True, kw_only=True):
    scope: str
    used: int
    until: datetime


class _Overdrawn(Exception):
    """Rolls a refused spending back."""


def key_hash(*parts: object) -> bytes:
    """Whom a rule is about, not readable as what it was made of."""
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()


async def take(db: Database, rule: Rule, key: bytes, *, now: datetime) -> bool:
    """Whether this may happen now by a sliding rule; if so, it has."""
    params = {
        "scope": rule.scope,
        "key_hash": key,
        "count": rule.count,
        "seconds": rule.seconds,
        "now": now,
        "until": now + timedelta(seconds=rule.seconds),
    }
    return bool(await db.value(TAKE, params))


def use_params(rule: Rule, key: bytes, *, kind: str, now: datetime) -> dict[str, object]:
    """The parameters of a statement of `using`."""
    return {
        "key_hash": key,
        "kind": kind,
        "scope": rule.scope,
        "count": rule.count,
        "seconds": rule.seconds,
        "now": now,
        "until": now + timedelta(seconds=rule.seconds),
    }


async def use_key(db: Database, rule: Rule, key: bytes, *, kind: str, now: datetime) -> Account | None:
    """The account of a key (its hash), or None where it has been used too often by a sliding rule.

    Raises Unauthorised.
    """
    params = use_params(rule, key, kind=kind, now=now)
    async with db.connection() as connection:
        found = await (await connection.execute(USE_KEY, params)).fetchone()
    if found is None:
        raise Unauthorised()
    *owner, allowed = found
    return Account(**dict(zip(Account.__struct_fields__, owner, strict=True))) if allowed else None


async def spend(db: Database, rules: Sequence[Rule], key: bytes, *, now: datetime) -> list[Budget]:
    """Spend one of each window, or, where any of them is used up, of none.

    Returns how each window stands then, in the order of the rules; those that refused say so.
    """
    params = {
        "key_hash": key,
        "scopes": [rule.scope for rule in rules],
        "untils": [now + timedelta(seconds=rule.seconds) for rule in rules],
        "now": now,
    }
    budgets: list[Budget] = []
    try:
        async with db.transaction() as connection:
            spent = {found.scope: found for found in await rows(connection, _Spent, SPEND, params)}
            budgets = [
                Budget(
                    rule=rule,
                    used=spent[rule.scope].used,
                    until=spent[rule.scope].until,
                    refused=spent[rule.scope].used > rule.count,
                )
                for rule in rules
            ]
            if any(budget.refused for budget in budgets):
                raise _Overdrawn
    except _Overdrawn:
        return [structs.replace(budget, used=budget.used - 1) for budget in budgets]
    return budgets


async def refund(db: Database, budgets: Sequence[Budget], key: bytes) -> list[Budget]:
    """Give back what `spend` took, because the request came to nothing; how the windows stand then."""
    params = {
        "key_hash": key,
        "scopes": [budget.rule.scope for budget in budgets],
        "untils": [budget.until for budget in budgets],
    }
    await db.execute(REFUND, params)
    return [structs.replace(budget, used=budget.used - 1) for budget in budgets]


async def sweep(db: Database, *, now: datetime) -> int:
    """Forget rules that nobody is near of any more, at most 10,000 at a time; how many."""
    return await db.execute(SWEEP, {"now": now})
