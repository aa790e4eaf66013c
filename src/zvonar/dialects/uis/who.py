"""Who asks, and may they? Keys and sessions, networks, and agents that act for their customers."""

from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from zvonar.dialects.uis.errors import RpcError
from zvonar.dialects.uis.requests import values
from zvonar.store import accounts, keys
from zvonar.store.accounts import Account
from zvonar.store.db import Database
from zvonar.store.keys import Holder

KEY_KIND: Final = "uis_access_token"  # of the keys table: permanent, or with a date
SESSION_KIND: Final = "uis_session"
LOGIN_KIND: Final = "uis"  # of the logins table


class Door(Struct, frozen=True, kw_only=True):
    """Where requests come in."""

    db: Database
    now: datetime
    host: str  # the client's address

    async def holder(self, token: str) -> Holder:
        """Whose key this is. RpcError where it is none, is over or is blocked.

        A session that has ended is as if it had never been; a key with a date says that it has run out.
        """
        found = await keys.find(self.db, token, kinds=(KEY_KIND, SESSION_KIND))
        if found is None:
            raise RpcError("access_token_invalid", field="access_token")
        if found.expires_at is not None and found.expires_at <= self.now:
            mnemonic = "access_token_expired" if found.kind == KEY_KIND else "access_token_invalid"
            raise RpcError(mnemonic, field="access_token")
        if found.blocked:
            raise RpcError("access_token_blocked", field="access_token")
        return found

    def let_in(self, holder: Holder) -> None:
        """RpcError where the account is closed, or the key is not for this address."""
        if not holder.active:
            raise RpcError("account_inactive")
        if not holder.admits(self.host):
            raise RpcError("ip_not_whitelisted", ip=self.host)

    async def acting_for(self, holder: Holder, params: dict[str, Any], *, always: bool) -> Account:
        """Whose data is meant: the key's own account, or for an agent the customer's of `user_id`.

        `always`: the method is an agent's own, so that it needs no customer.
        """
        user_id = params.get("user_id")
        if user_id is not None:
            user_id = values.whole(user_id, "user_id")
        customers = await keys.customers(self.db, holder.account.account_id)
        if user_id is None:
            if customers and not always:
                raise RpcError("required_parameter_missed", field="user_id")
            return holder.account
        for customer in customers:
            if customer.user_id == user_id:
                allowed = await keys.account_networks(self.db, customer.account_id, kind=KEY_KIND)
                if not keys.within(self.host, allowed):
                    raise RpcError("ip_not_whitelisted", ip=self.host)
                return await accounts.get(self.db, customer.account_id)
        raise RpcError("forbidden", field="user_id", value=user_id)
