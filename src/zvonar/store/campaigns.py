"""Which campaigns are there, what are their settings, and where do they stand?"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.campaign import (
    CampaignSettings,
    CampaignStatus,
    CampaignType,
    Reason,
    Waits,
    schedule_of,
)
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
    waits: Waits | None  # what it still waits for: a part of its status
    reason: Reason | None  # why it has that status
    reason_details: dict[str, Any] | None  # of a breaker: failed, of, calls (ids), outcomes
    settings: CampaignSettings
    calls: int  # how many it was ever given
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class CampaignRow(Struct, frozen=True, kw_only=True):
    """A campaign as its table has it."""

    account_id: int
    campaign_id: int
    name: str
    type: str
    status: str
    waits: str | None
    reason: str | None
    reason_details: dict[str, Any] | None
    settings: dict[str, Any]
    calls: int
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    def campaign(self) -> Campaign:
        """The campaign itself."""
        fields = {name: getattr(self, name) for name in CampaignRow.__struct_fields__}
        return Campaign(
            **{
                **fields,
                "type": CampaignType(self.type),
                "status": CampaignStatus(self.status),
                "waits": Waits(self.waits) if self.waits else None,
                "reason": Reason(self.reason) if self.reason else None,
                "settings": msgspec.convert(self.settings, CampaignSettings, strict=False),
            }
        )


# Of a CampaignRow.
CAMPAIGN = """account_id, campaign_id, name, type, status, waits, reason, reason_details, settings,
    next_ordinal AS calls, created_at, updated_at, started_at, finished_at"""

# A campaign and its guard row; the guard exists from the start, so that limits may be set later.
ADD = f"""
WITH added AS (
    INSERT INTO campaigns (account_id, name, type, status, waits, reason, autostart, settings, created_at, updated_at,
                           started_at)
    VALUES (%(account_id)s, %(name)s, %(type)s, %(status)s, %(waits)s, %(reason)s, %(autostart)s, %(settings)s,
        %(now)s, %(now)s, %(started_at)s)
    RETURNING *
), guard AS (
    INSERT INTO campaign_guards (account_id, campaign_id) SELECT account_id, campaign_id FROM added
)
SELECT {CAMPAIGN} FROM added
"""

TIMEZONE = "SELECT timezone FROM accounts WHERE account_id = %(account_id)s"

GET = f"SELECT {CAMPAIGN} FROM campaigns WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s"

# Those of the account that are asked for, or all of them, newest first.
OF_ACCOUNT = f"""
SELECT {CAMPAIGN} FROM campaigns
WHERE account_id = %(account_id)s AND (%(campaign_ids)s::bigint[] IS NULL OR campaign_id = ANY(%(campaign_ids)s))
ORDER BY campaign_id DESC
"""

# The command line may name a campaign by its id alone: ids are unique across accounts.
GET_ANY = f"SELECT {CAMPAIGN} FROM campaigns WHERE campaign_id = %(campaign_id)s"

# What the dialer looks at now and then: every campaign that wants to dial.
RUNNING = f"SELECT {CAMPAIGN} FROM campaigns WHERE status = 'running' ORDER BY account_id, campaign_id"

CHANGE = f"""
UPDATE campaigns SET name = %(name)s, settings = %(settings)s, updated_at = %(now)s
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s RETURNING {CAMPAIGN}
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
    waits: Waits | None = None,
    autostart: bool = False,
    now: datetime,
) -> Campaign:
    """A new campaign, paused or running: its first status is the first that is told.

    `waits`: generating, for a paused one whose calls or texts are still to come; with `autostart` it runs once
    `steering.prepared` says so. Raises SettingsInvalid; NoMoney where max_cost of a running one cannot be held, and
    then there is no campaign.
    """
    begins = status is CampaignStatus.running
    reason = None
    if begins:
        timezone = await db.value(TIMEZONE, {"account_id": account_id})
        if not schedule_of(settings.checked(), str(timezone)).is_open(now):
            waits, reason = Waits.awaiting, Reason.window_closed
    params = {
        "account_id": account_id,
        "name": name,
        "type": str(type),
        "status": str(status),
        "waits": waits,
        "reason": reason,
        "autostart": autostart,
        "settings": Jsonb(msgspec.to_builtins(settings.checked())),
        "started_at": now if begins else None,
        "now": now,
    }
    async with db.transaction() as connection:
        added = await row(connection, CampaignRow, ADD, params)
        assert added is not None
        if added.status == CampaignStatus.running:
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
    found = await db.row(CampaignRow, GET, {"account_id": account_id, "campaign_id": campaign_id})
    if found is None:
        raise CampaignNotFound(str(campaign_id))
    return found.campaign()


async def some(db: Database, account_id: int, campaign_ids: Sequence[int]) -> dict[int, Campaign]:
    """The account's campaigns of these ids, by id; unknown ids are left out."""
    params = {"account_id": account_id, "campaign_ids": list(campaign_ids)}
    return {found.campaign_id: found.campaign() for found in await db.rows(CampaignRow, OF_ACCOUNT, params)}


async def of_account(db: Database, account_id: int) -> list[Campaign]:
    """Every campaign of an account, newest first."""
    found = await db.rows(CampaignRow, OF_ACCOUNT, {"account_id": account_id, "campaign_ids": None})
    return [campaign.campaign() for campaign in found]


async def get_any(db: Database, campaign_id: int) -> Campaign:
    """A campaign of any account, for the operator; or CampaignNotFound."""
    found = await db.row(CampaignRow, GET_ANY, {"campaign_id": campaign_id})
    if found is None:
        raise CampaignNotFound(str(campaign_id))
    return found.campaign()


async def running(db: Database) -> list[Campaign]:
    """Every campaign that wants to dial."""
    return [found.campaign() for found in await db.rows(CampaignRow, RUNNING)]


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
        changed = await row(connection, CampaignRow, CHANGE, params)
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
