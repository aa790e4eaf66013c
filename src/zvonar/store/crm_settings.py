"""What is known of an account's CRM itself?"""

from datetime import datetime

from msgspec import Struct

from zvonar.store.db import Database


class Settings(Struct, frozen=True, kw_only=True):
    """An account's CRM."""

    uuid: str
    created_at: datetime  # of the account


GET = """
SELECT s.uuid::text AS uuid, a.created_at FROM crm_settings s JOIN accounts a USING (account_id)
WHERE s.account_id = %(account_id)s
"""


async def get(db: Database, account_id: int) -> Settings:
    """That of an account; every account has one."""
    found = await db.row(Settings, GET, {"account_id": account_id})
    assert found is not None
    return found
