"""How does a campaign come from one status to the next, and why? Started, paused, waiting for its window, over.

The triggers put each change into the outbox, and know what nobody may forget: see 0010_control.sql.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from zvonar.core.campaign import CampaignStatus, Reason, Waits, schedule_of
from zvonar.core.errors import CampaignNotFound, NoMoney
from zvonar.store.campaigns import CAMPAIGN, Campaign, CampaignRow, NotAllowedNow, get, hold_max_cost
from zvonar.store.db import Database, row

# A campaign that somebody wants to start, and its account's zone.
LOCK_TO_START = f"""
SELECT {CAMPAIGN}, (SELECT a.timezone FROM accounts a WHERE a.account_id = %(account_id)s) AS timezone
FROM campaigns WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s FOR UPDATE
"""

# It runs from now on, at most waiting for its window. Where its account is moderated, a trigger says otherwise.
START = f"""
UPDATE campaigns SET status = 'running', waits = %(waits)s, reason = %(reason)s, reason_details = NULL,
    settings = %(settings)s, started_at = coalesce(started_at, %(now)s), finished_at = NULL, updated_at = %(now)s
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s RETURNING {CAMPAIGN}
"""

# It starts by itself, once its calls are there.
START_LATER = f"""
UPDATE campaigns SET autostart = true WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
RETURNING {CAMPAIGN}
"""

# Nothing is dialled any more; what it was still waiting for it needs all the same.
PAUSE = f"""
UPDATE campaigns SET status = 'paused', waits = CASE WHEN status = 'paused' THEN waits END, reason = %(reason)s,
    reason_details = %(details)s, autostart = false, finished_at = NULL, updated_at = %(now)s
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND status = ANY(%(allowed)s)
RETURNING {CAMPAIGN}
"""

LOCK = """
SELECT 1 FROM campaigns WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND status = 'running'
FOR UPDATE
"""

# With the campaign's row locked no call can be added, and a final state is never left, so "nothing is open" stays
# true until the commit. The counters know it without a look at a million calls.
COMPLETE = """
UPDATE campaigns SET status = 'completed', finished_at = %(now)s, updated_at = %(now)s, reason = (
    -- Calls that wanted money or time say why it is over before they were.
    SELECT CASE WHEN %(over)s AND bool_or(e.call_end = 'expired') THEN 'window_closed'
        WHEN bool_or(e.call_end = 'no_money') AND settings ->> 'max_cost' IS NOT NULL THEN 'max_cost'
        WHEN bool_or(e.call_end = 'no_money') THEN 'no_money' ELSE 'finished' END
    FROM campaign_ends e WHERE e.account_id = %(account_id)s AND e.campaign_id = %(campaign_id)s AND e.n > 0)
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND next_ordinal > 0
  AND 0 = (SELECT coalesce(sum(t.n), 0) FROM campaign_tallies t
           WHERE t.account_id = %(account_id)s AND t.campaign_id = %(campaign_id)s
             AND t.key IN ('state/queued', 'state/dialing', 'state/talking', 'state/waiting'))
  AND NOT EXISTS (SELECT FROM campaign_guards g WHERE g.account_id = %(account_id)s
                  AND g.campaign_id = %(campaign_id)s AND g.leg_held > 0)
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

# When no more calls may ever be dialled, what waits has expired.
EXPIRE_QUEUE = """
UPDATE calls SET state = 'expired', call_end = 'expired', completed_at = %(now)s, updated_at = %(now)s,
    lease_epoch = NULL
WHERE (account_id, call_id) IN (
    SELECT account_id, call_id FROM calls WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
      AND state IN ('queued', 'waiting') LIMIT 1000 FOR UPDATE SKIP LOCKED)
"""

# What a campaign waited for has come, and nobody wants it to start, or it cannot.
WAITS_NO_MORE = f"""
UPDATE campaigns SET waits = NULL, reason = %(reason)s, autostart = false, updated_at = %(now)s
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND waits = %(waits)s RETURNING {CAMPAIGN}
"""

WANTED = """
SELECT autostart FROM campaigns WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
"""

# The operator has looked at it.
APPROVE = f"""
UPDATE campaigns SET approved_at = %(now)s
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND status <> 'cancelled' RETURNING {CAMPAIGN}
"""

# Nothing of it is dialled any more, for good; its waiting calls are ended in the background.
CANCEL = f"""
UPDATE campaigns SET status = 'cancelled', waits = NULL, reason = %(reason)s, reason_details = NULL,
    autostart = false, emptying = true, finished_at = %(now)s, updated_at = %(now)s
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND status <> 'cancelled' RETURNING {CAMPAIGN}
"""

