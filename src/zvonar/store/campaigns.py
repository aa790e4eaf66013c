"""Which campaigns are there, what are their settings, and where do they stand?"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.core.errors import CampaignNotFound, NoMoney, Refused
from zvonar.store.db import Connection, Database, row


class NotAllowedNow(Refused):
    """The campaign's status does not allow this."""


class Campaign(Struct, frozen=True, kw_only=True):
    """A campaign as it stands."""

    account_id: int
    campaign_id: int
    name: str
    type: CampaignType
    status: CampaignStatus
    settings: CampaignSettings
    calls: int  # how many it was ever given
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class _Row(Struct, frozen=True, kw_only=True):
    account_id: int
    campaign_id: int
    name: str
    type: str
    status: str
    settings: dict[str, Any]
    calls: int
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    def campaign(self) -> Campaign:
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return Campaign(
            **{
                **fields,
                "type": CampaignType(self.type),
                "status": CampaignStatus(self.status),
                "settings": msgspec.convert(self.settings, CampaignSettings, strict=False),
            }
        )


_CAMPAIGN = """account_id, campaign_id, name, type, status, settings, next_ordinal AS calls, created_at, updated_at,
    started_at, finished_at"""

# A campaign and its guard row; the guard exists from the start, so that limits may be set later.
ADD = f"""
WITH added AS (
    INSERT INTO campaigns (account_id, name, type, status, settings, created_at, updated_at, started_at)
    VALUES (%(account_id)s, %(name)s, %(type)s, %(status)s, %(settings)s, %(now)s, %(now)s, %(started_at)s)
    RETURNING *
), guard AS (
    INSERT INTO campaign_guards (account_id, campaign_id) SELECT account_id, campaign_id FROM added
)
SELECT {_CAMPAIGN} FROM added
"""

GET = f"SELECT {_CAMPAIGN} FROM campaigns WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s"

# Those of the account that are asked for, or all of them, newest first.
OF_ACCOUNT = f"""
SELECT {_CAMPAIGN} FROM campaigns
WHERE account_id = %(account_id)s AND (%(campaign_ids)s::bigint[] IS NULL OR campaign_id = ANY(%(campaign_ids)s))
ORDER BY campaign_id DESC
"""

# The command line may name a campaign by its id alone: ids are unique across accounts.
GET_ANY = f"SELECT {_CAMPAIGN} FROM campaigns WHERE campaign_id = %(campaign_id)s"

# What the dialer looks at each second: every campaign that wants to dial.
RUNNING = f"SELECT {_CAMPAIGN} FROM campaigns WHERE status = 'running' ORDER BY account_id, campaign_id"

CHANGE = f"""
UPDATE campaigns SET name = %(name)s, settings = %(settings)s, updated_at = %(now)s
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s RETURNING {_CAMPAIGN}
"""

# A status changes only from where it may; the trigger puts the change into the outbox.
SET_STATUS = f"""
UPDATE campaigns SET status = %(status)s, updated_at = %(now)s,
    started_at = CASE WHEN %(status)s = 'running' THEN coalesce(started_at, %(now)s) ELSE started_at END,
    finished_at = CASE WHEN %(status)s IN ('completed', 'cancelled') THEN %(now)s END
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND status = ANY(%(allowed)s)
RETURNING {_CAMPAIGN}
"""

# What a campaign holds, locked until it is changed.
GUARD = """
SELECT hold, spent, leg_held FROM campaign_guards
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s FOR UPDATE
"""

# A campaign holds its max_cost from the balance, less what it has spent; `more` is what that takes from the balance.
HOLD = """
WITH held AS (
    UPDATE accounts SET held = held + %(more)s
    WHERE account_id = %(account_id)s AND (%(more)s <= 0 OR balance - held >= %(more)s)
    RETURNING account_id
)
UPDATE campaign_guards g SET hold = %(hold)s FROM held
WHERE g.account_id = held.account_id AND g.campaign_id = %(campaign_id)s
"""

# What a campaign held and did not spend returns to the balance when it has ended.
RELEASE_HOLD = """
WITH guard AS (
    SELECT account_id, campaign_id, hold - spent AS rest FROM campaign_guards
    WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND hold IS NOT NULL
    FOR UPDATE
), freed AS (
    UPDATE campaign_guards g SET hold = NULL FROM guard
    WHERE g.account_id = guard.account_id AND g.campaign_id = guard.campaign_id
)
UPDATE accounts a SET held = a.held - guard.rest FROM guard WHERE a.account_id = guard.account_id
"""

LOCK = """
SELECT 1 FROM campaigns WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND status = 'running'
FOR UPDATE
"""

