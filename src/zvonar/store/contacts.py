"""Whom does an account keep on its lists? Contacts, and how those of a list become a campaign's calls.

Lists of contacts are phone lists that belong to no campaign; `loaded` of such a list is how many contacts it has.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.phone import Phone
from zvonar.store import loading
from zvonar.store.calls import take_ordinals
from zvonar.store.db import Database, row, rows
from zvonar.store.phone_lists import PhoneListNotFound, Rejected


class ContactList(Struct, frozen=True, kw_only=True):
    """A list of contacts."""

    account_id: int
    phone_list_id: int
    name: str
    loaded: int  # contacts
    rejected: int  # rows of an upload that became none
    created_at: datetime
    updated_at: datetime


class Contact(Struct, frozen=True, kw_only=True):
    """Somebody on a list."""

    contact_id: int
    phone_list_id: int
    phone: str  # E.164
    extra: str | None
    variables: dict[str, str] | None
    timezone: str | None  # IANA
    created_at: datetime


class NewContact(Struct, frozen=True, kw_only=True, gc=False):
    """Somebody to be put on a list, checked already."""

    phone: Phone
    extra: str | None = None
    variables: dict[str, str] | None = None
    timezone: str | None = None


class VariableMissing(Exception):
    """Some contacts have no text for a variable."""

    def __init__(self, name: str, contacts: int) -> None:
        super().__init__(name)
        self.name = name
        self.contacts = contacts


_LIST = "account_id, phone_list_id, name, loaded, rejected, created_at, updated_at"
_CONTACT = "contact_id, phone_list_id, phone, extra, variables, timezone, created_at"
_OF = "account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s"

ADD_LIST = f"""
INSERT INTO phone_lists (account_id, name, created_at, updated_at, finished_at)
VALUES (%(account_id)s, %(name)s, %(now)s, %(now)s, %(now)s) RETURNING {_LIST}
"""

GET_LIST = f"SELECT {_LIST} FROM phone_lists WHERE {_OF} AND campaign_id IS NULL"

# Nobody else changes the list until this transaction ends.
LOCK_LIST = f"{GET_LIST} FOR UPDATE"

# Nobody changes these lists until this transaction ends, and in one order, so that two never wait in a ring.
LOCK_LISTS = """
SELECT phone_list_id FROM phone_lists
WHERE account_id = %(account_id)s AND phone_list_id = ANY(%(phone_list_ids)s) AND campaign_id IS NULL
ORDER BY phone_list_id FOR SHARE
"""

# An account's lists, newest first.
LISTS = f"""
SELECT {_LIST} FROM phone_lists WHERE account_id = %(account_id)s AND campaign_id IS NULL
  AND (%(name)s::text IS NULL OR position(lower(%(name)s) IN lower(name)) > 0)
ORDER BY phone_list_id DESC LIMIT %(limit)s::bigint OFFSET %(skipped)s::bigint
"""
COUNT_LISTS = """
SELECT count(*) FROM phone_lists WHERE account_id = %(account_id)s AND campaign_id IS NULL
  AND (%(name)s::text IS NULL OR position(lower(%(name)s) IN lower(name)) > 0)
"""

RENAME = f"UPDATE phone_lists SET name = %(name)s, updated_at = %(now)s WHERE {_OF} AND campaign_id IS NULL"

# A list has some contacts more, or fewer.
COUNTED = f"""
UPDATE phone_lists SET loaded = loaded + %(added)s, rejected = rejected + %(rejected)s,
    total = total + %(added)s + %(rejected)s, done = done + %(added)s + %(rejected)s, updated_at = %(now)s
WHERE {_OF}
"""

DELETE_CONTACTS = f"DELETE FROM contacts WHERE {_OF}"
DELETE_REJECTS = f"DELETE FROM phone_list_rejects WHERE {_OF}"
DELETE_LIST = f"DELETE FROM phone_lists WHERE {_OF} AND campaign_id IS NULL"

COPY = """
COPY contacts (account_id, phone_list_id, phone, country, trial, extra, variables, timezone, created_at) FROM STDIN
"""

COPY_REJECTS = """
COPY phone_list_rejects (account_id, phone_list_id, line, reason, value, earlier) FROM STDIN
"""

# Of a list, newest first; by number where one is asked for.
CONTACTS = f"""
SELECT {_CONTACT} FROM contacts WHERE {_OF} AND (%(phone)s::text IS NULL OR phone = %(phone)s)
ORDER BY contact_id DESC LIMIT %(limit)s::bigint OFFSET %(skipped)s::bigint
"""
COUNT_CONTACTS = f"SELECT count(*) FROM contacts WHERE {_OF} AND phone = %(phone)s"

# All of them, in the order in which they came, a page at a time.
EACH = f"SELECT {_CONTACT} FROM contacts WHERE {_OF} AND contact_id > %(after)s ORDER BY contact_id LIMIT %(limit)s"

GET = f"SELECT {_CONTACT} FROM contacts WHERE {_OF} AND contact_id = %(contact_id)s"

CHANGE = f"""
UPDATE contacts SET phone = %(phone)s, country = %(country)s, trial = %(trial)s, extra = %(extra)s,
    variables = %(variables)s, timezone = %(timezone)s
