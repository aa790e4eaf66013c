"""What has been dialled, and what may be? The memory behind "at most once".

A leg is committed as `placing` with its hold of money before its channel exists, as `dialled` before its
INVITE is sent, and is ended exactly once, with its money, attempt, call, session and event in that one
statement. Asterisk forgets a finished channel and would dial its id again; this table does not.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.call import Next
from zvonar.core.leg import LegId
from zvonar.core.money import Rate
from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.core.script import Step
from zvonar.store.db import Database, row


class Phase(StrEnum):
    """How far a leg has come; `dialled` is committed before the INVITE."""

    placing = "placing"
    dialled = "dialled"
    answered = "answered"
    ended = "ended"


class Placement(Struct, frozen=True, kw_only=True):
    """What the dialer asks for before a leg exists."""

    account_id: int
    call_id: int
    campaign_id: int
    gateway: str
    epoch: int
    trunk_id: int
    caller_id: str | None
    rate: Rate
    hold: Decimal  # worst case of this leg
    held_by_campaign: bool  # the campaign set max_cost, and holds it
    guarded: bool  # the campaign has limits of its own, which its guard row keeps
    max_channels: int  # of the campaign; 0 is no limit
    calls_per_second: Decimal  # of the campaign; 0 is no limit
    next_leg: bool = False  # the attempt goes on to another trunk


class Refusal(StrEnum):
    """Why a leg was not placed; nothing was changed then."""

    fenced = "fenced"  # another dialer has the gateway
    gone = "gone"  # removed, stopped, expired, paused or leased by another meanwhile
    capped = "capped"  # this callee was called often enough today
    campaign_busy = "campaign_busy"  # the campaign's limit, or the account's attempts a minute: soon again
    trunk_busy = "trunk_busy"  # the trunk's limit, or it may not carry this number
    no_money = "no_money"  # the balance, max_cost or the day's cap does not cover the hold
    no_money_yet = "no_money_yet"  # it may, once other legs have ended


# The call leaves the queue, its trunk slot and money are taken and its leg exists, or (rolled back) none of it.
# The order of the parts is the order of their dependence, and the one order in which rows are locked everywhere:
# epoch, callee, call, guard, trunk, account, counters. The last lines tell which part refused.
PLACE = """
WITH fence AS MATERIALIZED (
    -- Locked, so that a new dialer's claim waits for this placement and then sees its leg.
    SELECT 1 FROM dialer_epochs WHERE gateway = %(gateway)s AND epoch = %(epoch)s FOR SHARE
), calm AS MATERIALIZED (
    SELECT 1 FROM accounts a JOIN calls c USING (account_id)
    WHERE c.account_id = %(account_id)s AND c.call_id = %(call_id)s AND EXISTS (SELECT FROM fence)
      AND (%(next_leg)s
           OR callee_attempts(c.account_id, c.phone, %(now)s - interval '1 day') < a.calls_per_callee_day)
), called AS (
    UPDATE calls c SET state = 'dialing', attempts = c.attempts + 1 - %(next_leg)s::int,
        last_attempt_at = %(now)s, updated_at = %(now)s
    FROM campaigns g
    WHERE c.account_id = %(account_id)s AND c.call_id = %(call_id)s
      AND CASE WHEN %(next_leg)s THEN c.state = 'dialing' ELSE c.state IN ('queued', 'waiting') END
      AND c.lease_epoch = %(epoch)s AND NOT c.removing
      AND (c.expires_at IS NULL OR c.expires_at > %(now)s)
      AND g.account_id = c.account_id AND g.campaign_id = c.campaign_id AND g.status = 'running'
      AND EXISTS (SELECT FROM calm)
      AND NOT EXISTS (SELECT FROM legs l WHERE l.account_id = c.account_id AND l.call_id = c.call_id
                      AND l.phase = 'placing')
      AND NOT EXISTS (SELECT FROM stop_list s WHERE s.account_id = c.account_id AND s.phone = c.phone
                      AND (s.until IS NULL OR s.until > %(now)s))
      AND NOT EXISTS (SELECT FROM global_stop_list s WHERE s.phone = c.phone)
    RETURNING c.account_id, c.call_id, c.campaign_id, c.attempts AS attempt, c.phone, c.trial
), guard AS (
    -- A next leg replaces one whose channel is gone but whose end comes after this: both count for a moment.
    UPDATE campaign_guards g SET in_use = g.in_use + 1,
        slot_at = CASE WHEN %(calls_per_second)s > 0
            THEN greatest(g.slot_at, %(now)s) + interval '1 second' / %(calls_per_second)s::float8 ELSE g.slot_at END,
        leg_held = g.leg_held + CASE WHEN %(held_by_campaign)s THEN %(hold)s ELSE 0 END
    FROM called c
    WHERE %(guarded)s AND g.account_id = c.account_id AND g.campaign_id = c.campaign_id
      AND (%(max_channels)s = 0 OR g.in_use < %(max_channels)s::bigint + %(next_leg)s::int)
      AND (%(calls_per_second)s = 0 OR g.slot_at <= %(now)s)
      AND (NOT %(held_by_campaign)s OR g.hold - g.spent - g.leg_held >= %(hold)s)
    RETURNING g.campaign_id
), slot AS (
    UPDATE trunks t SET in_use = t.in_use + 1,
        slot_at = CASE WHEN t.calls_per_second > 0
            THEN greatest(t.slot_at, %(now)s) + interval '1 second' / t.calls_per_second::float8 ELSE t.slot_at END
    FROM called c
    WHERE t.trunk_id = %(trunk_id)s AND t.enabled AND t.gateway = %(gateway)s
      AND (t.account_id IS NULL OR t.account_id = c.account_id)
      AND t.trial = c.trial AND t.in_use < t.max_channels
      AND (t.calls_per_second = 0 OR t.slot_at <= %(now)s)
      AND (NOT %(guarded)s OR EXISTS (SELECT FROM guard))
    RETURNING t.trunk_id
), paid AS (
    UPDATE accounts a SET held = a.held + CASE WHEN %(held_by_campaign)s THEN 0 ELSE %(hold)s END,
        at_risk = a.at_risk + %(hold)s,
        attempt_slot_at = CASE WHEN %(next_leg)s THEN a.attempt_slot_at
            ELSE greatest(a.attempt_slot_at, %(now)s) + interval '1 minute' / a.attempts_per_minute END
    FROM slot
    WHERE a.account_id = %(account_id)s AND (%(held_by_campaign)s OR a.balance - a.held >= %(hold)s)
      AND (%(next_leg)s
           OR a.attempt_slot_at <= %(now)s + interval '1 minute' - interval '1 minute' / a.attempts_per_minute)
      AND (a.spend_per_day IS NULL OR a.spend_per_day >= a.at_risk + %(hold)s
           + CASE WHEN a.spent_on = (%(now)s AT TIME ZONE 'UTC')::date THEN a.spent_today ELSE 0 END)
    RETURNING a.account_id
), tried AS (
    -- The attempt is there already where an earlier leg of it has sent an INVITE.
    INSERT INTO attempts (account_id, call_id, attempt, campaign_id, phone, started_at, caller_id)
    SELECT c.account_id, c.call_id, c.attempt, c.campaign_id, c.phone, %(now)s, %(caller_id)s FROM called c, paid
    ON CONFLICT (account_id, call_id, attempt) DO UPDATE SET caller_id = excluded.caller_id
    RETURNING attempt
), leg AS (
    INSERT INTO legs (account_id, leg_id, call_id, attempt, leg, trunk_id, gateway, epoch, phase, caller_id,
                      hold, held_by, guarded, rate, placed_at)
    SELECT c.account_id, format('%%s.%%s.%%s', c.call_id, c.attempt, n.leg), c.call_id, c.attempt, n.leg,
        %(trunk_id)s, %(gateway)s, %(epoch)s, 'placing', %(caller_id)s, %(hold)s,
        CASE WHEN %(held_by_campaign)s THEN 'campaign' ELSE 'account' END, %(guarded)s, %(rate)s, %(now)s
    FROM called c, tried, LATERAL (SELECT coalesce(max(l.leg), 0) + 1 AS leg FROM legs l
        WHERE l.account_id = c.account_id AND l.call_id = c.call_id AND l.attempt = c.attempt) n
    RETURNING leg_id
)
SELECT (SELECT leg_id FROM leg) AS leg_id, EXISTS (SELECT FROM fence) AS fence, EXISTS (SELECT FROM calm) AS calm,
    EXISTS (SELECT FROM called) AS called, NOT %(guarded)s OR EXISTS (SELECT FROM guard) AS guard,
    EXISTS (SELECT FROM slot) AS slot