# With the campaign's row locked no call can be added, and a final state is never left, so "nothing is open" stays
# true until the commit. The counters know it without a look at a million calls.
COMPLETE = """
UPDATE campaigns SET status = 'completed', finished_at = %(now)s, updated_at = %(now)s
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND next_ordinal > 0
  AND 0 = (SELECT coalesce(sum(t.n), 0) FROM campaign_tallies t
           WHERE t.account_id = %(account_id)s AND t.campaign_id = %(campaign_id)s
             AND t.key IN ('state/queued', 'state/dialing', 'state/talking', 'state/waiting'))
  AND NOT EXISTS (SELECT FROM campaign_guards g WHERE g.account_id = %(account_id)s
                  AND g.campaign_id = %(campaign_id)s AND g.leg_held > 0)
"""

TALLIES = """
SELECT key, sum(n)::bigint AS n FROM campaign_tallies
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s GROUP BY key ORDER BY key
"""

# What attempts that ended since a moment have cost. Attempts are found by their sessions, which reports keep by time,
# none longer than two hours; and the last moment's are not there yet.
SPENT_SINCE = """
SELECT coalesce(sum(t.cost), 0)::numeric(16,4) FROM (
    SELECT call_id, attempt FROM report_filters
    WHERE account_id = %(account_id)s AND start_time >= %(since)s::timestamptz - interval '2 hours'
      AND dial_campaign_id = %(campaign_id)s
    UNION ALL
    SELECT call_id, attempt FROM ended_sessions WHERE account_id = %(account_id)s
) s JOIN attempts t ON t.account_id = %(account_id)s AND t.call_id = s.call_id AND t.attempt = s.attempt
WHERE t.campaign_id = %(campaign_id)s AND t.ended_at >= %(since)s
"""

# The whole installation's counters, for /metrics.
ALL_TALLIES = "SELECT key, sum(n)::bigint AS n FROM campaign_tallies GROUP BY key ORDER BY key"

# When no more calls may ever be dialled, what waits has expired.
EXPIRE_QUEUE = """
UPDATE calls SET state = 'expired', call_end = 'expired', completed_at = %(now)s, updated_at = %(now)s,
    lease_epoch = NULL
WHERE (account_id, call_id) IN (
    SELECT account_id, call_id FROM calls WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
      AND state IN ('queued', 'waiting') LIMIT 1000 FOR UPDATE SKIP LOCKED)
"""


class _Guard(Struct, frozen=True, kw_only=True):
    hold: Decimal | None
    spent: Decimal
    leg_held: Decimal


class _Tally(Struct, frozen=True, kw_only=True):
    key: str
    n: int


async def add(
    db: Database,
    account_id: int,
    *,
    name: str,
    type: CampaignType,
    settings: CampaignSettings,
    status: CampaignStatus,
    now: datetime,
) -> Campaign:
    """A new campaign, paused or running: its first status is the first that is told.

    Raises SettingsInvalid; NoMoney where max_cost of a running one cannot be held, and then there is no campaign.
    """
    begins = status is CampaignStatus.running
    params = {
        "account_id": account_id,
        "name": name,
        "type": str(type),
        "status": str(status),
        "settings": Jsonb(msgspec.to_builtins(settings.checked())),
        "started_at": now if begins else None,
        "now": now,
    }
    async with db.transaction() as connection:
        added = await row(connection, _Row, ADD, params)
        assert added is not None
        if begins:
            await hold_max_cost(connection, account_id, added.campaign_id, settings.max_cost)
    return added.campaign()


async def hold_max_cost(
    connection: Connection, account_id: int, campaign_id: int, max_cost: Decimal | None, *, begin: bool = True
) -> None:
    """Hold what this campaign may still cost, or NoMoney. A lower max_cost never takes back what legs may be using.

    `begin`: whether to hold where nothing is held so far.
    """
    ids = {"account_id": account_id, "campaign_id": campaign_id}
    guard = await row(connection, _Guard, GUARD, ids)
    if guard is None:
        raise CampaignNotFound(str(campaign_id))
    if guard.hold is None and (max_cost is None or not begin):
        return
    hold = max(max_cost or Decimal(0), guard.spent + guard.leg_held)
    more = hold - (guard.spent if guard.hold is None else guard.hold)
    if (await connection.execute(HOLD, {**ids, "hold": hold, "more": more})).rowcount == 0:
        raise NoMoney()


async def get(db: Database, account_id: int, campaign_id: int) -> Campaign:
    """The account's campaign, or CampaignNotFound."""
    found = await db.row(_Row, GET, {"account_id": account_id, "campaign_id": campaign_id})
    if found is None:
        raise CampaignNotFound(str(campaign_id))
    return found.campaign()