WHERE {_OF} AND contact_id = %(contact_id)s RETURNING {_CONTACT}
"""

DELETE = f"DELETE FROM contacts WHERE {_OF} AND contact_id = %(contact_id)s"

# How many contacts have nothing to say where a text says {{name}}.
LACKING = """
SELECT count(*) FROM contacts WHERE account_id = %(account_id)s AND phone_list_id = ANY(%(phone_list_ids)s)
  AND coalesce(variables ->> %(name)s, '') = ''
"""

# How many calls some lists make: one for each number.
NUMBERS = """
SELECT count(DISTINCT phone) FROM contacts
WHERE account_id = %(account_id)s AND phone_list_id = ANY(%(phone_list_ids)s)
"""

# A call for each number of some lists, in the order of the lists and of their contacts.
CALLS = """
INSERT INTO calls (account_id, call_id, campaign_id, ordinal, phone, country, trial, due_at, expires_at, extra,
                   overrides, phone_list_id, created_at, updated_at)
SELECT %(account_id)s, new_call_id(%(now)s), %(campaign_id)s, %(first_ordinal)s::bigint + n, phone, country, trial,
    %(now)s, %(now)s + make_interval(secs => %(lifetime)s::integer), extra,
    nullif(jsonb_strip_nulls(jsonb_build_object('variables', variables, 'timezone', timezone)), '{}'), phone_list_id,
    %(now)s, %(now)s
FROM (
    SELECT *, row_number() OVER (ORDER BY place, contact_id) AS n FROM (
        SELECT DISTINCT ON (c.phone) c.*, l.place FROM contacts c
        JOIN unnest(%(phone_list_ids)s::bigint[]) WITH ORDINALITY AS l (phone_list_id, place) USING (phone_list_id)
        WHERE c.account_id = %(account_id)s ORDER BY c.phone, l.place, c.contact_id) one) numbered
ORDER BY n
"""


class _Id(Struct, frozen=True, kw_only=True):
    phone_list_id: int


async def add_list(db: Database, account_id: int, *, name: str, now: datetime) -> ContactList:
    """A new list without contacts."""
    added = await db.row(ContactList, ADD_LIST, {"account_id": account_id, "name": name, "now": now})
    assert added is not None
    return added


async def get_list(db: Database, account_id: int, phone_list_id: int, *, lock: bool = False) -> ContactList:
    """A list of this account; locked until the transaction ends. Raises PhoneListNotFound."""
    params = {"account_id": account_id, "phone_list_id": phone_list_id}
    found = await db.row(ContactList, LOCK_LIST if lock else GET_LIST, params)
    if found is None:
        raise PhoneListNotFound()
    return found


async def lists(
    db: Database, account_id: int, *, name: str | None, number: int, size: int
) -> tuple[list[ContactList], int]:
    """A page (from 1) of an account's lists, newest first, and how many there are."""
    params = {"account_id": account_id, "name": name, "limit": size, "skipped": (number - 1) * size}
    return await db.rows(ContactList, LISTS, params), int(await db.value(COUNT_LISTS, params))


async def rename(db: Database, account_id: int, phone_list_id: int, *, name: str, now: datetime) -> None:
    """Call a list something else. Raises PhoneListNotFound."""
    params = {"account_id": account_id, "phone_list_id": phone_list_id, "name": name, "now": now}
    if await db.execute(RENAME, params) == 0:
        raise PhoneListNotFound()


async def delete_list(db: Database, account_id: int, phone_list_id: int) -> None:
    """Forget a list and its contacts; calls that were made of it stay. Raises PhoneListNotFound."""
    async with db.transaction() as connection:
        params = {"account_id": account_id, "phone_list_id": phone_list_id}
        await connection.execute(loading.PATIENCE)
        if await row(connection, ContactList, LOCK_LIST, params) is None:
            raise PhoneListNotFound()
        for statement in (DELETE_CONTACTS, DELETE_REJECTS, DELETE_LIST):
            await connection.execute(statement, params)


