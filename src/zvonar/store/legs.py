"""What has been dialled, and what may be? The memory behind "at most once".

A leg is committed as `placing` with its hold of money before its channel exists, as `dialled` before its
INVITE is sent, and is ended exactly once, with its money, attempt, call, session and event in that one
statement. Asterisk forgets a finished channel and would dial its id again; this table does not.
"""

from collections.abc import Hashable, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from zvonar.core.call import Next
from zvonar.core.control import Cap
from zvonar.core.facts import CallFacts
from zvonar.core.leg import Leg, LegId
from zvonar.core.money import Rate
from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.core.script import Step
from zvonar.store.db import Database


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
    open_until: datetime | None = None  # when the callee's window closes
    caps: tuple[Cap, ...] = ()  # of the campaign, beside the account's
    next_leg: bool = False  # the attempt goes on to another trunk

    @property
    def in_common(self) -> Hashable:
        """What legs have in common that are placed together."""
        limits = self.held_by_campaign, self.guarded, self.max_channels, self.calls_per_second, self.caps
        return (
            self.account_id,
            self.campaign_id,
            self.gateway,
            self.epoch,
            self.trunk_id,
            self.next_leg,
            limits,
        )


class Refusal(StrEnum):
    """Why a leg was not placed; nothing was changed then."""

    fenced = "fenced"  # another dialer has the gateway
    gone = "gone"  # removed, stopped, expired, paused or leased by another meanwhile
    closed = "closed"  # the callee's window has closed meanwhile
    capped = "capped"  # this callee was called often enough lately
    campaign_busy = "campaign_busy"  # the campaign's limit, or the account's attempts a minute: soon again
    trunk_busy = "trunk_busy"  # the trunk's limit, or it may not carry this number
    no_money = "no_money"  # the balance, max_cost or the day's cap does not cover the hold
    no_money_yet = "no_money_yet"  # it may, once other legs have ended


# The calls leave the queue, their trunk's slots and money are taken and their legs exist, or none of it: see the
# migration. Nobody is told that a call is dialled, so nobody is rung for.
PLACE = """
SELECT of_call, said FROM set_config('zvonar.rings_outbox', 'on', true), place_legs(
    p_account => %(account_id)s, p_campaign => %(campaign_id)s, p_gateway => %(gateway)s, p_epoch => %(epoch)s,
    p_trunk => %(trunk_id)s, p_held_by_campaign => %(held_by_campaign)s, p_guarded => %(guarded)s,
    p_max_channels => %(max_channels)s, p_calls_per_second => %(calls_per_second)s, p_next_leg => %(next_leg)s,
    p_cap_attempts => %(cap_attempts)s, p_cap_seconds => %(cap_seconds)s, p_legs => %(legs)s::json, p_now => %(now)s)
"""

# The last look before the INVITEs: from this commit on these legs count as dialled, whatever happens to us. The lock
# makes a new dialer's claim wait, so that it finds each either dialled or never to be dialled. A leg that is marked
# already has been told so in time.
DIALLED = """
WITH fence AS MATERIALIZED (
    SELECT gateway FROM dialer_epochs WHERE epoch = %(epoch)s FOR SHARE
)
UPDATE legs l SET phase = 'dialled', dialled_at = coalesce(l.dialled_at, %(now)s)
FROM fence, unnest(%(account_ids)s::bigint[], %(leg_ids)s::text[], %(closings)s::timestamptz[])
    AS t (account_id, leg_id, open_until)
WHERE l.account_id = t.account_id AND l.leg_id = t.leg_id AND l.phase IN ('placing', 'dialled')
  AND l.epoch = %(epoch)s AND l.gateway = fence.gateway
  AND (l.phase = 'dialled' OR t.open_until IS NULL OR t.open_until > %(now)s)
RETURNING l.leg_id
"""

# Callees answered: their calls talk from now on, and an answer's time is what it will be billed from. What a crash of
# PostgreSQL forgets here the end of the leg brings again, so its commit need not wait for the disk.
ANSWERED = """
WITH told AS (
    SELECT account_id, leg_id, at FROM unnest(%(account_ids)s::bigint[], %(leg_ids)s::text[], %(ats)s::timestamptz[])
        AS t (account_id, leg_id, at)
), hasty AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true), set_config('zvonar.rings_outbox', 'on', true)
), leg AS (
    UPDATE legs l SET phase = 'answered', answered_at = told.at FROM told, hasty
    WHERE l.account_id = told.account_id AND l.leg_id = told.leg_id AND l.phase = 'dialled'
    RETURNING l.account_id, l.call_id, l.attempt, told.at
), tried AS (
    UPDATE attempts t SET answered_at = leg.at FROM leg
    WHERE t.account_id = leg.account_id AND t.call_id = leg.call_id AND t.attempt = leg.attempt
)
UPDATE calls c SET state = 'talking', updated_at = leg.at FROM leg
WHERE c.account_id = leg.account_id AND c.call_id = leg.call_id AND c.state = 'dialing'
"""