"""

# A placement of ours whose commit was not confirmed to us.
PLACED = """
SELECT leg_id FROM legs WHERE account_id = %(account_id)s AND call_id = %(call_id)s AND phase = 'placing'
  AND epoch = %(epoch)s AND trunk_id = %(trunk_id)s
"""

# A refused placement looked at again, with what has been committed meanwhile: is it money that is short, and would
# it suffice if nothing else were held? A wrong "never" ends a call, so it is not told from the placement's snapshot.
WHY_REFUSED = """
SELECT coalesce(CASE WHEN %(held_by_campaign)s THEN g.hold - g.spent - g.leg_held ELSE a.balance - a.held END, 0)
        < %(hold)s OR a.spend_per_day < a.at_risk + %(hold)s + day.spent IS TRUE AS short,
    coalesce(CASE WHEN %(held_by_campaign)s THEN g.hold - g.spent ELSE a.balance END, 0) >= %(hold)s
        AND a.spend_per_day < %(hold)s + day.spent IS NOT TRUE AS later
FROM accounts a
JOIN campaign_guards g USING (account_id),
LATERAL (SELECT CASE WHEN a.spent_on = (%(now)s AT TIME ZONE 'UTC')::date THEN a.spent_today ELSE 0 END AS spent) day
WHERE a.account_id = %(account_id)s AND g.campaign_id = %(campaign_id)s
"""

# The last look before the INVITE: from this commit on the leg counts as dialled, whatever happens to us. The lock
# makes a new dialer's claim wait, so that it finds the leg either dialled or never to be dialled.
DIALLED = """
WITH fence AS MATERIALIZED (
    SELECT gateway FROM dialer_epochs WHERE epoch = %(epoch)s FOR SHARE
)
UPDATE legs l SET phase = 'dialled', dialled_at = coalesce(l.dialled_at, %(now)s) FROM fence
WHERE l.account_id = %(account_id)s AND l.leg_id = %(leg_id)s AND l.phase IN ('placing', 'dialled')
  AND l.epoch = %(epoch)s AND l.gateway = fence.gateway
