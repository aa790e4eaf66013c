"""Whose calls are these, with which key may they be reached, and what is left of the money?"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec
from msgspec import Struct
from psycopg.errors import UniqueViolation

from zvonar.core.control import Cap, checked_caps
from zvonar.core.errors import AccountNotFound, NameTaken, NotFound, Unauthorised
from zvonar.core.money import Rate, Tariff, tariff
from zvonar.store import webhook_secrets
from zvonar.store.db import Connection, Database, row, rows


class TariffNotFound(NotFound):
    """There is no such price list: zvonar tariff list shows those there are."""


class Account(Struct, frozen=True, kw_only=True):
    """A tenant."""

    account_id: int
    name: str
    currency: str  # ISO 4217
    timezone: str  # IANA
    countries: list[str]  # ISO 3166-1 alpha-2; where it may call
    tariff_id: int
    balance: Decimal
    held: Decimal  # what live legs and campaigns may still cost
    email: str | None  # whom to tell what goes wrong; also where letters to the owner go
    phone: str | None  # E.164; where texts to the owner go
    moderated: bool  # its campaigns run only once the operator has approved them
    cap_attempts: list[int] | None  # so many attempts to one callee …
    cap_seconds: list[int] | None  # … in so many seconds, side by side

    @property
    def caps(self) -> tuple[Cap, ...]:
        """How often all of its campaigns together may dial one callee."""
        pairs = zip(self.cap_attempts or (), self.cap_seconds or (), strict=True)
        return tuple(Cap(attempts=attempts, seconds=seconds) for attempts, seconds in pairs)


# Of an Account, in the order of its fields.
COLUMNS = """account_id, name, currency, timezone, countries, tariff_id, balance, held, email, phone, moderated,
    cap_attempts, cap_seconds"""

# Where accounts are at home, the commonest first: in these countries numbers are read that come in over a trunk.
HOME_COUNTRIES = """
SELECT countries[1] AS country FROM accounts WHERE countries[1] IS NOT NULL
GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 8
"""

ADD = f"""
INSERT INTO accounts (name, currency, timezone, countries, tariff_id, email)
SELECT %(name)s, %(currency)s, %(timezone)s, %(countries)s, tariff_id, %(email)s FROM tariffs WHERE name = %(tariff)s
RETURNING {COLUMNS}
"""

ADD_KEY = """
INSERT INTO keys (key_hash, account_id, kind, networks)
VALUES (%(key_hash)s, %(account_id)s, %(kind)s, %(networks)s::text[]::cidr[])
"""

ADD_LOGIN = """
INSERT INTO logins (kind, login, account_id, password_hash, networks)
VALUES (%(kind)s, %(login)s, %(account_id)s, %(password_hash)s, %(networks)s::text[]::cidr[])
"""

# The ledger and the balance change together, or neither does.
TOP_UP = """
WITH paid AS (
    UPDATE accounts SET balance = balance + %(amount)s WHERE account_id = %(account_id)s
    RETURNING account_id, balance
)
INSERT INTO ledger (account_id, at, kind, amount, balance_after, note)
SELECT account_id, %(now)s, %(kind)s, %(amount)s, balance, %(note)s FROM paid
"""

SET_PHONE = f"UPDATE accounts SET phone = %(phone)s WHERE account_id = %(account_id)s RETURNING {COLUMNS}"

# By another price list from its next call on.
SET_TARIFF = """
UPDATE accounts SET tariff_id = tariffs.tariff_id FROM tariffs
WHERE account_id = %(account_id)s AND tariffs.name = %(tariff)s RETURNING account_id
"""

SET_EMAIL = f"UPDATE accounts SET email = %(email)s WHERE account_id = %(account_id)s RETURNING {COLUMNS}"

# What keeps all of its campaigns in check.
SET_CONTROL = f"""
UPDATE accounts SET moderated = %(moderated)s, cap_attempts = %(cap_attempts)s, cap_seconds = %(cap_seconds)s
WHERE account_id = %(account_id)s RETURNING {COLUMNS}
"""

BY_KEY = f"""
SELECT {COLUMNS} FROM accounts JOIN keys USING (account_id)
WHERE key_hash = %(key_hash)s AND kind = %(kind)s AND revoked_at IS NULL AND blocked_at IS NULL
  AND inactive_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""

BY_ID = f"SELECT {COLUMNS} FROM accounts WHERE account_id = %(account_id)s"

BY_IDS = f"SELECT {COLUMNS} FROM accounts WHERE account_id = ANY(%(account_ids)s)"