# Legs of one account end, each once, with everything that follows: see the migration. Which of them have ended now.
END = """
SELECT end_legs(p_account => %(account_id)s, p_legs => %(legs)s::json, p_now => %(now)s)
FROM set_config('zvonar.rings_outbox', %(quiet)s, true)
"""

# A leg that never had an INVITE is taken back: no attempt is burnt, and its number is not used again. The call goes
# back only where no other leg of the attempt is up, whose end will decide. `after` keeps the order of the locks, which
# a statement otherwise leaves open.
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
    c.campaign_id, c.phone, l.caller_id, l.target
FROM legs l JOIN calls c ON c.account_id = l.account_id AND c.call_id = l.call_id
WHERE l.gateway = %(gateway)s AND l.ended_at IS NULL AND l.direction = 'out'
ORDER BY l.leg_id
"""

# Channels in use are what the live legs say, whatever a crash left in the counters.
RECOUNT = """
WITH trunk AS (
    UPDATE trunks t SET in_use = n.live
    FROM (SELECT t.trunk_id, count(l.leg_id) AS live FROM trunks t
          LEFT JOIN legs l ON l.trunk_id = t.trunk_id AND l.gateway = t.gateway AND l.ended_at IS NULL
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
    target: str | None  # of a transfer


class Marked(Struct, frozen=True):
    """A leg whose INVITE is about to be sent."""

    account_id: int
    leg: LegId
    open_until: datetime | None  # when the callee's window closes


class Answered(Struct, frozen=True, kw_only=True):
    """A callee who picked up."""

    account_id: int
    leg: LegId
    at: datetime


class LegEnd(Struct, frozen=True, kw_only=True):
    """How a leg ended, and what follows for its attempt and call."""

    account_id: int
    campaign_id: int
    leg_id: Leg
    outcome: Outcome
    ended_at: datetime
    answered_at: datetime | None
    billed_seconds: int = 0
    cost: Decimal = Decimal(0)
    status_name: str | None = None
    steps: tuple[Step, ...] = ()
    recording: str | None = None
    facts: CallFacts | None = None
    next: Next | None = (
        None  # None: the attempt goes on to another leg, or with the one that it was put through from
    )


async def place_all(db: Database, wanted: Sequence[Placement], *, now: datetime) -> list[LegId | Refusal]:
    """Commit legs of different calls as `placing`, each with its hold, or say why not and change nothing for it.

    They have all but themselves `in_common`, and are decided as if they came one after the other. Asked again after
    StoreUnavailable each finds the leg that it had committed.
    """
    first = wanted[0]
    params = {
        "account_id": first.account_id,
        "campaign_id": first.campaign_id,
        "gateway": first.gateway,
        "epoch": first.epoch,
        "trunk_id": first.trunk_id,
        "held_by_campaign": first.held_by_campaign,
        "guarded": first.guarded or first.held_by_campaign,
        "max_channels": first.max_channels,
        "calls_per_second": first.calls_per_second,
        "next_leg": first.next_leg,
        "cap_attempts": [cap.attempts for cap in first.caps] or None,
        "cap_seconds": [cap.seconds for cap in first.caps] or None,
        "legs": msgspec.json.encode([_asked(one) for one in wanted]).decode(),
        "now": now,
    }
    said = {one.of_call: one.said for one in await db.rows(_Said, PLACE, params)}
    return [_heard(said[one.call_id]) for one in wanted]


class _Said(Struct, frozen=True):
    of_call: int
    said: str


class _LegId(Struct, frozen=True, kw_only=True):
    leg_id: str


def _asked(wanted: Placement) -> dict[str, Any]:
    """What the statement is asked for one leg: the beginning of its type `placed_leg`."""
    return {
        "call_id": wanted.call_id,
        "caller_id": wanted.caller_id,
        "rate": wanted.rate,
        "hold": wanted.hold,
        "open_until": wanted.open_until,
    }


def _heard(said: str) -> LegId | Refusal:
    return LegId.parse(said) if "." in said else Refusal(said)


async def mark_dialled(
    db: Database,
    *,
    account_id: int,
    leg: LegId,
    epoch: int,
    open_until: datetime | None = None,
    now: datetime,
) -> bool:
    """Commit that the INVITE is about to be sent; False where this dialer is fenced, the leg was taken back, or the
    callee's window has closed: `open_until`.

    True again when asked again, for the sake of a lost answer: whoever asks sends one INVITE all the same.
    """
    (marked,) = await mark_all_dialled(db, [Marked(account_id, leg, open_until)], epoch=epoch, now=now)
    return marked


async def mark_all_dialled(
    db: Database, wanted: Sequence[Marked], *, epoch: int, now: datetime
) -> list[bool]:
    """What `mark_dialled` would say of each of these legs, in one commit."""
    params = {
        "account_ids": [one.account_id for one in wanted],
        "leg_ids": [str(one.leg) for one in wanted],
        "closings": [one.open_until for one in wanted],
        "epoch": epoch,
        "now": now,
    }
    marked = {one.leg_id for one in await db.rows(_LegId, DIALLED, params)}
    return [str(one.leg) in marked for one in wanted]


async def mark_answered(db: Database, answered: Sequence[Answered]) -> None:
    """Commit that these callees answered; a leg that has ended meanwhile stays as it is."""
    params = {
        "account_ids": [one.account_id for one in answered],
        "leg_ids": [str(one.leg) for one in answered],
        "ats": [one.at for one in answered],
    }
    await db.execute(ANSWERED, params)


async def end(db: Database, ended: LegEnd, *, now: datetime) -> bool:
    """End a leg with everything that follows from it; False where it had ended already."""
    return bool(await end_all(db, [ended], now=now))


async def end_all(db: Database, ended: Sequence[LegEnd], *, now: datetime) -> list[str]:
    """End legs of one account, each with everything that follows from it; the ids of those that have ended now.

    Legs that leave their attempt to another one come first, so that whoever ends it knows what they have cost. One that
    cannot be ended fails all of its kind.
    """
    found: list[str] = []
    for some in ([one for one in ended if one.next is None], [one for one in ended if one.next is not None]):
        if some:
            quiet = db.quiet()
            params = {
                "account_id": some[0].account_id,
                "legs": msgspec.json.encode([_told(one) for one in some]).decode(),
                "quiet": quiet,
                "now": now,
            }
            found += await db.value(END, params)
            db.ring_later(quiet)
    return found


def _told(ended: LegEnd) -> dict[str, Any]:
    """What the statement is told of a leg: the beginning of its type `ended_leg`."""
    after = ended.next
    outcome = ended.outcome
    return {
        "leg_id": str(ended.leg_id),
        "campaign_id": ended.campaign_id,
        "ended_at": ended.ended_at,
        "answered_at": ended.answered_at,
        "disposition": outcome.disposition,
        "script_result": outcome.script_result,
        "cause": outcome.cause,
        "hangup_cause": outcome.hangup_cause,
        "sip_code": outcome.sip_code,
        "talk_seconds": outcome.talk_seconds,
        "billed_seconds": ended.billed_seconds,
        "cost": ended.cost,
        "choice": outcome.choice,
        "status_name": ended.status_name,
        "steps": ended.steps or None,
        "facts": ended.facts,
        "recording": ended.recording,
        "final": after is not None,
        "state": after.state if after else None,
        "call_end": after.call_end if after else None,
        "due_at": after.due_at if after else None,
    }


async def take_back(db: Database, *, account_id: int, leg: LegId, now: datetime) -> bool:
    """Undo a placement that never had an INVITE; False where it had one, or had ended."""
    params = {"account_id": account_id, "leg_id": str(leg), "now": now}
    return await db.execute(TAKE_BACK, params) == 1


# A placement whose commit was not heard: it may be there, and then only this dialer's own doubt keeps it.
IN_DOUBT = """
SELECT leg_id FROM legs
WHERE account_id = %(account_id)s AND call_id = %(call_id)s AND epoch = %(epoch)s AND phase = 'placing'
"""


async def take_back_doubtful(
    db: Database, *, account_id: int, call_id: int, epoch: int, now: datetime
) -> int:
    """Take back what a placement left behind whose answer was lost with the database; how many legs."""
    params = {"account_id": account_id, "call_id": call_id, "epoch": epoch}
    found = await db.rows(_LegId, IN_DOUBT, params)
    for doubtful in found:
        await take_back(db, account_id=account_id, leg=LegId.parse(doubtful.leg_id), now=now)
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