async def add(
    db: Database,
    account_id: int,
    phone_list_id: int,
    new: Sequence[NewContact],
    *,
    rejected: Sequence[Rejected] = (),
    now: datetime,
) -> None:
    """Put contacts on a list that is locked."""
    ids = (account_id, phone_list_id)
    async with db.transaction() as connection:
        async with connection.cursor() as cursor, cursor.copy(COPY) as copying:
            for one in new:
                await copying.write_row(
                    (
                        *ids,
                        one.phone.e164,
                        one.phone.country,
                        one.phone.trial,
                        one.extra,
                        Jsonb(one.variables) if one.variables else None,
                        one.timezone,
                        now,
                    )
                )
        if rejected:
            async with connection.cursor() as cursor, cursor.copy(COPY_REJECTS) as copying:
                for bad in rejected:
                    await copying.write_row((*ids, bad.line, bad.reason, bad.value, bad.earlier))
        params = {"account_id": account_id, "phone_list_id": phone_list_id, "now": now}
        await connection.execute(COUNTED, {**params, "added": len(new), "rejected": len(rejected)})


async def of_list(
    db: Database, contact_list: ContactList, *, phone: str | None, number: int, size: int
) -> tuple[list[Contact], int]:
    """A page (from 1) of a list's contacts, newest first, and how many there are."""
    params = {**_of(contact_list), "phone": phone, "limit": size, "skipped": (number - 1) * size}
    total = contact_list.loaded if phone is None else int(await db.value(COUNT_CONTACTS, params))
    return await db.rows(Contact, CONTACTS, params), total


async def each(db: Database, contact_list: ContactList, *, page: int = 2000) -> AsyncIterator[list[Contact]]:
    """Every contact of a list, a page at a time."""
    after = 0
    while found := await db.rows(Contact, EACH, {**_of(contact_list), "after": after, "limit": page}):
        yield found
        after = found[-1].contact_id


async def get(db: Database, contact_list: ContactList, contact_id: int) -> Contact | None:
    """One contact of a list."""
    return await db.row(Contact, GET, {**_of(contact_list), "contact_id": contact_id})


async def change(db: Database, contact_list: ContactList, contact_id: int, new: NewContact) -> Contact | None:
    """Put somebody else in a contact's place; None where there is no such contact."""
    params = {
        **_of(contact_list),
        "contact_id": contact_id,
        "phone": new.phone.e164,
        "country": new.phone.country,
        "trial": new.phone.trial,
        "extra": new.extra,
        "variables": Jsonb(new.variables) if new.variables else None,
        "timezone": new.timezone,
    }
    return await db.row(Contact, CHANGE, params)


async def delete(db: Database, contact_list: ContactList, contact_id: int, *, now: datetime) -> bool:
    """Take somebody off a list that is locked; False where there is no such contact."""
    params = {**_of(contact_list), "contact_id": contact_id}
    if await db.execute(DELETE, params) == 0:
        return False
    await db.execute(COUNTED, {**_of(contact_list), "added": -1, "rejected": 0, "now": now})
    return True


async def call(
    db: Database,
    account_id: int,
    campaign_id: int,
    phone_list_ids: Sequence[int],
    *,
    needs: Sequence[str] = (),
    now: datetime,
) -> int:
    """Make a call of each number on these lists; how many. `needs`: the variables that the campaign's texts use.

    Raises PhoneListNotFound, VariableMissing, CampaignNotFound, CampaignClosed, NoMoney; then nothing is changed.
    """
    params: dict[str, Any] = {
        "account_id": account_id,
        "campaign_id": campaign_id,
        "phone_list_ids": list(dict.fromkeys(phone_list_ids)),
        "now": now,
    }
    async with db.transaction() as connection:
        await connection.execute(loading.PATIENCE)
        locked = await rows(connection, _Id, LOCK_LISTS, params)
        if len(locked) < len(params["phone_list_ids"]):
            known = {found.phone_list_id for found in locked}
            raise PhoneListNotFound(str(next(id for id in params["phone_list_ids"] if id not in known)))
        for name in needs:
            lacking = await (await connection.execute(LACKING, {**params, "name": name})).fetchone()
            if lacking is not None and lacking[0]:
                raise VariableMissing(name, int(lacking[0]))
        counted = await (await connection.execute(NUMBERS, params)).fetchone()
        assert counted is not None
        if not counted[0]:
            return 0
        taken = await take_ordinals(connection, account_id, campaign_id, counted[0], now)
        first = {"first_ordinal": taken.first_ordinal, "lifetime": taken.lifetime}
        await connection.execute(CALLS, {**params, **first})
        return int(counted[0])


def _of(contact_list: ContactList) -> Mapping[str, int]:
    return {"account_id": contact_list.account_id, "phone_list_id": contact_list.phone_list_id}