BY_NAME = f"SELECT {COLUMNS} FROM accounts WHERE name = %(name)s"

LOGIN = "SELECT account_id, password_hash FROM logins WHERE kind = %(kind)s AND login = %(login)s"

LOGIN_OF = (
    "SELECT login FROM logins WHERE kind = %(kind)s AND account_id = %(account_id)s ORDER BY login LIMIT 1"
)

RATES = """
SELECT prefix, per_minute, connection_fee, first_interval, step FROM tariff_rates WHERE tariff_id = %(tariff_id)s
"""


class Login(Struct, frozen=True, kw_only=True):
    """Whose login it is, and how its password is stored."""

    account_id: int
    password_hash: str


def hash_key(key: str) -> bytes:
    """How a key is stored. Keys are long and random, so nothing slower than SHA-256 is needed."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def hash_password(password: str) -> str:
    """How a password is stored: scrypt with its parameters and salt."""
    salt = secrets.token_bytes(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)
    return f"scrypt$16384$8$1${salt.hex()}${digest.hex()}"


def password_matches(password: str, stored: str) -> bool:
    """Whether this password was stored as `stored`; constant time."""
    _, n, r, p, salt, digest = stored.split("$")
    computed = hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"), salt=bytes.fromhex(salt), n=int(n), r=int(r), p=int(p)
    )
    return secrets.compare_digest(computed.hex(), digest)


async def add(
    db: Database,
    *,
    name: str,
    currency: str,
    timezone: str,
    countries: list[str],
    balance: Decimal,
    keys: dict[str, str],
    logins: dict[str, tuple[str, str]],
    now: datetime,
    tariff: str = "default",
    email: str | None = None,
    webhook_secret: str | None = None,
    furnish: Callable[[Connection, Account], Awaitable[None]] | None = None,
    networks: Mapping[str, Sequence[str]] | None = None,
) -> Account:
    """A new account with its keys (kind → key), logins (kind → login, password), webhook secret (a new one unless
    given) and whatever `furnish` adds, whole or not at all. `networks`: from where keys and logins of a kind may be
    used; else from everywhere.

    Raises NameTaken.
    """
    allowed = {kind: list(texts) for kind, texts in (networks or {}).items()}
    try:
        async with db.transaction() as connection:
            params = {
                "name": name,
                "currency": currency,
                "timezone": timezone,
                "countries": countries,
                "tariff": tariff,
                "email": email,
            }
            account = await row(connection, Account, ADD, params)
            if account is None:
                raise AccountNotFound(f"The tariff {tariff!r} does not exist.")
            secret = webhook_secret or webhook_secrets.new_secret()
            await webhook_secrets.add(connection, account.account_id, secret, now=now)
            for kind, key in keys.items():
                await connection.execute(
                    ADD_KEY,
                    {
                        "key_hash": hash_key(key),
                        "account_id": account.account_id,
                        "kind": kind,
                        "networks": allowed.get(kind),
                    },
                )
            for kind, (login, password) in logins.items():
                await connection.execute(
                    ADD_LOGIN,
                    {
                        "kind": kind,
                        "login": login,
                        "account_id": account.account_id,
                        "password_hash": hash_password(password),
                        "networks": allowed.get(kind),
                    },
                )
            if balance:
                paid = {
                    "account_id": account.account_id,
                    "amount": balance,
                    "kind": "topup",
                    "note": "opening balance",
                    "now": now,
                }
                await connection.execute(TOP_UP, paid)
            if furnish is not None:
                await furnish(connection, account)
            return msgspec.structs.replace(account, balance=balance)
    except UniqueViolation:
        raise NameTaken(name) from None


async def top_up(db: Database, account_id: int, amount: Decimal, *, note: str, now: datetime) -> None:
    """Enter money (or, negative, correct it) in ledger and balance."""
    kind = "topup" if amount >= 0 else "adjustment"
    await db.execute(
        TOP_UP, {"account_id": account_id, "amount": amount, "kind": kind, "note": note, "now": now}
    )


async def by_key(db: Database, key: str, *, kind: str) -> Account:
    """The account of a key, or Unauthorised."""
    account = await db.row(Account, BY_KEY, {"key_hash": hash_key(key), "kind": kind})
    if account is None:
        raise Unauthorised()
    return account


async def login_of(db: Database, account_id: int, *, kind: str) -> str | None:
    """The account's login of this kind."""
    found: str | None = await db.value(LOGIN_OF, {"account_id": account_id, "kind": kind})
    return found


