"""Who works in an account's CRM, and what may they do there?"""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec import Struct
from psycopg.errors import UniqueViolation

from zvonar.core.crm import tail
from zvonar.core.errors import NameTaken, Unauthorised
from zvonar.store import accounts, limits
from zvonar.store.accounts import Account
from zvonar.store.db import Connection, Database, row, rows
from zvonar.store.limits import Rule


class Role(StrEnum):
    """What a user may do."""

    admin = "admin"  # everything, users and webhooks included
    editor = "editor"  # change cards and log calls
    viewer = "viewer"  # look


class User(Struct, frozen=True, kw_only=True):
    """A user."""

    user_id: int
    name: str
    email: str
    phone: str | None  # as it was written
    phone_tail: str | None  # see core.crm.tail
    lang: str
    role: Role
    is_active: bool
    created_at: datetime


COLUMNS = "user_id, name, email, phone, phone_tail, lang, role, is_active, created_at"

GET = f"SELECT {COLUMNS} FROM crm_users WHERE account_id = %(account_id)s AND user_id = %(user_id)s"

# Whoever had the account first: in their name an integration acts.
OWNER = f"""
SELECT {COLUMNS} FROM crm_users WHERE account_id = %(account_id)s AND role = 'admin' AND is_active
ORDER BY user_id LIMIT 1
"""

PAGE = f"""
SELECT {COLUMNS} FROM crm_users WHERE account_id = %(account_id)s ORDER BY user_id LIMIT %(limit)s OFFSET %(skipped)s
"""

COUNT = "SELECT count(*) FROM crm_users WHERE account_id = %(account_id)s"

# Whom somebody may mean by these ids, numbers (their tails) and names; of several of one name, the first.
MEANT = f"""
SELECT {COLUMNS} FROM crm_users
WHERE account_id = %(account_id)s AND is_active
  AND (user_id = ANY(%(user_ids)s::bigint[]) OR phone_tail = ANY(%(tails)s) OR lower(name) = ANY(%(names)s))
ORDER BY user_id
"""

ADD = f"""
INSERT INTO crm_users (account_id, name, email, phone, phone_tail, lang, role, created_at)
VALUES (%(account_id)s, %(name)s, %(email)s, %(phone)s, %(tail)s, %(lang)s, %(role)s, %(now)s)
RETURNING {COLUMNS}
"""


TAKEN = """
SELECT lower(email) FROM crm_users WHERE account_id = %(account_id)s AND lower(email) = ANY(%(addresses)s)
"""


# Whoever comes with a token: the account that has it, and the user whom it names. One look, as often as it may be used.
COME_IN = limits.using(
    accounts.COLUMNS
    + """, (SELECT to_jsonb(u) - 'account_id' FROM crm_users u
            WHERE u.account_id = accounts.account_id AND u.user_id = %(user_id)s AND u.is_active) AS who,
        EXISTS (SELECT FROM crm_webhooks w WHERE w.account_id = accounts.account_id) AS heard"""
)


class Entered(Struct, frozen=True, kw_only=True):
    """Who has come in."""

    account: Account
    user: User
    heard: bool  # whether the account has webhooks


class NewUser(Struct, frozen=True, kw_only=True):
    """A user to be added."""

    name: str
    email: str
    phone: str | None = None
    lang: str = "ru"
    role: Role = Role.editor


class Directory:
    """Some users, to be found by what a client calls them."""

    def __init__(self, users: Sequence[User]) -> None:
        self._by_id = {user.user_id: user for user in users}
        self._by_tail: dict[str, User] = {}
        self._by_name: dict[str, User] = {}
        for user in users:
            if user.phone_tail:
                self._by_tail.setdefault(user.phone_tail, user)
            self._by_name.setdefault(user.name.lower(), user)

    def has(self, user_id: int) -> bool:
        return user_id in self._by_id

    def meant(self, called: str | int | None) -> User | None:
        """The user whom a client calls so: an integer is an id, a text a name or a number."""
        if called is None:
            return None
        if isinstance(called, int):
            return self._by_id.get(called)
        return self._by_name.get(called.strip().lower()) or self._by_tail.get(tail(called))


async def come_in(
    db: Database, rule: Rule, token: bytes, *, kind: str, user_id: int, now: datetime
) -> Entered | None:
    """The account of a token (its hash) and the user that it names; None where it has been used too often.

    Raises Unauthorised.
    """
    params = {**limits.use_params(rule, token, kind=kind, now=now), "user_id": user_id}
    async with db.connection() as connection:
        found = await (await connection.execute(COME_IN, params)).fetchone()
    if found is None:
        raise Unauthorised()
    *owner, who, heard, allowed = found
    if who is None:
        raise Unauthorised()
    if not allowed:
        return None
    account = Account(**dict(zip(Account.__struct_fields__, owner, strict=True)))
    return Entered(account=account, user=msgspec.convert(who, User), heard=heard)


async def get(db: Database, account_id: int, user_id: int) -> User | None:
    """The user of this id."""
    return await db.row(User, GET, {"account_id": account_id, "user_id": user_id})


async def owner(connection: Connection, account_id: int) -> User:
    """Whoever had the account first."""
    found = await row(connection, User, OWNER, {"account_id": account_id})
    assert found is not None  # nobody can take the last one away
    return found


async def page(db: Database, account_id: int, *, limit: int, skipped: int) -> tuple[list[User], int]:
    """Users in the order in which they came, and how many there are in all."""
    params = {"account_id": account_id, "limit": limit, "skipped": skipped}
    async with db.connection() as connection:
        found = await rows(connection, User, PAGE, params)
        total = await (await connection.execute(COUNT, {"account_id": account_id})).fetchone()
    assert total is not None
    return found, int(total[0])


async def directory(
    db: Database, account_id: int, *, user_ids: Collection[int] = (), called: Collection[str] = ()
) -> Directory:
    """Those who may be meant by these ids, and by these texts."""
    if not user_ids and not called:
        return Directory(())
    async with db.connection() as connection:
        return await directory_of(connection, account_id, user_ids=user_ids, called=called)


async def directory_of(
    connection: Connection, account_id: int, *, user_ids: Collection[int] = (), called: Collection[str] = ()
) -> Directory:
    """The same, within a transaction."""
    if not user_ids and not called:
        return Directory(())
    params = {
        "account_id": account_id,
        "user_ids": list(user_ids),
        "tails": [digits for text in called if (digits := tail(text))],
        "names": [text.strip().lower() for text in called],
    }
    return Directory(await rows(connection, User, MEANT, params))


async def addresses(connection: Connection, account_id: int, emails: Sequence[str]) -> set[str]:
    """Which of these addresses, in small letters, have a user already."""
    params = {"account_id": account_id, "addresses": [email.lower() for email in emails]}
    found = await (await connection.execute(TAKEN, params)).fetchall()
    return {str(address) for (address,) in found}


async def insert(connection: Connection, account_id: int, new: NewUser, *, now: datetime) -> User:
    """A new user. Raises NameTaken where the address is another's; the transaction is over then."""
    params = {
        "account_id": account_id,
        "name": new.name,
        "email": new.email,
        "phone": new.phone,
        "tail": None if new.phone is None else tail(new.phone) or None,
        "lang": new.lang,
        "role": new.role,
        "now": now,
    }
    try:
        added = await row(connection, User, ADD, params)
    except UniqueViolation:
        raise NameTaken("This address has a user already.") from None
    assert added is not None
    return added


async def add(db: Database, account_id: int, new: NewUser, *, now: datetime) -> User:
    """The same, on its own."""
    async with db.transaction() as connection:
        return await insert(connection, account_id, new, now=now)