"""

# The callee answered: the call talks from now on, and its answer time is what it will be billed from.
ANSWERED = """
WITH leg AS (
    UPDATE legs SET phase = 'answered', answered_at = %(at)s
    WHERE account_id = %(account_id)s AND leg_id = %(leg_id)s AND phase = 'dialled'
    RETURNING account_id, call_id, attempt
), tried AS (
    UPDATE attempts t SET answered_at = %(at)s FROM leg
    WHERE t.account_id = leg.account_id AND t.call_id = leg.call_id AND t.attempt = leg.attempt
)
UPDATE calls c SET state = 'talking', updated_at = %(at)s FROM leg
WHERE c.account_id = leg.account_id AND c.call_id = leg.call_id AND c.state = 'dialing'
"""

# One leg ends, once: whoever ends it second changes nothing. With `final` the attempt ends too, and the call
# goes where the decision says, unless it was removed meanwhile. `after` keeps the order of the locks (see PLACE),
# which a statement otherwise leaves open.
END = """
WITH ended AS (
    UPDATE legs SET phase = 'ended', ended_at = %(ended_at)s, answered_at = coalesce(answered_at, %(answered_at)s),
        disposition = %(disposition)s, hangup_cause = %(hangup_cause)s, sip_code = %(sip_code)s, cost = %(cost)s
    WHERE account_id = %(account_id)s AND leg_id = %(leg_id)s AND phase <> 'ended'
    RETURNING account_id, leg_id, call_id, attempt, trunk_id, hold, held_by, guarded,
        CASE WHEN held_by = 'campaign' THEN least(hold, %(cost)s) ELSE 0 END AS from_campaign
), tried AS (
    UPDATE attempts t SET ended_at = %(ended_at)s, answered_at = coalesce(t.answered_at, %(answered_at)s),
        disposition = %(disposition)s, script_result = %(script_result)s, hangup_cause = %(hangup_cause)s,
        sip_code = %(sip_code)s, talk_seconds = %(talk_seconds)s,
        billed_seconds = t.billed_seconds + %(billed_seconds)s, cost = t.cost + %(cost)s, choice = %(choice)s,
        status_name = %(status_name)s, steps = %(steps)s, recording = %(recording)s, session_id = s.session_id
    FROM ended, (SELECT nextval('session_ids') AS session_id WHERE %(final)s) s
    WHERE t.account_id = ended.account_id AND t.call_id = ended.call_id AND t.attempt = ended.attempt
      AND t.ended_at IS NULL
    RETURNING t.account_id, t.call_id, t.attempt, t.campaign_id, t.phone, t.started_at, t.answered_at, t.session_id,
        t.caller_id, t.cost
), tried_on AS (
    UPDATE attempts t SET cost = t.cost + %(cost)s, billed_seconds = t.billed_seconds + %(billed_seconds)s
    FROM ended
    WHERE %(cost)s > 0 AND NOT EXISTS (SELECT FROM tried)
      AND t.account_id = ended.account_id AND t.call_id = ended.call_id AND t.attempt = ended.attempt
), narrow AS (
    INSERT INTO sessions (account_id, session_id, start_time, finish_time, direction, is_lost, disposition,
        script_result, campaign_id, call_id, attempt, contact_phone, own_phone, country, wait_seconds,
        talk_seconds, total_seconds)
    SELECT t.account_id, t.session_id, t.started_at, %(ended_at)s, 'out', %(disposition)s <> 'answered',
        %(disposition)s, %(script_result)s, t.campaign_id, t.call_id, t.attempt, t.phone, t.caller_id, c.country,
        ceil(extract(epoch FROM coalesce(t.answered_at, %(ended_at)s) - t.started_at)),
        %(talk_seconds)s, ceil(extract(epoch FROM %(ended_at)s - t.started_at))
    FROM tried t JOIN calls c USING (account_id, call_id)
), wide AS (
    INSERT INTO session_details (account_id, session_id, start_time, details)
    SELECT t.account_id, t.session_id, t.started_at, jsonb_build_object(
        'campaign_name', g.name, 'answered_at', t.answered_at, 'hangup_cause', %(hangup_cause)s::integer,
        'sip_code', %(sip_code)s::integer, 'choice', %(choice)s::text, 'status_name', %(status_name)s::text,
        'recording', %(recording)s::text, 'cost', t.cost)
    FROM tried t JOIN campaigns g USING (account_id, campaign_id)
), starts AS (
    INSERT INTO session_starts (session_id, account_id, start_time)
    SELECT session_id, account_id, started_at FROM tried
), called AS (
    UPDATE calls c SET
        state = CASE WHEN c.removing AND %(state)s IN ('waiting', 'queued') THEN 'finished' ELSE %(state)s END,
        call_end = CASE WHEN c.removing AND %(state)s IN ('waiting', 'queued') THEN 'removed'
                        ELSE %(call_end)s END,
        completed_at = CASE WHEN %(call_end)s::text IS NOT NULL OR c.removing THEN %(now)s END,
        due_at = coalesce(%(due_at)s, c.due_at), lease_epoch = NULL, updated_at = %(now)s,
        disposition = %(disposition)s, script_result = %(script_result)s, choice = %(choice)s,
        status_name = %(status_name)s, sip_code = %(sip_code)s,
        talk_seconds = c.talk_seconds + %(talk_seconds)s, cost = c.cost + %(cost)s
    FROM tried t
    WHERE c.account_id = t.account_id AND c.call_id = t.call_id AND c.state IN ('dialing', 'talking')
    RETURNING 1
), called_on AS (
    UPDATE calls c SET cost = c.cost + %(cost)s FROM ended
    WHERE %(cost)s > 0 AND NOT EXISTS (SELECT FROM called)
      AND c.account_id = ended.account_id AND c.call_id = ended.call_id
    RETURNING 1
), guard AS (
    UPDATE campaign_guards g SET in_use = greatest(g.in_use - 1, 0),
        leg_held = g.leg_held - CASE WHEN ended.held_by = 'campaign' THEN ended.hold ELSE 0 END,
        spent = g.spent + ended.from_campaign
    FROM ended, (SELECT (SELECT count(*) FROM called) + (SELECT count(*) FROM called_on)) AS after (calls)
    WHERE ended.guarded AND g.account_id = ended.account_id AND g.campaign_id = %(campaign_id)s AND after.calls < 2
    RETURNING 1
), freed AS (
    UPDATE trunks t SET in_use = greatest(t.in_use - 1, 0)
    FROM ended, (SELECT count(*) FROM guard) AS after (guards)
    WHERE t.trunk_id = ended.trunk_id AND after.guards < 2
    RETURNING 1
), paid AS (
    -- What a leg cost beyond its hold comes from the balance alone.
    UPDATE accounts a SET balance = a.balance - %(cost)s, at_risk = a.at_risk - ended.hold,
        held = a.held - CASE WHEN ended.held_by = 'account' THEN ended.hold ELSE ended.from_campaign END,
        spent_today = %(cost)s + CASE WHEN a.spent_on = (%(now)s AT TIME ZONE 'UTC')::date
            THEN a.spent_today ELSE 0 END,
        spent_on = (%(now)s AT TIME ZONE 'UTC')::date
    FROM ended, (SELECT count(*) FROM freed) AS after (trunks)
    WHERE a.account_id = ended.account_id AND after.trunks < 2
    RETURNING a.account_id, a.balance
), entry AS (
    INSERT INTO ledger (account_id, at, kind, amount, balance_after, leg_id)
    SELECT paid.account_id, %(now)s, 'charge', -%(cost)s::numeric, paid.balance, ended.leg_id
    FROM paid, ended WHERE %(cost)s > 0
)
SELECT count(*) FROM ended
"""

# A leg that never had an INVITE is taken back: no attempt is burnt, and its number is not used again. The call goes
# back only where no other leg of the attempt is up, whose end will decide.
TAKE_BACK = """
WITH ended AS (
    UPDATE legs SET phase = 'ended', ended_at = %(now)s, disposition = 'cancelled'
    WHERE account_id = %(account_id)s AND leg_id = %(leg_id)s AND phase = 'placing'
    RETURNING account_id, leg_id, call_id, attempt, trunk_id, hold, held_by, guarded
), others AS (
    SELECT l.phase, l.dialled_at FROM legs l JOIN ended USING (account_id, call_id, attempt)
    WHERE l.leg_id <> ended.leg_id
), called AS (
    UPDATE calls c SET
        state = CASE WHEN c.removing THEN 'finished' WHEN c.attempts > 1 THEN 'waiting' ELSE 'queued' END,
        call_end = CASE WHEN c.removing THEN 'removed' END,
        completed_at = CASE WHEN c.removing THEN %(now)s END,
        attempts = c.attempts - 1, lease_epoch = NULL, due_at = %(now)s, updated_at = %(now)s
    FROM ended WHERE c.account_id = ended.account_id AND c.call_id = ended.call_id AND c.state = 'dialing'
      AND NOT EXISTS (SELECT FROM others WHERE phase <> 'ended')
    RETURNING 1
), untried AS (
    DELETE FROM attempts t USING ended
    WHERE t.account_id = ended.account_id AND t.call_id = ended.call_id AND t.attempt = ended.attempt
      AND NOT EXISTS (SELECT FROM others WHERE phase <> 'ended' OR dialled_at IS NOT NULL)
), guard AS (
    UPDATE campaign_guards g SET in_use = greatest(g.in_use - 1, 0),
        leg_held = g.leg_held - CASE WHEN ended.held_by = 'campaign' THEN ended.hold ELSE 0 END
    FROM ended JOIN calls c USING (account_id, call_id), (SELECT count(*) FROM called) AS after (calls)
    WHERE ended.guarded AND g.account_id = c.account_id AND g.campaign_id = c.campaign_id AND after.calls < 2
    RETURNING 1
), freed AS (
    UPDATE trunks t SET in_use = greatest(t.in_use - 1, 0)
    FROM ended, (SELECT count(*) FROM guard) AS after (guards)
    WHERE t.trunk_id = ended.trunk_id AND after.guards < 2
    RETURNING 1
)
UPDATE accounts a SET held = a.held - CASE WHEN ended.held_by = 'account' THEN ended.hold ELSE 0 END,
    at_risk = a.at_risk - ended.hold
