"""Which numbers must not be called, whoever asks? Looked up again in the statement that places a leg.

Each account has a list of its own, and the installation has one for all of them.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from msgspec import Struct

from zvonar.core.errors import NotFound
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


class Stopped(Struct, frozen=True, kw_only=True):
    """A number that an account does not call."""

    phone: str  # E.164
    reason: str | None
    until: datetime | None  # None is for good
    created_at: datetime


class NewStop(Struct, frozen=True, kw_only=True, gc=False):
    """A number to be stopped."""

    phone: str  # E.164
    reason: str | None = None
    until: datetime | None = None


_STOPPED = "phone, reason, until, created_at"

# Many numbers of one account; the last word about each counts.
PUT_MANY = """
INSERT INTO stop_list (account_id, phone, reason, until, created_at)
SELECT DISTINCT ON (phone) %(account_id)s, phone, reason, until, %(now)s
FROM unnest(%(phones)s::text[], %(reasons)s::text[], %(stop_untils)s::timestamptz[])
    WITH ORDINALITY AS n (phone, reason, until, place)
ORDER BY phone, place DESC
ON CONFLICT (account_id, phone) DO UPDATE SET reason = excluded.reason, until = excluded.until
"""

GET = f"SELECT {_STOPPED} FROM stop_list WHERE account_id = %(account_id)s AND phone = %(phone)s"

DELETE = "DELETE FROM stop_list WHERE account_id = %(account_id)s AND phone = %(phone)s"

# By number, because that is how they are kept; what has run out is left out unless asked for.
PAGE = f"""
SELECT {_STOPPED} FROM stop_list
WHERE account_id = %(account_id)s AND (%(all)s OR until IS NULL OR until > %(now)s)
ORDER BY phone LIMIT %(limit)s::bigint OFFSET %(skipped)s::bigint
"""
COUNT = """
SELECT count(*) FROM stop_list WHERE account_id = %(account_id)s AND (%(all)s OR until IS NULL OR until > %(now)s)
"""

# All of them, a page at a time.
EACH = f"""
SELECT {_STOPPED} FROM stop_list WHERE account_id = %(account_id)s AND phone > %(after_phone)s
ORDER BY phone LIMIT %(limit)s
"""


async def put_many(db: Database, account_id: int, new: Sequence[NewStop], *, now: datetime) -> None:
    """Stop calls of this account to these numbers."""
    params = {
        "account_id": account_id,
        "phones": [one.phone for one in new],
        "reasons": [one.reason for one in new],
        "stop_untils": [one.until for one in new],
        "now": now,
    }
    await db.execute(PUT_MANY, params)


async def get(db: Database, account_id: int, phone: str) -> Stopped | None:
    """What the account's list says of an E.164 number."""
    return await db.row(Stopped, GET, {"account_id": account_id, "phone": phone})


async def delete(db: Database, account_id: int, phone: str) -> bool:
    """Let the account call an E.164 number again; False where it might already."""
    return await db.execute(DELETE, {"account_id": account_id, "phone": phone}) == 1


async def page(
    db: Database, account_id: int, *, all: bool, number: int, size: int, now: datetime
) -> tuple[list[Stopped], int]:
    """A page (from 1) of an account's list, by number, and how many there are. `all`: what has run out, too."""
    params = {"account_id": account_id, "all": all, "now": now}
    found = await db.rows(Stopped, PAGE, {**params, "limit": size, "skipped": (number - 1) * size})
    return found, int(await db.value(COUNT, params))


async def each(db: Database, account_id: int, *, page: int = 2000) -> AsyncIterator[list[Stopped]]:
    """All of an account's list, a page at a time."""
    after = ""
    while found := await db.rows(
        Stopped, EACH, {"account_id": account_id, "after_phone": after, "limit": page}
    ):
        yield found
        after = found[-1].phone


# What binds every account.
PUT_GLOBALLY = """
INSERT INTO global_stop_list (phone, reason, created_at) VALUES (%(phone)s, %(reason)s, %(now)s)
ON CONFLICT (phone) DO UPDATE SET reason = excluded.reason
"""
DELETE_GLOBALLY = "DELETE FROM global_stop_list WHERE phone = %(phone)s"
GLOBALLY = "SELECT phone, reason, NULL::timestamptz AS until, created_at FROM global_stop_list ORDER BY phone"


class NotStopped(NotFound):
    """This number is not on the installation's stop list."""


async def put_globally(db: Database, phone: str, *, reason: str | None, now: datetime) -> None:
    """Stop calls of every account to an E.164 number."""
    await db.execute(PUT_GLOBALLY, {"phone": phone, "reason": reason, "now": now})


async def delete_globally(db: Database, phone: str) -> None:
    """Let accounts call an E.164 number again, as far as their own lists do. Raises NotStopped."""
    if await db.execute(DELETE_GLOBALLY, {"phone": phone}) == 0:
        raise NotStopped()


async def globally(db: Database) -> list[Stopped]:
    """The installation's list, by number."""
    return await db.rows(Stopped, GLOBALLY)
