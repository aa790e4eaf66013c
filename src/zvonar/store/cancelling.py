"""How does a campaign end before its calls have? Nothing is dialled from that moment; its calls and money follow.

What waits is ended a thousand calls at a time, because a campaign may have a million; what is up is flagged, so that no
other try comes after it. What the campaign holds returns as soon as no leg may use it any more.
"""

from datetime import datetime

from msgspec import Struct

from zvonar.store.campaigns import RELEASE_HOLD, NotAllowedNow, get
from zvonar.store.db import Database

# From any status but the one; the trigger puts the change into the outbox.
CANCEL = """
UPDATE campaigns SET status = 'cancelled', updated_at = %(now)s, finished_at = %(now)s
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND status IN ('paused', 'running')
"""

# What waits, found by what the dialer looks for and by what it has in hand.
END_WAITING = """
UPDATE calls SET state = 'finished', call_end = 'stopped', completed_at = %(now)s, updated_at = %(now)s,
    lease_epoch = NULL
WHERE (account_id, call_id) IN (
    SELECT account_id, call_id FROM calls WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
      AND call_end IS NULL AND state IN ('queued', 'waiting') ORDER BY ordinal LIMIT 1000 FOR UPDATE SKIP LOCKED)
"""

# What is up ends by itself and has no other try.
FLAG = """
UPDATE calls SET removing = true
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND call_end IS NULL
  AND state IN ('dialing', 'talking') AND NOT removing
"""

# Cancelled campaigns that still have open calls, or hold money that no leg may use.
UNSETTLED = """
SELECT account_id, campaign_id FROM campaigns c WHERE status = 'cancelled' AND (
    0 < (SELECT coalesce(sum(queued + waiting), 0) FROM campaign_counts n
         WHERE n.account_id = c.account_id AND n.campaign_id = c.campaign_id)
    OR EXISTS (SELECT FROM campaign_guards g WHERE g.account_id = c.account_id AND g.campaign_id = c.campaign_id
               AND g.hold IS NOT NULL AND g.leg_held = 0))
LIMIT 100
"""

FREE = """
SELECT true FROM campaign_guards
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND leg_held = 0 FOR UPDATE
"""

_AT_ONCE = 5  # thousands of calls that are ended while the client waits


class _Unsettled(Struct, frozen=True, kw_only=True):
    account_id: int
    campaign_id: int


async def cancel(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> None:
    """End a campaign for good. Raises NotAllowedNow, CampaignNotFound."""
    params = {"account_id": account_id, "campaign_id": campaign_id, "now": now}
    if await db.execute(CANCEL, params) == 0:
        raise NotAllowedNow(f"It is {(await get(db, account_id, campaign_id)).status}.")
    await _settle(db, account_id, campaign_id, now=now)


async def settle(db: Database, *, now: datetime) -> int:
    """Come on with every campaign that was cancelled; how many there were."""
    found = await db.rows(_Unsettled, UNSETTLED)
    for one in found:
        await _settle(db, one.account_id, one.campaign_id, now=now)
    return len(found)


async def _settle(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> None:
    params = {"account_id": account_id, "campaign_id": campaign_id, "now": now}
    await db.execute(FLAG, params)
    for _ in range(_AT_ONCE):
        if await db.execute(END_WAITING, params) == 0:
            break
    async with db.transaction() as connection:
        if (await connection.execute(FREE, params)).rowcount:
            await connection.execute(RELEASE_HOLD, params)
