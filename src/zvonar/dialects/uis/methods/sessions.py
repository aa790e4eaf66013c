"""Who gets a key for an hour? login.user and logout.user."""

from typing import Any, Final

from zvonar.dialects.uis import answers, limits
from zvonar.dialects.uis.errors import RpcError
from zvonar.dialects.uis.requests import values
from zvonar.dialects.uis.requests.rpc import Envelope
from zvonar.dialects.uis.who import LOGIN_KIND, SESSION_KIND, Door
from zvonar.store import keys
from zvonar.store import limits as budgets

_LOGIN: Final = frozenset({"login", "password"})
_LOGOUT: Final = frozenset({"access_token"})
_LONGEST: Final = 200  # characters of a login or a password


async def login(door: Door, envelope: Envelope) -> bytes:
    """login.user"""
    params = envelope.params
    values.known(params, _LOGIN)
    name, password = values.text(params, "login"), values.text(params, "password")
    # Hashing is slow on purpose: how often somebody tries is counted first.
    key = budgets.key_hash("uis.login", name, door.host)
    [spent] = await budgets.spend(door.db, (limits.LOGINS,), key, now=door.now)
    if spent.refused:
        raise RpcError("limit_exceeded", limit_type="minute", limit_max_value=limits.LOGINS.count)
    if len(name) > _LONGEST or len(password) > _LONGEST or "\0" in name:
        raise RpcError("auth_error")
    holder = await keys.login(door.db, name, password, kind=LOGIN_KIND)
    if holder is None:
        raise RpcError("auth_error")
    door.let_in(holder)
    token = await keys.open_session(door.db, holder, kind=SESSION_KIND, lifetime=limits.SESSION, now=door.now)
    expire_at = int((door.now + limits.SESSION).timestamp())
    data: dict[str, Any] = {
        "access_token": token,
        "expire_at": expire_at,
        "app_id": holder.account.account_id,
    }
    return answers.done(envelope.id, data)


async def logout(door: Door, envelope: Envelope) -> bytes:
    """logout.user. A key that is no session cannot be ended by whoever holds it."""
    values.known(envelope.params, _LOGOUT)
    token = values.text(envelope.params, "access_token")
    door.let_in(await door.holder(token))
    if not await keys.close_session(door.db, token, kind=SESSION_KIND, now=door.now):
        raise RpcError("access_token_invalid", field="access_token")
    return answers.done(envelope.id, {})
