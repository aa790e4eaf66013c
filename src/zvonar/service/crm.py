"""How does an operator connect an account to its CRM, and what does the worker need for it?"""

import asyncio
import secrets
from datetime import datetime
from typing import Any

from msgspec import Struct

from zvonar.core.errors import Invalid
from zvonar.delivery.crm import oauth
from zvonar.delivery.crm.asking import PER_SECOND
from zvonar.delivery.crm.items import Links
from zvonar.delivery.crm.pusher import Crm
from zvonar.delivery.crm.settings import CrmSettings
from zvonar.delivery.crm.trouble import objection
from zvonar.delivery.crm.vault import Credentials, Vault
from zvonar.delivery.crm.wire import CrmHttp, Reply, origin
from zvonar.service.home import Home
from zvonar.speech.links import RecordingLinks
from zvonar.store import push_connections, push_paces
from zvonar.store.db import Database
from zvonar.store.push_connections import CrmConnection, Kind, NotConnected
from zvonar.store.push_paces import Slot

_PATIENCE = 20.0  # seconds for a slot: a person waits
_NO_CUSTOMERS = ("unavailable", "disabled")  # of customers_mode


class CrmRefused(Invalid):
    """The CRM cannot be connected:"""


class Keys(Struct, frozen=True, kw_only=True):
    """What a person got from the CRM: a long-lived token, or an integration and its code."""

    token: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    code: str | None = None
    redirect_uri: str = ""

    def __repr__(self) -> str:
        return "Keys(…)"


def vault(home: Home) -> Vault:
    """Encrypts with the key file of this home, which is made at its first use."""
    return Vault(home.secret("crm-key"))


def links(home: Home) -> RecordingLinks:
    """Public addresses of this home's recordings."""
    return RecordingLinks(home.secret("media").encode())


def public_links(home: Home, public_url: str | None) -> Links | None:
    """The same with their beginning; None where the operator has not said how we are reached from outside."""
    return Links(base=public_url.rstrip("/"), makes=links(home)) if public_url else None


def pushing(home: Home, *, public_url: str | None) -> Crm:
    """What the worker needs."""
    return Crm(vault=vault(home), links=public_links(home, public_url))


async def connect(
    db: Database,
    http: CrmHttp,
    account_id: int,
    *,
    domain: str,
    keys: Keys,
    vault: Vault,
    now: datetime,
) -> tuple[CrmConnection, str, int]:
    """Try the keys and keep them: the connection, the CRM's own name of its account, and how many calls have waited.

    What was set before is kept. Raises CrmRefused, BaseUrlInvalid.
    """
    base_url = origin(domain)
    credentials, expires_at, kind = await _credentials(db, http, base_url, keys, now)
    reply = await http.ask(
        await _slot(db, base_url), "GET", f"{base_url}/api/v4/account", token=credentials.access_token
    )
    if (exc := objection(reply)) is not None or reply.status != 200:
        raise CrmRefused(_said(reply, str(exc.trouble) if exc is not None else "strange"))
    try:
        known = await push_connections.get(db, account_id)
        settings: dict[str, Any] = known.settings
    except NotConnected:
        settings = CrmSettings().document()
    number = reply.under("id")
    made, waited = await push_connections.put(
        db,
        account_id,
        tag=f"zv{secrets.token_hex(4)}",
        base_url=base_url,
        kind=kind,
        credentials=vault.seal(account_id, credentials),
        expires_at=expires_at,
        settings=settings,
        crm_account_id=number if isinstance(number, int) else None,
        customers=reply.under("customers_mode") not in _NO_CUSTOMERS,
        now=now,
    )
    # Whoever connects it has seen to what was in the way.
    await push_paces.free(db, base_url)
    name = reply.under("name")
    return made, name if isinstance(name, str) else "", waited


async def _credentials(
    db: Database, http: CrmHttp, base_url: str, keys: Keys, now: datetime
) -> tuple[Credentials, datetime | None, Kind]:
    if keys.token is not None:
        made = Credentials(access_token=_word("token", keys.token), issued_at=now)
        return made, oauth.expiry(keys.token), "long_lived"
    if not keys.client_id or not keys.client_secret or not keys.code:
        raise CrmRefused("give a long-lived token, or the integration's id, secret and code.")
    given = Credentials(
        access_token="",
        issued_at=now,
        client_id=_word("client id", keys.client_id),
        client_secret=_word("client secret", keys.client_secret),
        redirect_uri=_word("redirect URI", keys.redirect_uri) if keys.redirect_uri else "",
    )
    reply = await oauth.exchange(
        http, await _slot(db, base_url), base_url, given, code=_word("code", keys.code)
    )
    granted = oauth.granted(reply, given, now=now)
    if granted is None:
        raise CrmRefused(_said(reply, "strange"))
    credentials, expires_at = granted
    return credentials, expires_at, "oauth"


def _word(what: str, given: str) -> str:
    given = given.strip()
    if not given or len(given) > 16_384 or not given.isascii() or not given.isprintable() or " " in given:
        raise CrmRefused(f"the {what} is one word of plain characters.")
    return given


async def _slot(db: Database, base_url: str) -> Slot:
    try:
        async with asyncio.timeout(_PATIENCE):
            while True:
                async with db.connection() as connection:
                    taken = await push_paces.take(connection, base_url, count=PER_SECOND)
                if isinstance(taken, Slot):
                    return taken
                if taken > _PATIENCE:
                    # It wants to be left alone; a person who connects it may try all the same.
                    await push_paces.free(db, base_url)
                    continue
                await asyncio.sleep(taken)
    except TimeoutError:
        raise CrmRefused("it is being asked too often just now.") from None


def _said(reply: Reply, trouble: str) -> str:
    if reply.status is None:
        return f"it does not answer ({reply.failure}{f', {reply.reason}' if reply.reason else ''})."
    return f"it answers {reply.status}, {oauth.hint(reply)} ({trouble})."