EMPTYING = f"SELECT {CAMPAIGN} FROM campaigns WHERE emptying ORDER BY account_id, campaign_id"

# What waits in a cancelled campaign is stopped; what is up is not tried again.
STOP_QUEUE = """
UPDATE calls SET
    removing = state IN ('dialing', 'talking'),
    state = CASE WHEN state IN ('queued', 'waiting') THEN 'finished' ELSE state END,
    call_end = CASE WHEN state IN ('queued', 'waiting') THEN 'stopped' END,
    lease_epoch = CASE WHEN state IN ('queued', 'waiting') THEN NULL ELSE lease_epoch END,
    completed_at = CASE WHEN state IN ('queued', 'waiting') THEN %(now)s::timestamptz END,
    updated_at = %(now)s
WHERE (account_id, call_id) IN (
    SELECT account_id, call_id FROM calls WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
      AND call_end IS NULL AND NOT removing LIMIT 1000 FOR UPDATE SKIP LOCKED)
"""

# A cancelled campaign is empty once no call of it is open and nothing is held for a leg; its row is locked, so no call
# comes in meanwhile.
EMPTIED = """
UPDATE campaigns SET emptying = false
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND emptying
  AND 0 = (SELECT coalesce(sum(t.n), 0) FROM campaign_tallies t
           WHERE t.account_id = %(account_id)s AND t.campaign_id = %(campaign_id)s
             AND t.key IN ('state/queued', 'state/dialing', 'state/talking', 'state/waiting'))
  AND NOT EXISTS (SELECT FROM campaign_guards g WHERE g.account_id = %(account_id)s
                  AND g.campaign_id = %(campaign_id)s AND g.leg_held > 0)
"""

# Its window has closed, or opened again: said by whichever dialer sees it first.
AWAIT = """
UPDATE campaigns SET waits = 'awaiting', reason = 'window_closed', updated_at = %(now)s
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND status = 'running' AND waits IS NULL
"""
GO_ON = """
UPDATE campaigns SET waits = NULL, reason = NULL, updated_at = %(now)s
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND status = 'running' AND waits = 'awaiting'
"""


class _Startable(CampaignRow, frozen=True, kw_only=True):
    timezone: str


async def start(
    db: Database,
    account_id: int,
    campaign_id: int,
    *,
    now: datetime,
    max_cost: Decimal | None = None,
    waited_for: Waits | None = None,
) -> Campaign:
    """Let a campaign dial, now or once its window opens, it is prepared, or approved: what it waits for it says.

    Holds its max_cost; where it has none, `max_cost` becomes it for good. `waited_for`: what has just come.
    Raises NoMoney, NotAllowedNow, CampaignNotFound.
    """
    ids = {"account_id": account_id, "campaign_id": campaign_id}
    async with db.transaction() as connection:
        found = await row(connection, _Startable, LOCK_TO_START, ids)
        if found is None:
            raise CampaignNotFound(str(campaign_id))
        campaign = found.campaign()
        if campaign.status is CampaignStatus.running:
            return campaign
        if campaign.status is CampaignStatus.cancelled:
            raise NotAllowedNow(f"It is {campaign.status}.")
        if campaign.waits is Waits.generating and waited_for is not Waits.generating:
            later = await row(connection, CampaignRow, START_LATER, ids)
            assert later is not None
            return later.campaign()
        settings = campaign.settings
        if settings.max_cost is None and max_cost is not None:
            settings = msgspec.structs.replace(settings, max_cost=max_cost).checked()
        open_now = schedule_of(settings, found.timezone).is_open(now)
        params = {
            **ids,
            "waits": None if open_now else Waits.awaiting,
            "reason": None if open_now else Reason.window_closed,
            "settings": Jsonb(msgspec.to_builtins(settings)),
            "now": now,
        }
        started = await row(connection, CampaignRow, START, params)
        assert started is not None
        if started.status == CampaignStatus.running:
            await hold_max_cost(connection, account_id, campaign_id, settings.max_cost)
    return started.campaign()


