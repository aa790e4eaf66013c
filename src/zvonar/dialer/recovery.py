"""What was up when the last dialer died, and what becomes of it?

Alive in the gateway → adopted and gone on with. In the gateway's own records → settled and billed from them.
Neither → lost: nothing is charged, and only the campaign's policy may call again. A leg that was never
committed as dialled had no INVITE and is taken back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
import structlog
from msgspec import Struct

from zvonar.core.facts import TransferReport
from zvonar.core.leg import Leg, LegId
from zvonar.core.money import Rate
from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.core.script import ScriptReport, put_through
from zvonar.dialer import meters
from zvonar.dialer.attempt import Attempts, Second
from zvonar.dialer.plan import Plan, outcome_of
from zvonar.dialer.transfer import bound, seconds_between
from zvonar.line.line import Gateway, Line, LineEnd
from zvonar.store import legs
from zvonar.store.calls import Leased
from zvonar.store.db import Database
from zvonar.store.legs import LegEnd, LiveLeg, Phase

log = structlog.get_logger(__name__)


class Adopted(Struct, frozen=True, kw_only=True):
    """A line to go on with."""

    plan: Plan
    leg: LegId
    line: Line
    trunk_id: int
    second: Second | None = None  # where its subscriber was put through


PlanOf = Callable[[Leased, LiveLeg], Awaitable[Plan | None]]

# The call behind a live leg, as a lease would have given it.
CALL_OF_LEG = """
SELECT account_id, call_id, campaign_id, phone, country, trial, state, attempts, due_at, expires_at, overrides, clip_id
FROM calls WHERE account_id = %(account_id)s AND call_id = %(call_id)s
"""


async def recover(
    db: Database,
    gateway: Gateway,
    attempts: Attempts,
    *,
    plan_of: PlanOf,
    now: Callable[[], datetime],
) -> list[Adopted]:
    """Settle every leg that an earlier dialer left behind; the lines to go on with. Safe to repeat."""
    left = {LegId.parse(live.leg_id): live for live in await legs.live(db, gateway.name)}
    alive = set(await gateway.alive())
    for leg in alive - left.keys():
        # A channel that the store knows to have ended, or never heard of: nobody pays for it any more.
        await gateway.discard(leg)
        meters.recovered.labels("discarded").inc()
    # A call talks to one at a time.
    seconds = {leg.call_id: left.pop(leg) for leg, live in list(left.items()) if live.target is not None}
    adopted: list[Adopted] = []
    # Dialled legs first: a placing one beside them is the next leg of the same attempt.
    for leg, live in sorted(left.items(), key=lambda item: (item[1].phase == Phase.placing, item[0])):
        if live.phase == Phase.placing:
            if leg in alive:
                await gateway.discard(leg)
            await legs.take_back(db, account_id=live.account_id, leg=leg, now=now())
            meters.recovered.labels("taken_back").inc()
            continue
        plan = await _plan(db, live, leg, plan_of)
        if plan is None:
            continue
        line = None
        if leg in alive:
            since = (now() - (live.dialled_at or live.placed_at)).total_seconds()
            line = await gateway.adopt(leg, rings_for=max(0.0, plan.settings.ring_timeout - since))
        end = await _settled(gateway, leg, live, now) if line is None else None
        second = None
        if leg.call_id in seconds:
            second = await _put_through(
                db, gateway, plan, seconds.pop(leg.call_id), line=line, end=end, alive=alive, now=now
            )
        if line is not None:
            adopted.append(Adopted(plan=plan, leg=leg, line=line, trunk_id=live.trunk_id, second=second))
            meters.recovered.labels("adopted").inc()
            continue
        assert end is not None
        final = not any(other.call_id == leg.call_id and other != leg for other in left)
        # The script's own memory died with its dialer: an answered call ends as an error of ours, unless its
        # subscriber had been put through.
        report = ScriptReport(result=ScriptResult.error if end.answered_at else ScriptResult.none)
        if end.answered_at and second is not None and second.told is not None:
            report = put_through(plan.script, second.told)
        await attempts.record(plan, leg, end, report, final=final)
        meters.recovered.labels("lost" if end.vanished else "settled").inc()
    for live in seconds.values():
        # Its first leg has ended without it, which should not be.
        plan = await _plan(db, live, LegId.parse(live.leg_id), plan_of)
        if plan is not None:
            await _put_through(db, gateway, plan, live, line=None, end=None, alive=alive, now=now)
    await legs.recount(db, gateway.name)
    if left:
        log.info("dialer.recovered", legs=len(left), adopted=len(adopted))
    return adopted


async def _put_through(
    db: Database,
    gateway: Gateway,
    plan: Plan,
    live: LiveLeg,
    *,
    line: Line | None,
    end: LineEnd | None,
    alive: set[Leg],
    now: Callable[[], datetime],
) -> Second | None:
    """Whom a subscriber was put through to; None where nobody had been reached, and his script may begin anew.

    `line`: his own, `end`: what has become of it. Where both are still there, they go on talking.
    """
    leg = LegId.parse(live.leg_id)
    other = await gateway.adopt(leg) if leg in alive else None
    since = line.answered_at if line is not None else end and end.answered_at
    if line is not None and since is not None and other is not None and other.answered_at is not None:
        meters.recovered.labels("transfer_adopted").inc()
        return Second(live=live, line=other)
    since = since or live.placed_at
    told = await _end_transfer(db, gateway, plan, live, other, since=since, now=now)
    meters.recovered.labels("transfer_ended").inc()
    return Second(live=live, told=told) if told.disposition is Disposition.answered else None


async def _end_transfer(
    db: Database,
    gateway: Gateway,
    plan: Plan,
    live: LiveLeg,
    other: Line | None,
    *,
    since: datetime,
    now: Callable[[], datetime],
) -> TransferReport:
    """End the second leg of a transfer, billed by what it was placed with. `since`: the answer of the first."""
    leg = LegId.parse(live.leg_id)
    if other is not None:
        end = await other.hang_up()
    elif live.phase == Phase.placing:
        end = LineEnd(at=now())
    else:
        end = await _settled(gateway, leg, live, now)
    answered_at = end.answered_at
    rate = msgspec.convert(live.rate, Rate, strict=False)
    talked = (end.at - answered_at).total_seconds() if answered_at is not None else 0.0
    billable = min(talked, float(bound(plan, since, live)))
    outcome = outcome_of(end, ScriptReport(result=ScriptResult.none))
    if answered_at is None and end.by_us:
        # Our own CANCEL says nothing about the callee.
        outcome = Outcome(disposition=Disposition.cancelled, hangup_cause=outcome.hangup_cause)
    ended = LegEnd(
        account_id=live.account_id,
        campaign_id=live.campaign_id,
        leg_id=leg,
        outcome=outcome,
        ended_at=end.at,
        answered_at=answered_at,
        billed_seconds=rate.billed_seconds(billable),
        cost=rate.charge(billable),
    )
    await db.patiently(lambda: legs.end(db, ended, now=now()), what="transfer end")
    return TransferReport(
        to=live.target or "",
        began=seconds_between(since, live.placed_at),
        ended=seconds_between(since, end.at),
        disposition=outcome.disposition,
        answered=None if answered_at is None else seconds_between(since, answered_at),
        talk_seconds=outcome.talk_seconds,
        leg=str(leg),
        recording=gateway.recording(leg) if plan.settings.record and answered_at is not None else None,
    )


async def _plan(db: Database, live: LiveLeg, leg: LegId, plan_of: PlanOf) -> Plan | None:
    call = await db.row(Leased, CALL_OF_LEG, {"account_id": live.account_id, "call_id": leg.call_id})
    if call is None:
        log.error("dialer.leg_without_call", leg=str(leg))
        return None
    plan = await plan_of(call, live)
    # Billed by the rate that was agreed when the leg was placed, whatever the tariff says now.
    return (
        msgspec.structs.replace(plan, rate=msgspec.convert(live.rate, Rate, strict=False)) if plan else None
    )


async def _settled(gateway: Gateway, leg: LegId, live: LiveLeg, now: Callable[[], datetime]) -> LineEnd:
    known = (await asyncio.to_thread(gateway.past, [leg])).get(leg)
    if known is None:
        # No trace of its end: what is certain is only what was committed before.
        return LineEnd(at=live.answered_at or now(), answered_at=None, vanished=True)
    if known.answered_at is None and live.answered_at is not None:
        return msgspec.structs.replace(known, answered_at=live.answered_at)
    return known
