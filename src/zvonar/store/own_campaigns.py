"""Which campaigns does the service make for itself? One for all flash calls of an account; one for each test call."""

from datetime import datetime

from psycopg.errors import UniqueViolation

from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.store import campaigns
from zvonar.store.db import Database

FLASH_CALLS = "flash_calls"  # one of an account
TEST_CALL = "test_call"

OF_PURPOSE = """
SELECT campaign_id FROM campaigns WHERE account_id = %(account_id)s AND purpose = %(purpose)s
ORDER BY campaign_id LIMIT 1
"""

SET_PURPOSE = """
UPDATE campaigns SET purpose = %(purpose)s WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
"""

# Of whichever campaign of a purpose a call is.
CAMPAIGN_OF_CALL = """
SELECT g.campaign_id FROM calls c JOIN campaigns g USING (account_id, campaign_id)
WHERE c.account_id = %(account_id)s AND c.call_id = %(call_id)s AND g.purpose = %(purpose)s
"""


async def the_one(
    db: Database,
    account_id: int,
    purpose: str,
    *,
    type: CampaignType,
    settings: CampaignSettings,
    now: datetime,
) -> int:
    """The account's campaign of this purpose, running; made by whoever asks first."""
    params = {"account_id": account_id, "purpose": purpose}
    known = await db.value(OF_PURPOSE, params)
    if known is None:
        try:
            async with db.transaction():
                return await add(db, account_id, purpose, type=type, settings=settings, now=now)
        except UniqueViolation:  # another request was quicker, and has committed
            known = await db.value(OF_PURPOSE, params)
    assert isinstance(known, int)
    return known


async def add(
    db: Database,
    account_id: int,
    purpose: str,
    *,
    type: CampaignType,
    settings: CampaignSettings,
    now: datetime,
) -> int:
    """A new running campaign of this purpose. Raises NoMoney, SettingsInvalid."""
    made = await campaigns.add(
        db,
        account_id,
        name=purpose,
        type=type,
        settings=settings,
        status=CampaignStatus.running,
        now=now,
    )
    params = {"account_id": account_id, "campaign_id": made.campaign_id, "purpose": purpose}
    await db.execute(SET_PURPOSE, params)
    return made.campaign_id


async def campaign_of(db: Database, account_id: int, call_id: int, purpose: str) -> int | None:
    """The campaign of a call, if it has this purpose."""
    params = {"account_id": account_id, "call_id": call_id, "purpose": purpose}
    found = await db.value(CAMPAIGN_OF_CALL, params)
    return None if found is None else int(found)
