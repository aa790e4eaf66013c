"""Which tokens does an integration get? New ones: a long-lived one with an account, pairs over OAuth2."""

import secrets
import string
from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from zvonar.dialects.amocrm import tokens
from zvonar.dialects.amocrm.tokens import Claims
from zvonar.store import crm_tokens, crm_users
from zvonar.store.crm_tokens import Grant
from zvonar.store.crm_users import User
from zvonar.store.db import Connection, Database

_ALPHABET = string.ascii_lowercase + string.digits


def opaque() -> str:
    """A code or refresh token: it says nothing."""
    return "def502" + "".join(secrets.choice(_ALPHABET) for _ in range(122))


def access(
    account_id: int,
    user: User,
    *,
    client_id: str,
    secret: bytes,
    lives: timedelta,
    now: datetime,
    api_domain: str | None = None,
) -> Grant:
    """An access token of this user."""
    claims = Claims(user_id=user.user_id, account_id=account_id, client_id=client_id, expires_at=now + lives)
    token = tokens.sign(claims, secret, token_id=secrets.token_hex(20), now=now, api_domain=api_domain)
    return Grant(key=token, expires_at=claims.expires_at)


class Issued(Struct, frozen=True, kw_only=True):
    """What a new integration begins with."""

    code: str  # for twenty minutes, once
    access_token: str  # for five years


async def long_lived(db: Database, account_id: int, user: User, *, client_id: str, now: datetime) -> Grant:
    """Another long-lived token, of this user."""
    async with db.transaction() as connection:
        secret = await crm_tokens.secret_of(connection)
        token = access(account_id, user, client_id=client_id, secret=secret, lives=tokens.LONG_LIVES, now=now)
        await crm_tokens.add(connection, account_id, {tokens.ACCESS: token}, now=now)
    return token


async def code(db: Database, account_id: int, *, now: datetime) -> Grant:
    """Another code, for twenty minutes."""
    made = Grant(key=opaque(), expires_at=now + tokens.CODE_LIVES)
    async with db.transaction() as connection:
        await crm_tokens.add(connection, account_id, {tokens.CODE: made}, now=now)
    return made


async def begin(connection: Connection, account_id: int, *, client_id: str, now: datetime) -> Issued:
    """A code and a long-lived token in the name of the account's owner, within a transaction."""
    user = await crm_users.owner(connection, account_id)
    code = Grant(key=opaque(), expires_at=now + tokens.CODE_LIVES)
    token = access(
        account_id,
        user,
        client_id=client_id,
        secret=await crm_tokens.secret_of(connection),
        lives=tokens.LONG_LIVES,
        now=now,
    )
    kept: Mapping[str, Grant] = {tokens.CODE: code, tokens.ACCESS: token}
    await crm_tokens.add(connection, account_id, kept, now=now)
    return Issued(code=code.key, access_token=token.key)