async def pause(
    db: Database,
    account_id: int,
    campaign_id: int,
    *,
    now: datetime,
    reason: Reason = Reason.by_hand,
    details: dict[str, Any] | None = None,
) -> Campaign:
    """Stop dialling; calls in progress end by themselves. Raises NotAllowedNow, CampaignNotFound.

    By hand also what has not begun or has ended is paused; by another reason only what runs.
    """
    params = {
        "account_id": account_id,
        "campaign_id": campaign_id,
        "reason": reason,
        "details": None if details is None else Jsonb(details),
        "allowed": ["running", "paused", "completed"] if reason is Reason.by_hand else ["running"],
        "now": now,
    }
    paused = await db.row(CampaignRow, PAUSE, params)
    if paused is None:
        raise NotAllowedNow(f"It is {(await get(db, account_id, campaign_id)).status}.")
    return paused.campaign()


async def complete_if_done(
    db: Database, account_id: int, campaign_id: int, *, over: bool = False, now: datetime
) -> bool:
    """End a running campaign whose calls have all ended, and give its unspent hold back.

    `over`: its dates have passed, so that expired calls are the reason.
    """
    params = {"account_id": account_id, "campaign_id": campaign_id, "over": over, "now": now}
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


async def prepared(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> Campaign:
    """The calls of a generating campaign are there and its texts spoken: it starts, if that was wanted.

    Where the money for its max_cost is not there, it is paused for that reason. Raises CampaignNotFound; does nothing
    to a campaign that generates no longer.
    """
    campaign = await get(db, account_id, campaign_id)
    return await _come(db, campaign, now=now) if campaign.waits is Waits.generating else campaign


async def approve(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> Campaign:
    """The operator allows a moderated account's campaign; it starts, if that was wanted. Raises as `prepared` does."""
    ids = {"account_id": account_id, "campaign_id": campaign_id}
    approved = await db.row(CampaignRow, APPROVE, {**ids, "now": now})
    if approved is None:
        raise NotAllowedNow(f"It is {(await get(db, account_id, campaign_id)).status}.")
    campaign = approved.campaign()
    return await _come(db, campaign, now=now) if campaign.waits is Waits.moderation else campaign


async def reject(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> Campaign:
    """The operator does not allow a campaign that waits for approval: it is cancelled. Raises as `approve` does."""
    campaign = await get(db, account_id, campaign_id)
    if campaign.waits is not Waits.moderation:
        raise NotAllowedNow("It does not wait for approval.")
    return await cancel(db, account_id, campaign_id, reason=Reason.rejected, now=now)


async def _come(db: Database, campaign: Campaign, *, now: datetime) -> Campaign:
    """What a campaign waited for has come."""
    ids = {"account_id": campaign.account_id, "campaign_id": campaign.campaign_id}
    reason = None
    if await db.value(WANTED, ids):
        try:
            return await start(
                db, campaign.account_id, campaign.campaign_id, now=now, waited_for=campaign.waits
            )
        except NoMoney:
            reason = Reason.no_money
    params = {**ids, "waits": campaign.waits, "reason": reason, "now": now}
    ready = await db.row(CampaignRow, WAITS_NO_MORE, params)
    return ready.campaign() if ready else await get(db, **ids)


async def cancel(
    db: Database, account_id: int, campaign_id: int, *, now: datetime, reason: Reason = Reason.by_hand
) -> Campaign:
    """End a campaign for good: what waits is stopped, what is up ends by itself and is not tried again.

    Cancelling twice changes nothing. Raises CampaignNotFound.
    """
    params = {"account_id": account_id, "campaign_id": campaign_id, "reason": reason, "now": now}
    cancelled = await db.row(CampaignRow, CANCEL, params)
    if cancelled is None:
        return await get(db, account_id, campaign_id)
    return cancelled.campaign()


async def emptying(db: Database) -> list[Campaign]:
    """Cancelled campaigns of which calls may still wait."""
    return [found.campaign() for found in await db.rows(CampaignRow, EMPTYING)]


async def empty(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> bool:
    """End up to 1,000 calls of a cancelled campaign; whether none was left to be ended.

    Its hold is given back once the last one that was up has ended too.
    """
    params = {"account_id": account_id, "campaign_id": campaign_id, "now": now}
    if await db.execute(STOP_QUEUE, params):
        return False
    async with db.transaction() as connection:
        if (await connection.execute(EMPTIED, params)).rowcount:
            await connection.execute(RELEASE_HOLD, params)
    return True


async def await_window(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> bool:
    """A running campaign's window is closed; False where that is known."""
    params = {"account_id": account_id, "campaign_id": campaign_id, "now": now}
    return await db.execute(AWAIT, params) == 1


async def go_on(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> bool:
    """An awaiting campaign's window is open; False where that is known."""
    params = {"account_id": account_id, "campaign_id": campaign_id, "now": now}
    return await db.execute(GO_ON, params) == 1
