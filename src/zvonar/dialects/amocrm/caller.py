"""Who asks? An account, one of its users, and the integration that acts for them."""

from datetime import datetime

from msgspec import Struct

from zvonar.store.accounts import Account
from zvonar.store.crm_users import User


class Caller(Struct, frozen=True, kw_only=True):
    """Who asks."""

    account: Account
    user: User
    client_id: str  # of the integration
    base: str  # what links begin with
    now: datetime
    heard: bool  # whether the account has webhooks

    @property
    def account_id(self) -> int:
        return self.account.account_id