async def login(db: Database, *, kind: str, login: str) -> Login | None:
    """The login of this name."""
    return await db.row(Login, LOGIN, {"kind": kind, "login": login})


async def get(db: Database, account_id: int) -> Account:
    """The account of this id, or AccountNotFound."""
    account = await db.row(Account, BY_ID, {"account_id": account_id})
    if account is None:
        raise AccountNotFound(str(account_id))
    return account


async def named(db: Database, id_or_name: str) -> Account:
    """The account that a person means on the command line; its id comes before its name."""
    if id_or_name.isascii() and id_or_name.isdigit() and len(id_or_name) < 19:
        account = await db.row(Account, BY_ID, {"account_id": int(id_or_name)})
        if account is not None:
            return account
    account = await db.row(Account, BY_NAME, {"name": id_or_name})
    if account is None:
        raise AccountNotFound(repr(id_or_name))
    return account


async def set_email(db: Database, account_id: int, email: str | None) -> Account:
    """Whom to tell from now on what goes wrong. Raises AccountNotFound."""
    account = await db.row(Account, SET_EMAIL, {"account_id": account_id, "email": email})
    if account is None:
        raise AccountNotFound(str(account_id))
    return account


async def set_phone(db: Database, account_id: int, phone: str | None) -> Account:
    """Where texts to the owner go from now on, E.164. Raises AccountNotFound."""
    account = await db.row(Account, SET_PHONE, {"account_id": account_id, "phone": phone})
    if account is None:
        raise AccountNotFound(str(account_id))
    return account


async def set_tariff(db: Database, account_id: int, tariff: str) -> Account:
    """By which price list it pays from its next call on. Raises TariffNotFound, AccountNotFound."""
    if await db.value(SET_TARIFF, {"account_id": account_id, "tariff": tariff}) is None:
        raise TariffNotFound()
    return await get(db, account_id)


async def set_control(db: Database, account_id: int, *, moderated: bool, caps: Sequence[Cap]) -> Account:
    """Whether its campaigns need approval, and how often they may dial one callee.

    Raises AccountNotFound, SettingsInvalid.
    """
    checked = checked_caps(tuple(caps))
    params = {
        "account_id": account_id,
        "moderated": moderated,
        "cap_attempts": [cap.attempts for cap in checked] or None,
        "cap_seconds": [cap.seconds for cap in checked] or None,
    }
    account = await db.row(Account, SET_CONTROL, params)
    if account is None:
        raise AccountNotFound(str(account_id))
    return account


async def tariff_of(db: Database, account: Account) -> Tariff:
    """The price list that this account pays by."""
    async with db.connection() as connection:
        found = await rows(connection, Rate, RATES, {"tariff_id": account.tariff_id})
    return tariff(account.tariff_id, "", found)


# Price lists, each by the longest prefix.
RATES_OF = """
SELECT tariff_id, prefix, per_minute, connection_fee, first_interval, step FROM tariff_rates
WHERE tariff_id = ANY(%(tariff_ids)s) ORDER BY tariff_id, prefix
"""


class _Priced(Rate, frozen=True, kw_only=True):
    tariff_id: int


async def payers(db: Database, account_ids: Collection[int]) -> dict[int, tuple[Account, Tariff]]:
    """Accounts with the price lists that they pay by, however many in two statements; those that there are."""
    if not account_ids:
        return {}
    found = await db.rows(Account, BY_IDS, {"account_ids": list(account_ids)})
    rates: dict[int, list[Rate]] = {one.tariff_id: [] for one in found}
    for priced in await db.rows(_Priced, RATES_OF, {"tariff_ids": list(rates)}):
        rates[priced.tariff_id].append(msgspec.convert(priced, Rate, from_attributes=True))
    lists = {tariff_id: tariff(tariff_id, "", of_list) for tariff_id, of_list in rates.items()}
    return {one.account_id: (one, lists[one.tariff_id]) for one in found}


class _Country(Struct, frozen=True, kw_only=True):
    country: str


async def home_countries(db: Database) -> list[str]:
    """Where accounts are at home, the commonest first."""
    return [found.country for found in await db.rows(_Country, HOME_COUNTRIES)]


# What an account pays that was given no price list of its own.
DEFAULT_RATES = """
SELECT prefix, per_minute, connection_fee, first_interval, step FROM tariff_rates JOIN tariffs USING (tariff_id)
WHERE name = 'default' ORDER BY prefix
"""


async def default_rates(db: Database) -> list[Rate]:
    """The price list that anybody may see."""
    return await db.rows(Rate, DEFAULT_RATES)
