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

from zvonar.core.leg import LegId
from zvonar.core.money import Rate
from zvonar.core.result import ScriptResult
from zvonar.core.script import ScriptReport
from zvonar.dialer import meters
from zvonar.dialer.attempt import Attempts
from zvonar.dialer.plan import Plan, outcome_of
from zvonar.line.line import Gateway, Line, LineEnd
from zvonar.store import legs
from zvonar.store.calls import Leased
from zvonar.store.db import Database
from zvonar.store.legs import LegEnd, LiveLeg, Phase

log = structlog.get_logger(__name__)

Adopted = tuple[Plan, LegId, Line, int]  # with the id of its trunk
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
    for leg in [leg for leg, live in left.items() if live.target is not None]:
        # The script that put somebody through is gone: it begins anew, and may do so again.
        await _end_transfer(db, gateway, leg, left.pop(leg), alive=leg in alive, now=now)
        meters.recovered.labels("transfer_ended").inc()
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
        if line is not None:
            adopted.append((plan, leg, line, live.trunk_id))
            meters.recovered.labels("adopted").inc()
            continue
        end = await _settled(gateway, leg, live, now)
        final = not any(other.call_id == leg.call_id and other != leg for other in left)
        # The script's own memory died with its dialer: an answered call ends as an error of ours.
        result = ScriptResult.error if end.answered_at else ScriptResult.none
        await attempts.record(plan, leg, end, ScriptReport(result=result), final=final)
        meters.recovered.labels("lost" if end.vanished else "settled").inc()
    await legs.recount(db, gateway.name)
    if left:
        log.info("dialer.recovered", legs=len(left), adopted=len(adopted))
    return adopted


async def _end_transfer(
    db: Database, gateway: Gateway, leg: LegId, live: LiveLeg, *, alive: bool, now: Callable[[], datetime]
) -> None:
    """End the second leg of a transfer, billed by what it was placed with."""
    line = await gateway.adopt(leg) if alive else None
    if line is not None:
        end = await line.hang_up()
    elif live.phase == Phase.placing:
        end = LineEnd(at=now())
    else:
        end = await _settled(gateway, leg, live, now)
    rate = msgspec.convert(live.rate, Rate, strict=False)
    seconds = (end.at - end.answered_at).total_seconds() if end.answered_at else 0.0
    ended = LegEnd(
        account_id=live.account_id,
        campaign_id=live.campaign_id,
        leg_id=leg,
        outcome=outcome_of(end, ScriptReport(result=ScriptResult.none)),
        ended_at=end.at,
        answered_at=end.answered_at,
        billed_seconds=rate.billed_seconds(seconds),
        cost=rate.charge(seconds),
    )
    await db.patiently(lambda: legs.end(db, ended, now=now()), what="transfer end")


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