async def some(db: Database, account_id: int, campaign_ids: Sequence[int]) -> dict[int, Campaign]:
    """The account's campaigns of these ids, by id; unknown ids are left out."""
    params = {"account_id": account_id, "campaign_ids": list(campaign_ids)}
    return {found.campaign_id: found.campaign() for found in await db.rows(_Row, OF_ACCOUNT, params)}


async def of_account(db: Database, account_id: int) -> list[Campaign]:
    """Every campaign of an account, newest first."""
    found = await db.rows(_Row, OF_ACCOUNT, {"account_id": account_id, "campaign_ids": None})
    return [campaign.campaign() for campaign in found]


async def get_any(db: Database, campaign_id: int) -> Campaign:
    """A campaign of any account, for the operator; or CampaignNotFound."""
    found = await db.row(_Row, GET_ANY, {"campaign_id": campaign_id})
    if found is None:
        raise CampaignNotFound(str(campaign_id))
    return found.campaign()


async def running(db: Database) -> list[Campaign]:
    """Every campaign that wants to dial."""
    return [found.campaign() for found in await db.rows(_Row, RUNNING)]


async def change(db: Database, campaign: Campaign, *, now: datetime) -> Campaign:
    """Store a campaign's name and settings. Raises SettingsInvalid, CampaignNotFound.

    A new max_cost of a campaign that holds money, or runs, is held from now on; NoMoney where it cannot be.
    """
    params = {
        "account_id": campaign.account_id,
        "campaign_id": campaign.campaign_id,
        "name": campaign.name,
        "settings": Jsonb(msgspec.to_builtins(campaign.settings.checked())),
        "now": now,
    }
    async with db.transaction() as connection:
        changed = await row(connection, _Row, CHANGE, params)
        if changed is None:
            raise CampaignNotFound(str(campaign.campaign_id))
        await hold_max_cost(
            connection,
            campaign.account_id,
            campaign.campaign_id,
            campaign.settings.max_cost,
            begin=changed.status == CampaignStatus.running,
        )
    return changed.campaign()


async def start(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> Campaign:
    """Let a paused campaign dial; holds its max_cost. Raises NoMoney, NotAllowedNow, CampaignNotFound."""
    params: dict[str, Any] = {"account_id": account_id, "campaign_id": campaign_id, "now": now}
    async with db.transaction() as connection:
        started = await row(
            connection, _Row, SET_STATUS, {**params, "status": "running", "allowed": ["paused", "completed"]}
        )
        if started is not None:
            campaign = started.campaign()
            await hold_max_cost(connection, account_id, campaign_id, campaign.settings.max_cost)
            return campaign
    campaign = await get(db, account_id, campaign_id)
    if campaign.status is not CampaignStatus.running:
        raise NotAllowedNow(f"It is {campaign.status}.")
    return campaign


async def pause(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> Campaign:
    """Stop dialling; calls in progress end by themselves. Raises NotAllowedNow, CampaignNotFound."""
    params = {
        "account_id": account_id,
        "campaign_id": campaign_id,
        "status": "paused",
        "allowed": ["running", "paused", "completed"],
        "now": now,
    }
    paused = await db.row(_Row, SET_STATUS, params)
    if paused is None:
        raise NotAllowedNow(f"It is {(await get(db, account_id, campaign_id)).status}.")
    return paused.campaign()


async def complete_if_done(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> bool:
    """End a running campaign whose calls have all ended, and give its unspent hold back."""
    params = {"account_id": account_id, "campaign_id": campaign_id, "now": now}
    async with db.transaction() as connection:
        if (await connection.execute(LOCK, params)).rowcount == 0:
            return False
        if (await connection.execute(COMPLETE, params)).rowcount == 0:
            return False
        await connection.execute(RELEASE_HOLD, params)
    return True


async def expire_queue(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> int:
    """End up to 1,000 waiting calls of a campaign whose dates have passed; how many."""
    return await db.execute(EXPIRE_QUEUE, {"account_id": account_id, "campaign_id": campaign_id, "now": now})


async def tallies(db: Database, account_id: int, campaign_id: int) -> dict[str, int]:
    """A campaign's exact counters: state/…, end/…, result/…, attempts, seconds, cost in 0.0001."""
    found = await db.rows(_Tally, TALLIES, {"account_id": account_id, "campaign_id": campaign_id})
    return {tally.key: tally.n for tally in found}


async def all_tallies(db: Database) -> dict[str, int]:
    """The same counters over every campaign."""
    return {tally.key: tally.n for tally in await db.rows(_Tally, ALL_TALLIES)}


async def spent_since(db: Database, account_id: int, campaign_id: int, *, since: datetime) -> Decimal:
    """What a campaign's attempts that ended since then have cost."""
    params = {"account_id": account_id, "campaign_id": campaign_id, "since": since}
    spent = await db.value(SPENT_SINCE, params)
    assert isinstance(spent, Decimal)
    return spent
