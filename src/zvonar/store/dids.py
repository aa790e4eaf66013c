"""On which numbers may an account be called, and what do callers hear?"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.errors import NotFound, Refused
from zvonar.core.inbound import Greeting
from zvonar.store.db import Database


class DidTaken(Refused):
    """This number belongs to another account."""


class DidNotFound(NotFound):
    """The account has no such number."""


class Did(Struct, frozen=True, kw_only=True):
    """A number of an account."""

    phone: str  # E.164
    account_id: int
    greeting: Greeting | None  # None: callers are rejected, which costs them nothing


class _Row(Struct, frozen=True, kw_only=True):
    phone: str
    account_id: int
    greeting: dict[str, Any] | None

    def did(self) -> Did:
        greeting = None if self.greeting is None else msgspec.convert(self.greeting, Greeting)
        return Did(phone=self.phone, account_id=self.account_id, greeting=greeting)


# A number of one account is never given to another by this. Reports name it from now on.
PUT = """
WITH given AS (
    INSERT INTO dids (phone, account_id, greeting, created_at)
    VALUES (%(phone)s, %(account_id)s, %(greeting)s, %(now)s)
    ON CONFLICT (phone) DO UPDATE SET greeting = excluded.greeting WHERE dids.account_id = excluded.account_id
    RETURNING phone, account_id, greeting
), named AS (
    INSERT INTO virtual_numbers (account_id, phone, created_at) SELECT account_id, phone, %(now)s FROM given
    ON CONFLICT (account_id, phone) DO UPDATE SET is_active = true
)
SELECT phone, account_id, greeting FROM given
"""

# Reports go on naming it: sessions had it.
REMOVE = """
WITH gone AS (
    DELETE FROM dids WHERE account_id = %(account_id)s AND phone = %(phone)s RETURNING account_id, phone
), named AS (
    UPDATE virtual_numbers v SET is_active = false FROM gone
    WHERE v.account_id = gone.account_id AND v.phone = gone.phone
)
SELECT count(*) FROM gone
"""

OF_ACCOUNT = "SELECT phone, account_id, greeting FROM dids WHERE account_id = %(account_id)s ORDER BY phone"

# Whose number was called; several where it was written in a way that several countries understand.
CALLED = "SELECT phone, account_id, greeting FROM dids WHERE phone = ANY(%(phones)s) ORDER BY phone"


async def put(db: Database, account_id: int, phone: str, greeting: Greeting | None, *, now: datetime) -> Did:
    """Give a number to an account, or a new greeting to its number. Raises SettingsInvalid, DidTaken."""
    greeted = None if greeting is None else Jsonb(msgspec.to_builtins(greeting.checked()))
    params = {"account_id": account_id, "phone": phone, "greeting": greeted, "now": now}
    stored = await db.row(_Row, PUT, params)
    if stored is None:
        raise DidTaken()
    return stored.did()


async def remove(db: Database, account_id: int, phone: str) -> None:
    """Take a number from an account. Raises DidNotFound."""
    if not await db.value(REMOVE, {"account_id": account_id, "phone": phone}):
        raise DidNotFound()


async def of_account(db: Database, account_id: int) -> list[Did]:
    """The account's numbers."""
    return [found.did() for found in await db.rows(_Row, OF_ACCOUNT, {"account_id": account_id})]


async def called(db: Database, phones: Sequence[str]) -> list[Did]:
    """Those of these numbers that belong to somebody."""
    return [found.did() for found in await db.rows(_Row, CALLED, {"phones": list(phones)})]
