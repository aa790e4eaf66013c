"""Who has called us, and what was it about? Look-ups when a call comes in, and what is kept of it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.facts import CallFacts
from zvonar.core.inbound import Received
from zvonar.core.leg import InboundLeg
from zvonar.store.calls import Leased
from zvonar.store.db import Database

CALLED_BACK = timedelta(days=30)  # how long after we have shown a number a call to it is taken for an answer

# Calls of these campaigns that wait for somebody with one of these numbers, the newest first: whoever asked twice has
# forgotten the first.
AWAITED = """
SELECT c.account_id, c.call_id, c.campaign_id, c.phone, c.country, c.trial, c.state, c.attempts, c.due_at,
    c.expires_at, c.overrides, c.clip_id
FROM unnest(%(account_ids)s::bigint[], %(campaign_ids)s::bigint[]) AS w (account_id, campaign_id)
JOIN calls c ON c.account_id = w.account_id AND c.campaign_id = w.campaign_id AND c.phone = ANY(%(phones)s)
WHERE c.state IN ('queued', 'waiting') AND NOT c.removing AND (c.expires_at IS NULL OR c.expires_at > %(now)s)
ORDER BY c.call_id DESC LIMIT 10
"""

# The last attempt that has shown this caller the number that he calls.
SHOWN = """
SELECT account_id, campaign_id, call_id, attempt, caller_id FROM attempts
WHERE phone = ANY(%(callers)s) AND caller_id = ANY(%(called)s) AND started_at > %(since)s
ORDER BY started_at DESC LIMIT 1
"""

# The call is on the line, as an attempt of its own: see the migration.
RECEIVE = """
SELECT receive_call(p_account => %(account_id)s, p_call => %(call_id)s, p_gateway => %(gateway)s,
    p_epoch => %(epoch)s, p_trunk => %(trunk_id)s, p_leg => %(leg_id)s, p_own_phone => %(own_phone)s, p_now => %(now)s)
"""

# A call that is nobody's: its leg alone, so that it counts and is settled whatever becomes of us.
BEGIN = """
WITH fence AS MATERIALIZED (
    SELECT gateway FROM dialer_epochs WHERE gateway = %(gateway)s AND epoch = %(epoch)s FOR SHARE
), trunk AS (
    UPDATE trunks SET in_use = in_use + 1 FROM fence WHERE trunk_id = %(trunk_id)s RETURNING trunk_id
)
INSERT INTO legs (account_id, leg_id, direction, trunk_id, gateway, epoch, phase, caller_id, hold, held_by, guarded,
                  rate, placed_at, contact, promised_session)
SELECT %(account_id)s, %(leg_id)s, 'in', trunk_id, %(gateway)s, %(epoch)s, 'dialled', %(own_phone)s, 0, 'account',
    false, '{}', %(now)s, %(contact)s, nextval('session_ids')
FROM trunk
ON CONFLICT (account_id, leg_id) DO NOTHING
"""

# Its end, its session and the event that tells of it: see the migration.
END_INBOUND = """
SELECT end_inbound(p_account => %(account_id)s, p_leg => %(leg_id)s, p_answered_at => %(answered_at)s,
    p_ended_at => %(ended_at)s, p_contact => %(contact)s, p_own_phone => %(own_phone)s, p_country => %(country)s,
    p_disposition => %(disposition)s, p_script_result => %(script_result)s, p_hangup_cause => %(hangup_cause)s,
    p_facts => %(facts)s, p_received => %(received)s, p_now => %(now)s)
"""

# What had come in and was up when a dialer died. `call_id`: of the call that had waited for it.
LIVE_INBOUND = """
SELECT l.account_id, l.leg_id, l.call_id, l.attempt, c.campaign_id, l.caller_id, l.contact, l.placed_at, l.answered_at,
    c.call_id IS NOT NULL AND c.overrides ->> 'code' IS NULL AS confirms
