"""How does a campaign begin as another one was? With its lists and its numbers, none of them called yet."""

from collections.abc import Sequence
from datetime import datetime

from zvonar.store import loading
from zvonar.store.call_facts import OUTCOME
from zvonar.store.calls import take_ordinals
from zvonar.store.db import Database

_FROM = f"""FROM calls c WHERE c.account_id = %(account_id)s AND c.campaign_id = %(source)s
  AND (%(outcomes)s::text[] IS NULL OR {OUTCOME} = ANY(%(outcomes)s))"""

COUNT = f"SELECT count(*) {_FROM}"

# The numbers of another campaign, in its order. Labels are names that its client gave to the calls of then.
CALLS = f"""
INSERT INTO calls (account_id, call_id, campaign_id, ordinal, phone, country, trial, due_at, expires_at, extra,
                   overrides, clip_id, phone_list_id, created_at, updated_at)
SELECT %(account_id)s, new_call_id(%(now)s), %(campaign_id)s, %(first_ordinal)s::bigint + row_number() OVER (ORDER BY
    c.ordinal), c.phone, c.country, c.trial, %(now)s, %(now)s + make_interval(secs => %(lifetime)s::integer), c.extra,
    c.overrides, c.clip_id, c.phone_list_id, %(now)s, %(now)s
{_FROM} ORDER BY c.ordinal
"""

LISTS = """
INSERT INTO campaign_lists (account_id, campaign_id, place, phone_list_id)
SELECT account_id, %(campaign_id)s, place, phone_list_id FROM campaign_lists
WHERE account_id = %(account_id)s AND campaign_id = %(source)s
"""

# Nobody adds to it meanwhile.
LOCK = """
SELECT true FROM campaigns WHERE account_id = %(account_id)s AND campaign_id = %(source)s FOR NO KEY UPDATE
"""


async def calls(
    db: Database,
    account_id: int,
    campaign_id: int,
    *,
    source: int,
    outcomes: Sequence[str] | None,
    now: datetime,
) -> int:
    """Give a campaign the numbers of another; how many. `outcomes`: only calls that came to these (`outcome_key`).

    Raises CampaignNotFound, CampaignClosed, NoMoney.
    """
    params = {
        "account_id": account_id,
        "campaign_id": campaign_id,
        "source": source,
        "outcomes": None if outcomes is None else list(outcomes),
        "now": now,
    }
    async with db.transaction() as connection:
        await connection.execute(loading.PATIENCE)
        await connection.execute(LOCK, params)
        counted = await (await connection.execute(COUNT, params)).fetchone()
        assert counted is not None
        await connection.execute(LISTS, params)
        if counted[0]:
            taken = await take_ordinals(connection, account_id, campaign_id, counted[0], now)
            first = {"first_ordinal": taken.first_ordinal, "lifetime": taken.lifetime}
            await connection.execute(CALLS, {**params, **first})
        return int(counted[0])