FROM ended, (SELECT count(*) FROM freed) AS after (trunks)
WHERE a.account_id = ended.account_id AND after.trunks < 2
"""

# What was up when a dialer died, with what is needed to end it.
LIVE = """
SELECT l.account_id, l.leg_id, l.phase, l.trunk_id, l.epoch, l.placed_at, l.dialled_at, l.answered_at, l.rate,
    c.campaign_id, c.phone, l.caller_id
FROM legs l JOIN calls c ON c.account_id = l.account_id AND c.call_id = l.call_id
WHERE l.gateway = %(gateway)s AND l.phase <> 'ended' AND l.direction = 'out'
ORDER BY l.leg_id
"""

# Channels in use are what the live legs say, whatever a crash left in the counters.
RECOUNT = """
WITH trunk AS (
    UPDATE trunks t SET in_use = n.live
    FROM (SELECT t.trunk_id, count(l.leg_id) AS live FROM trunks t
          LEFT JOIN legs l ON l.trunk_id = t.trunk_id AND l.gateway = t.gateway AND l.phase <> 'ended'
          WHERE t.gateway = %(gateway)s GROUP BY t.trunk_id) n
    WHERE t.trunk_id = n.trunk_id AND t.in_use <> n.live
    RETURNING t.trunk_id
)
SELECT count(*) FROM trunk
"""


class LiveLeg(Struct, frozen=True, kw_only=True):
    """A leg that has not ended, as recovery finds it."""

    account_id: int
    leg_id: str
    phase: str
    trunk_id: int
    epoch: int
    placed_at: datetime
    dialled_at: datetime | None
    answered_at: datetime | None
    rate: dict[str, Any]  # a Rate as it was stored
    campaign_id: int
    phone: str
    caller_id: str | None


class LegEnd(Struct, frozen=True, kw_only=True):
    """How a leg ended, and what follows for its attempt and call."""

    account_id: int
    campaign_id: int
    leg_id: LegId
    outcome: Outcome
    ended_at: datetime
    answered_at: datetime | None
    billed_seconds: int = 0
    cost: Decimal = Decimal(0)
    guarded: bool = False
    status_name: str | None = None
    steps: tuple[Step, ...] = ()
    recording: str | None = None
    next: Next | None = None  # None: the attempt goes on to another leg


class _Placed(Struct, frozen=True, kw_only=True):
    leg_id: str | None
    fence: bool
    calm: bool
    called: bool
    guard: bool
    slot: bool


class _Shortage(Struct, frozen=True, kw_only=True):
    short: bool  # money does not cover the hold now
    later: bool  # it would, if nothing else were held


class _Refused(Exception):
    """Rolls a refused placement back."""


async def place(db: Database, wanted: Placement, *, now: datetime) -> LegId | Refusal:
    """Commit a leg as `placing`, with its hold, or say why not and change nothing.

    Asked again after StoreUnavailable it finds the leg that it had committed.
    """
    params = {
        **msgspec.structs.asdict(wanted),
        "rate": Jsonb(msgspec.to_builtins(wanted.rate)),
        "guarded": wanted.guarded or wanted.held_by_campaign,
        "now": now,
    }
    placed: _Placed | None = None
    try:
        async with db.transaction() as connection:
            placed = await row(connection, _Placed, PLACE, params)
            if placed is None or placed.leg_id is None:
                raise _Refused
    except _Refused:
        pass
    assert placed is not None
    if placed.leg_id is not None:
        return LegId.parse(placed.leg_id)
    if not placed.fence:
        return Refusal.fenced
    if not placed.calm:
        return Refusal.capped
    if not placed.called:
        mine = await db.value(PLACED, params)
        return LegId.parse(mine) if mine else Refusal.gone
    if placed.guard and not placed.slot:
        return Refusal.trunk_busy
    shortage = await db.row(_Shortage, WHY_REFUSED, params)
    if shortage is None or not shortage.short:
        return Refusal.campaign_busy
    return Refusal.no_money_yet if shortage.later else Refusal.no_money


async def mark_dialled(db: Database, *, account_id: int, leg: LegId, epoch: int, now: datetime) -> bool:
    """Commit that the INVITE is about to be sent; False where this dialer is fenced or the leg was taken back.

    True again when asked again, for the sake of a lost answer: whoever asks sends one INVITE all the same.
    """
    params = {"account_id": account_id, "leg_id": str(leg), "epoch": epoch, "now": now}
    return await db.execute(DIALLED, params) == 1


async def mark_answered(db: Database, *, account_id: int, leg: LegId, at: datetime) -> None:
    """Commit that the callee answered."""
    await db.execute(ANSWERED, {"account_id": account_id, "leg_id": str(leg), "at": at})


async def end(db: Database, ended: LegEnd, *, now: datetime) -> bool:
    """End a leg with everything that follows from it; False where it had ended already."""
    after = ended.next
    outcome = ended.outcome
    params = {
        "account_id": ended.account_id,
        "campaign_id": ended.campaign_id,
        "leg_id": str(ended.leg_id),
        "ended_at": ended.ended_at,
        "answered_at": ended.answered_at,
        "disposition": str(outcome.disposition),
        "script_result": str(outcome.script_result),
        "hangup_cause": outcome.hangup_cause,
        "sip_code": outcome.sip_code,
        "talk_seconds": outcome.talk_seconds,
        "billed_seconds": ended.billed_seconds,
        "cost": ended.cost,
        "choice": outcome.choice,
        "status_name": ended.status_name,
        "steps": Jsonb(msgspec.to_builtins(ended.steps)) if ended.steps else None,
        "recording": ended.recording,
        "final": after is not None,
        "state": str(after.state) if after else None,
        "call_end": str(after.call_end) if after and after.call_end else None,
        "due_at": after.due_at if after else None,
        "now": now,
    }
    return bool(await db.value(END, params))


async def take_back(db: Database, *, account_id: int, leg: LegId, guarded: bool, now: datetime) -> bool:
    """Undo a placement that never had an INVITE; False where it had one, or had ended."""
    params = {"account_id": account_id, "leg_id": str(leg), "now": now}
    return await db.execute(TAKE_BACK, params) == 1


# A placement whose commit was not heard: it may be there, and then only this dialer's own doubt keeps it.
IN_DOUBT = """
SELECT leg_id FROM legs
WHERE account_id = %(account_id)s AND call_id = %(call_id)s AND epoch = %(epoch)s AND phase = 'placing'
"""


class _LegId(Struct, frozen=True, kw_only=True):
    leg_id: str


async def take_back_doubtful(
    db: Database, *, account_id: int, call_id: int, epoch: int, now: datetime
) -> int:
    """Take back what a placement left behind whose answer was lost with the database; how many legs."""
    params = {"account_id": account_id, "call_id": call_id, "epoch": epoch}
    found = await db.rows(_LegId, IN_DOUBT, params)
    for doubtful in found:
        await take_back(db, account_id=account_id, leg=LegId.parse(doubtful.leg_id), guarded=False, now=now)
    return len(found)


async def live(db: Database, gateway: str) -> list[LiveLeg]:
    """Every leg of this gateway that has not ended."""
    return await db.rows(LiveLeg, LIVE, {"gateway": gateway})


async def recount(db: Database, gateway: str) -> int:
    """Set the trunks' channel counters to what is really up; how many were wrong."""
    return int(await db.value(RECOUNT, {"gateway": gateway}))


class PastAttempt(Struct, frozen=True, kw_only=True):
    """An earlier attempt of a call, as the retry policy counts it."""

    disposition: str
    script_result: str


# What earlier attempts of a call came to, oldest first.
HISTORY = """
SELECT disposition, script_result FROM attempts
WHERE account_id = %(account_id)s AND call_id = %(call_id)s AND attempt < %(attempt)s AND disposition IS NOT NULL
ORDER BY attempt
"""


async def history(db: Database, *, account_id: int, leg: LegId) -> tuple[Outcome, ...]:
    """Outcomes of the attempts before this leg's, oldest first."""
    found = await db.rows(
        PastAttempt, HISTORY, {"account_id": account_id, "call_id": leg.call_id, "attempt": leg.attempt}
    )
    return tuple(
        Outcome(disposition=Disposition(past.disposition), script_result=ScriptResult(past.script_result))
        for past in found
    )
