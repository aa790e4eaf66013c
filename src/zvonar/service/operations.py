"""What does an operator do with a running installation? Accounts, campaigns and trunks, in core terms."""

import secrets
import string
from datetime import datetime
from decimal import Decimal
from typing import Any

import phonenumbers

from zvonar.core.errors import Invalid
from zvonar.core.schedule import zone_of
from zvonar.delivery.letters import checked_email
from zvonar.dialects.amocrm import grants
from zvonar.store import accounts
from zvonar.store.db import Connection, Database
from zvonar.store.keys import LOOPBACK
from zvonar.store.webhook_secrets import new_secret


class AccountInvalid(Invalid):
    """The account cannot be made like this."""


def _word(length: int, alphabet: str = string.ascii_lowercase + string.digits) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


async def add_account(
    db: Database,
    *,
    name: str,
    balance: Decimal,
    currency: str,
    timezone: str,
    countries: list[str],
    now: datetime,
    email: str | None = None,
) -> dict[str, Any]:
    """A new account and its keys, as `account add --json` prints them. The keys are never shown again.

    Raises AccountInvalid, EmailInvalid, SettingsInvalid, NameTaken.
    """
    name = name.strip()
    if not name or len(name) > 200 or "\0" in name or name.isdigit():
        raise AccountInvalid("A name is 1 to 200 characters, and not a mere number.")
    if len(currency) != 3 or not currency.isascii() or not currency.isalpha():
        raise AccountInvalid("A currency is its three letters, such as RUB.")
    zone_of(timezone)
    countries = [country.strip().upper() for country in countries if country.strip()]
    unknown = sorted(set(countries) - set(phonenumbers.SUPPORTED_REGIONS))
    if unknown or not countries:
        raise AccountInvalid(
            f"Countries are ISO codes such as RU,KZ; unknown: {', '.join(unknown) or 'none given'}."
        )
    if balance < 0 or not balance.is_finite() or balance >= Decimal(10) ** 11:
        raise AccountInvalid("A balance is a positive amount.")
    callo, autocall, uis = secrets.token_hex(16), _word(40), _word(40)
    client_id = "-".join(_word(n, "0123456789abcdef") for n in (8, 4, 4, 4, 12))
    client_secret = _word(64)
    login = f"{_word(6)}@zvonar"
    logins = {
        "uis": (f"uis-{_word(8)}", _word(16)),
        "dashboard": (login, _word(16)),
        "amocrm": (client_id, client_secret),
    }
    issued: list[grants.Issued] = []

    async def furnish(connection: Connection, account: accounts.Account) -> None:
        issued.append(await grants.begin(connection, account.account_id, client_id=client_id, now=now))

    secret = new_secret()
    account = await accounts.add(
        db,
        name=name,
        currency=currency.upper(),
        timezone=timezone,
        countries=countries,
        balance=balance,
        keys={
            "callo_public_key": callo,
            "autocall_api_key": autocall,
            "uis_access_token": uis,
        },
        logins=logins,
        email=checked_email(email) if email is not None else None,
        webhook_secret=secret,
        # Report keys and logins are for this machine until their owner says otherwise.
        networks={"uis_access_token": LOOPBACK, "uis": LOOPBACK},
        furnish=furnish,
        now=now,
    )
    return {
        "account_id": account.account_id,
        "callo_public_key": callo,
        "autocall_api_key": autocall,
        "uis_access_token": uis,
        "uis_login": logins["uis"][0],
        "uis_password": logins["uis"][1],
        "amocrm": {
            "client_id": client_id,
            "client_secret": client_secret,
            "code": issued[0].code,
            "access_token": issued[0].access_token,
        },
        "dashboard_login": login,
        "dashboard_password": logins["dashboard"][1],
        "webhook_secret": secret,
    }
