"""What may an autocall cost, where its client has not said?"""

from datetime import datetime

import msgspec

from zvonar.store import campaign_facts, campaigns
from zvonar.store.db import Database
from zvonar.store.preflight import preflight


async def fix_cost(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> None:
    """Where the client has given no max_cost it is the worst case of what is to be called, from now on.

    Raises NoMoney where a campaign that runs cannot hold it.
    """
    campaign = await campaigns.get(db, account_id, campaign_id)
    if campaign.settings.max_cost is not None and not campaign.settings.grows:
        return
    free = msgspec.structs.replace(campaign.settings, max_cost=None, grows=True)
    await campaigns.change(db, msgspec.structs.replace(campaign, settings=free), now=now)
    worst = (await preflight(db, account_id, campaign_id, now=now)).worst_case
    worst += await campaign_facts.committed(db, account_id, campaign_id)
    fixed = msgspec.structs.replace(free, max_cost=worst)
    await campaigns.change(db, msgspec.structs.replace(campaign, settings=fixed), now=now)
