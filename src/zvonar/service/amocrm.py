"""What does an operator do with an account's own CRM? Codes, users with their tokens, and where tokens may go."""

from datetime import datetime
from typing import Any

from zvonar.core.errors import Invalid
from zvonar.dialects.amocrm import grants, tokens
from zvonar.dialects.amocrm.requests.calls import may_be_phone
from zvonar.store import accounts, crm_tokens, crm_users
from zvonar.store.crm_users import NewUser
from zvonar.store.db import Database


class UserInvalid(Invalid):
    """The user cannot be made like this."""


async def new_code(db: Database, account: str, *, now: datetime) -> dict[str, Any]:
    """Another authorization code. Raises AccountNotFound."""
    found = await accounts.named(db, account)
    made = await grants.code(db, found.account_id, now=now)
    return {"account_id": found.account_id, "code": made.key, "expires_at": made.expires_at.isoformat()}


async def add_user(db: Database, account: str, new: NewUser, *, now: datetime) -> dict[str, Any]:
    """A user and their long-lived token. Raises AccountNotFound, UserInvalid, NameTaken."""
    if not new.name.strip() or len(new.name) > 255 or "@" not in new.email or len(new.email) > 255:
        raise UserInvalid("A user has a name and an e-mail address.")
    if new.phone is not None and not may_be_phone(new.phone):
        raise UserInvalid("That is no telephone number.")
    found = await accounts.named(db, account)
    client_id = await accounts.login_of(db, found.account_id, kind=tokens.LOGIN)
    user = await crm_users.add(db, found.account_id, new, now=now)
    token = await grants.long_lived(db, found.account_id, user, client_id=client_id or "", now=now)
    return {"account_id": found.account_id, "user_id": user.user_id, "access_token": token.key}


async def set_redirect_uri(db: Database, account: str, uri: str | None) -> dict[str, Any]:
    """Where tokens may go from now on. Raises AccountNotFound."""
    found = await accounts.named(db, account)
    await crm_tokens.set_redirect_uri(db, found.account_id, uri)
    return {"account_id": found.account_id, "redirect_uri": uri}