FROM legs l LEFT JOIN calls c ON c.account_id = l.account_id AND c.call_id = l.call_id
WHERE l.gateway = %(gateway)s AND l.ended_at IS NULL AND l.direction = 'in'
ORDER BY l.leg_id
"""


class Shown(Struct, frozen=True, kw_only=True):
    """An attempt that has shown one of our numbers."""

    account_id: int
    campaign_id: int
    call_id: int
    attempt: int
    caller_id: str


class LiveInbound(Struct, frozen=True, kw_only=True):
    """A leg that came in and has not ended, as recovery finds it."""

    account_id: int
    leg_id: str
    call_id: int | None
    attempt: int | None
    campaign_id: int | None
    caller_id: str | None  # our number
    contact: str | None  # E.164 of the caller, of a call that is nobody's
    placed_at: datetime
    answered_at: datetime | None
    confirms: bool  # the call waited for nothing but this


async def awaited(
    db: Database, campaigns: Sequence[tuple[int, int]], phones: Sequence[str], *, now: datetime
) -> list[Leased]:
    """Calls of these (account, campaign) pairs that wait for a call from one of these numbers, newest first."""
    params = {
        "account_ids": [account_id for account_id, _ in campaigns],
        "campaign_ids": [campaign_id for _, campaign_id in campaigns],
        "phones": list(phones),
        "now": now,
    }
    return await db.rows(Leased, AWAITED, params)


async def shown(
    db: Database, callers: Sequence[str], called: Sequence[str], *, now: datetime
) -> Shown | None:
    """The last attempt that has shown one of `callers` one of `called`, if there was one lately."""
    params = {"callers": list(callers), "called": list(called), "since": now - CALLED_BACK}
    return await db.row(Shown, SHOWN, params)


async def receive(
    db: Database,
    call: Leased,
    leg: InboundLeg,
    *,
    gateway: str,
    epoch: int,
    trunk_id: int,
    own_phone: str,
    now: datetime,
) -> int | None:
    """Take a waiting call onto the line; the number of its attempt, None where it waits no longer."""
    params = {
        "account_id": call.account_id,
        "call_id": call.call_id,
        "gateway": gateway,
        "epoch": epoch,
        "trunk_id": trunk_id,
        "leg_id": str(leg),
        "own_phone": own_phone,
        "now": now,
    }
    attempt = await db.value(RECEIVE, params)
    return None if attempt is None else int(attempt)


async def begin(
    db: Database,
    account_id: int,
    leg: InboundLeg,
    *,
    gateway: str,
    epoch: int,
    trunk_id: int,
    own_phone: str,
    contact: str | None,
    now: datetime,
) -> None:
    """Commit that a call has come in which is nobody's. `contact`: who calls, E.164."""
    params = {
        "account_id": account_id,
        "leg_id": str(leg),
        "gateway": gateway,
        "epoch": epoch,
        "trunk_id": trunk_id,
        "own_phone": own_phone,
        "contact": contact,
        "now": now,
    }
    await db.execute(BEGIN, params)


async def end(
    db: Database,
    leg: InboundLeg,
    received: Received,
    *,
    country: str | None,
    hangup_cause: int | None,
    facts: CallFacts,
    now: datetime,
) -> int | None:
    """End it with its session and its event; the session's id, None where it had ended already."""
    params = {
        "account_id": received.account_id,
        "leg_id": str(leg),
        "answered_at": received.answered_at,
        "ended_at": received.ended_at,
        "contact": received.phone or "",
        "own_phone": received.own_phone,
        "country": country,
        "disposition": str(received.disposition),
        "script_result": str(received.script_result),
        "hangup_cause": hangup_cause,
        "facts": Jsonb(msgspec.to_builtins(facts)),
        "received": Jsonb(msgspec.to_builtins(received)),
        "now": now,
    }
    session = await db.value(END_INBOUND, params)
    return None if session is None else int(session)


async def live(db: Database, gateway: str) -> list[LiveInbound]:
    """Every inbound leg of this gateway that has not ended."""
    return await db.rows(LiveInbound, LIVE_INBOUND, {"gateway": gateway})
