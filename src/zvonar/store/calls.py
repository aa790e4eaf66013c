"""Which numbers are to be called, and how far has each come? One row per dialling task."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct
from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from zvonar.core.call import Next
from zvonar.core.campaign import CallOverrides
from zvonar.core.errors import CampaignNotFound, Refused
from zvonar.core.phone import Phone
from zvonar.core.result import Outcome
from zvonar.store.campaigns import hold_max_cost
from zvonar.store.db import Connection, Database, row


class LabelTaken(Refused):
    """A call of this campaign has that label already."""


class CampaignClosed(Refused):
    """The campaign is cancelled and takes no more calls."""


class Call(Struct, frozen=True, kw_only=True):
    """A call as the dialects show it."""

    account_id: int
    call_id: int
    campaign_id: int
    ordinal: int  # from 1 within the campaign
    phone: str
    state: str
    call_end: str | None
    due_at: datetime
    removing: bool
    attempts: int  # how many were made
    disposition: str | None  # of the last attempt, as are the next four
    script_result: str | None
    choice: str | None
    status_name: str | None
    sip_code: int | None
    talk_seconds: int  # of all attempts
    cost: Decimal  # of all attempts
    label: str | None
    extra: str | None
    clip_id: int | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None


class Attempt(Struct, frozen=True, kw_only=True):
    """One try to reach the number, as the dialects show it."""

    call_id: int
    attempt: int  # from 1
    started_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None
    disposition: str | None
    script_result: str | None
    cause: str | None
    hangup_cause: int | None
    sip_code: int | None
    talk_seconds: int
    billed_seconds: int
    cost: Decimal
    caller_id: str | None
    choice: str | None
    status_name: str | None
    recording: str | None


class NewCall(Struct, frozen=True, kw_only=True):
    """A number to be called, checked already."""

    phone: Phone
    label: str | None = None
    extra: str | None = None
    overrides: CallOverrides | None = None
    clip_id: int | None = None
    due_at: datetime | None = None  # not before; at once unless given


class Leased(Struct, frozen=True, kw_only=True):
    """A call as the dialer needs it."""

    account_id: int
    call_id: int
    campaign_id: int
    phone: str
    country: str
    trial: bool
    state: str
    attempts: int
    due_at: datetime
    expires_at: datetime | None
    overrides: dict[str, Any] | None
    clip_id: int | None


# The campaign's row orders its calls and wakes a completed campaign up; a cancelled one takes none.
TAKE_ORDINALS = """
WITH before AS (
    SELECT account_id, campaign_id, status FROM campaigns
    WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s FOR NO KEY UPDATE
)
UPDATE campaigns c SET next_ordinal = c.next_ordinal + %(count)s,
    status = CASE WHEN c.status = 'completed' THEN 'running' ELSE c.status END,
    finished_at = CASE WHEN c.status = 'completed' THEN NULL ELSE c.finished_at END,
    updated_at = CASE WHEN c.status = 'completed' THEN %(now)s ELSE c.updated_at END
FROM before WHERE c.account_id = before.account_id AND c.campaign_id = before.campaign_id
RETURNING c.next_ordinal - %(count)s AS first_ordinal, before.status AS status,
    waits_for(c.type, c.settings) AS lifetime, (c.settings ->> 'max_cost')::numeric AS max_cost
"""

# One accepted number.
INSERT = """
INSERT INTO calls (account_id, call_id, campaign_id, ordinal, phone, country, trial, due_at, expires_at, label, extra,
                   overrides, clip_id, phone_list_id, created_at, updated_at)
SELECT %(account_id)s, new_call_id(%(now)s), %(campaign_id)s, %(first_ordinal)s::bigint + 1, %(phone)s, %(country)s,
    %(trial)s, %(due_at)s, %(now)s + make_interval(secs => %(lifetime)s::integer), %(label)s, %(extra)s, %(overrides)s,
    %(clip_id)s, %(phone_list_id)s, %(now)s, %(now)s
RETURNING call_id
"""

_CALL = """account_id, call_id, campaign_id, ordinal, phone, state, call_end, due_at, removing, attempts, disposition,
    script_result, choice, status_name, sip_code, talk_seconds, cost, label, extra, clip_id, created_at, updated_at,
    completed_at"""

# Calls of one account by id.
BY_IDS = f"SELECT {_CALL} FROM calls WHERE account_id = %(account_id)s AND call_id = ANY(%(call_ids)s)"

# Every attempt of some calls.
ATTEMPTS = """
SELECT call_id, attempt, started_at, answered_at, ended_at, disposition, script_result, cause, hangup_cause, sip_code,
    talk_seconds, billed_seconds, cost, caller_id, choice, status_name, recording
FROM attempts WHERE account_id = %(account_id)s AND call_id = ANY(%(call_ids)s) ORDER BY call_id, attempt
"""

# Due calls of each campaign that may dial now, as many as it may place, oldest first; nobody else gets them. By ctid,
# because no planner knows how few they are and would read the whole table to find them again; whoever changed
# at this very moment is left for the next lease.
LEASE = """
WITH fence AS MATERIALIZED (
    -- A dialer that has been replaced leases nothing: nobody would free it.
    SELECT 1 FROM dialer_epochs WHERE epoch = %(epoch)s FOR SHARE
)
UPDATE calls c SET lease_epoch = %(epoch)s
WHERE c.ctid = ANY (ARRAY(
    SELECT due.ctid
    FROM unnest(%(accounts)s::bigint[], %(campaigns)s::bigint[], %(limits)s::int[]) AS w (account_id, campaign_id, n),
    LATERAL (
        SELECT ctid FROM calls
        WHERE account_id = w.account_id AND campaign_id = w.campaign_id AND call_end IS NULL
          AND lease_epoch IS NULL AND state IN ('queued', 'waiting') AND due_at <= %(now)s AND NOT locked
          AND EXISTS (SELECT FROM fence)
        ORDER BY due_at, ordinal LIMIT w.n FOR UPDATE SKIP LOCKED
    ) due))
RETURNING c.account_id, c.call_id, c.campaign_id, c.phone, c.country, c.trial, c.state, c.attempts, c.due_at,
    c.expires_at, c.overrides, c.clip_id
"""

# A leased call that was not placed goes back, perhaps for later.
RELEASE = """
UPDATE calls SET lease_epoch = NULL, due_at = greatest(due_at, %(due_at)s)
WHERE account_id = %(account_id)s AND call_id = %(call_id)s AND lease_epoch IS NOT DISTINCT FROM %(epoch)s
  AND state IN ('queued', 'waiting')
"""

# The same for several at once, each for its own time.
RELEASE_SOME = """
UPDATE calls c SET lease_epoch = NULL, due_at = greatest(c.due_at, w.due_at)
FROM unnest(%(account_ids)s::bigint[], %(call_ids)s::bigint[], %(due_ats)s::timestamptz[])
    AS w (account_id, call_id, due_at)
WHERE c.account_id = w.account_id AND c.call_id = w.call_id AND c.lease_epoch IS NOT DISTINCT FROM %(epoch)s
  AND c.state IN ('queued', 'waiting')
"""

# What is leased and not placed goes back in one statement when a dialer drains, in the order in which placements that
# are under way lock their calls.
RELEASE_ALL = """
UPDATE calls SET lease_epoch = NULL
WHERE (account_id, call_id) IN (
    SELECT account_id, call_id FROM calls WHERE lease_epoch = %(epoch)s AND state IN ('queued', 'waiting')
    ORDER BY account_id, call_id FOR NO KEY UPDATE)
"""

# An attempt that never became a leg: no prompt, no route, no money, a stop list.
FAIL = """
WITH tried AS (
    INSERT INTO attempts (account_id, call_id, attempt, campaign_id, phone, started_at, ended_at, disposition,
                          script_result, cause)
    SELECT account_id, call_id, attempts + 1, campaign_id, phone, %(now)s, %(now)s, %(disposition)s,
        %(script_result)s, %(cause)s
    FROM calls WHERE account_id = %(account_id)s AND call_id = %(call_id)s
      AND state IN ('queued', 'waiting') AND lease_epoch IS NOT DISTINCT FROM %(epoch)s
    ON CONFLICT (account_id, call_id, attempt) DO UPDATE SET ended_at = excluded.ended_at,
        disposition = excluded.disposition, script_result = excluded.script_result, cause = excluded.cause
    RETURNING account_id, call_id, attempt
)
UPDATE calls c SET state = %(state)s, call_end = %(call_end)s, due_at = coalesce(%(due_at)s, c.due_at),
    lease_epoch = NULL, attempts = tried.attempt, disposition = %(disposition)s, script_result = %(script_result)s,
    last_attempt_at = %(now)s, updated_at = %(now)s,
    completed_at = CASE WHEN %(call_end)s::text IS NOT NULL THEN %(now)s END
FROM tried WHERE c.account_id = tried.account_id AND c.call_id = tried.call_id
"""

# A call leaves the queue without an attempt: its lifetime or its campaign's dates ran out, or it was taken out.
LEAVE_QUEUE = """
UPDATE calls SET state = %(state)s, call_end = %(call_end)s, lease_epoch = NULL, completed_at = %(now)s,
    updated_at = %(now)s
WHERE account_id = %(account_id)s AND call_id = %(call_id)s AND state IN ('queued', 'waiting')
"""

# Calls that no cap leaves an attempt for, leased and found so; they leave the queue without one.
EXHAUST = """
UPDATE calls c SET state = 'finished', call_end = 'attempts_exhausted', lease_epoch = NULL, completed_at = %(now)s,
    updated_at = %(now)s
FROM unnest(%(account_ids)s::bigint[], %(call_ids)s::bigint[]) AS w (account_id, call_id)
WHERE c.account_id = w.account_id AND c.call_id = w.call_id AND c.lease_epoch IS NOT DISTINCT FROM %(epoch)s
  AND c.state IN ('queued', 'waiting')
"""

# Lifetimes that ran out while waiting. Leased calls are left to the dialer's own look.
EXPIRE = """
UPDATE calls SET state = 'expired', call_end = 'expired', completed_at = %(now)s, updated_at = %(now)s
WHERE (account_id, call_id) IN (
    SELECT account_id, call_id FROM calls
    WHERE expires_at <= %(now)s AND call_end IS NULL AND state IN ('queued', 'waiting') AND lease_epoch IS NULL
    ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
"""

# Why a leased call could not be placed: one look at everything that may have changed.
WHY_GONE = """
SELECT c.state, c.removing, c.lease_epoch IS NOT DISTINCT FROM %(epoch)s AS ours, g.status AS campaign,
    c.expires_at <= %(now)s IS TRUE AS expired,
    EXISTS (SELECT FROM stop_list s WHERE s.account_id = c.account_id AND s.phone = c.phone
            AND (s.until IS NULL OR s.until > %(now)s))
    OR EXISTS (SELECT FROM global_stop_list s WHERE s.phone = c.phone) AS stopped,
    EXISTS (SELECT FROM global_stop_list s WHERE s.phone = c.phone) AS globally
FROM calls c JOIN campaigns g USING (account_id, campaign_id)
WHERE c.account_id = %(account_id)s AND c.call_id = %(call_id)s
"""


# Whether an older call of the campaign has this number, and has not ended.
HAS_TWIN = """
SELECT EXISTS (SELECT FROM calls WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
    AND phone = %(phone)s AND call_id < %(call_id)s AND call_end IS NULL)
"""


class Gone(Struct, frozen=True, kw_only=True):
    """What a leased call looks like when its placement was refused."""

    state: str
    removing: bool
    ours: bool  # whether our lease still holds
    campaign: str  # its campaign's status
    expired: bool
    stopped: bool  # on a stop list
    globally: bool  # on the installation's


class Ordinals(Struct, frozen=True, kw_only=True):
    """What a campaign gives to calls that are to be added."""

    first_ordinal: int  # one less than the first of them
    status: str  # before these calls came
    lifetime: int | None
    max_cost: Decimal | None


async def take_ordinals(
    connection: Connection, account_id: int, campaign_id: int, count: int, now: datetime
) -> Ordinals:
    """Ordinals for so many calls, in the transaction that adds them; it holds the campaign's row until its end.

    Raises CampaignNotFound, CampaignClosed, NoMoney.
    """
    taken = await row(
        connection,
        Ordinals,
        TAKE_ORDINALS,
        {"account_id": account_id, "campaign_id": campaign_id, "count": count, "now": now},
    )
    if taken is None:
        raise CampaignNotFound()
    if taken.status == "cancelled":
        raise CampaignClosed()
    if taken.status == "completed":
        await hold_max_cost(connection, account_id, campaign_id, taken.max_cost)
    return taken


async def add(db: Database, account_id: int, campaign_id: int, new: NewCall, *, now: datetime) -> int:
    """Accept one call and return its id. It is committed when this returns.

    Raises CampaignNotFound, CampaignClosed, LabelTaken, or NoMoney where the call wakes a completed campaign whose
    max_cost cannot be held any more; then nothing is changed.
    """
    try:
        async with db.transaction() as connection:
            taken = await take_ordinals(connection, account_id, campaign_id, 1, now)
            params = {
                "account_id": account_id,
                "campaign_id": campaign_id,
                "first_ordinal": taken.first_ordinal,
                "lifetime": taken.lifetime,
                "phone": new.phone.e164,
                "country": new.phone.country,
                "trial": new.phone.trial,
                "due_at": new.due_at or now,
                "label": new.label,
                "extra": new.extra,
                "overrides": Jsonb(msgspec.to_builtins(new.overrides)) if new.overrides else None,
                "clip_id": new.clip_id,
                "phone_list_id": None,
                "now": now,
            }
            found = await (await connection.execute(INSERT, params)).fetchone()
            assert found is not None
            return int(found[0])
    except UniqueViolation as exc:
        if exc.diag.constraint_name != "calls_by_label":
            raise
        raise LabelTaken() from None


async def by_ids(db: Database, account_id: int, call_ids: Sequence[int]) -> list[Call]:
    """The account's calls of these ids, in the order asked; unknown ids are left out."""
    found = await db.rows(Call, BY_IDS, {"account_id": account_id, "call_ids": list(call_ids)})
    by_id = {call.call_id: call for call in found}
    return [by_id[call_id] for call_id in dict.fromkeys(call_ids) if call_id in by_id]


async def attempts_of(db: Database, account_id: int, call_ids: Sequence[int]) -> dict[int, list[Attempt]]:
    """The attempts of these calls, oldest first, by call id."""
    found: dict[int, list[Attempt]] = {call_id: [] for call_id in call_ids}
    for attempt in await db.rows(Attempt, ATTEMPTS, {"account_id": account_id, "call_ids": list(call_ids)}):
        found[attempt.call_id].append(attempt)
    return found


async def lease(
    db: Database, wanted: Sequence[tuple[int, int, int]], *, epoch: int, now: datetime
) -> list[Leased]:
    """Due calls for (account, campaign, how many) triples; each is ours until placed or released."""
    if not wanted:
        return []
    accounts, campaigns, limits = zip(*wanted, strict=True)
    params = {
        "accounts": list(accounts),
        "campaigns": list(campaigns),
        "limits": list(limits),
        "epoch": epoch,
        "now": now,
    }
    leased = await db.rows(Leased, LEASE, params)
    return sorted(leased, key=lambda call: (call.due_at, call.call_id))


async def release(db: Database, call: Leased, *, epoch: int, due_at: datetime) -> None:
    """Give a leased call back, not to be tried before `due_at`."""
    await db.execute(
        RELEASE, {"account_id": call.account_id, "call_id": call.call_id, "epoch": epoch, "due_at": due_at}
    )


async def release_some(db: Database, back: Sequence[tuple[Leased, datetime]], *, epoch: int) -> None:
    """Give leased calls back, each not to be tried before its own time."""
    params = {
        "account_ids": [call.account_id for call, _ in back],
        "call_ids": [call.call_id for call, _ in back],
        "due_ats": [due_at for _, due_at in back],
        "epoch": epoch,
    }
    await db.execute(RELEASE_SOME, params)


async def release_all(db: Database, *, epoch: int) -> int:
    """Give back whatever this dialer has leased and not placed; how many that were."""
    return await db.execute(RELEASE_ALL, {"epoch": epoch})


async def fail(
    db: Database,
    call: Leased,
    outcome: Outcome,
    after: Next,
    *,
    epoch: int,
    now: datetime,
) -> bool:
    """Record an attempt that never became a leg; False where the call was taken away meanwhile."""
    params = {
        "account_id": call.account_id,
        "call_id": call.call_id,
        "epoch": epoch,
        "disposition": str(outcome.disposition),
        "script_result": str(outcome.script_result),
        "cause": outcome.cause,
        "state": str(after.state),
        "call_end": str(after.call_end) if after.call_end else None,
        "due_at": after.due_at,
        "now": now,
    }
    return await db.execute(FAIL, params) == 1


async def has_twin(db: Database, call: Leased) -> bool:
    """Whether an older call of the same campaign to the same number waits or is on the line."""
    params = {
        "account_id": call.account_id,
        "campaign_id": call.campaign_id,
        "phone": call.phone,
        "call_id": call.call_id,
    }
    return bool(await db.value(HAS_TWIN, params))


async def leave_queue(db: Database, call: Leased, *, state: str, call_end: str, now: datetime) -> bool:
    """End a waiting call without an attempt; False where it had gone on meanwhile."""
    params = {
        "account_id": call.account_id,
        "call_id": call.call_id,
        "state": state,
        "call_end": call_end,
        "now": now,
    }
    return await db.execute(LEAVE_QUEUE, params) == 1


async def exhaust(db: Database, spent: Sequence[Leased], *, epoch: int, now: datetime) -> int:
    """End leased calls that have no attempt left; how many."""
    params = {
        "account_ids": [call.account_id for call in spent],
        "call_ids": [call.call_id for call in spent],
        "epoch": epoch,
        "now": now,
    }
    return await db.execute(EXHAUST, params)


async def expire(db: Database, *, now: datetime) -> int:
    """End calls whose lifetime ran out, at most 1,000 at a time; how many."""
    return await db.execute(EXPIRE, {"now": now})


async def why_gone(db: Database, call: Leased, *, epoch: int, now: datetime) -> Gone | None:
    """What changed under a leased call; None where it does not exist any more."""
    return await db.row(
        Gone, WHY_GONE, {"account_id": call.account_id, "call_id": call.call_id, "epoch": epoch, "now": now}
    )


# A page of a campaign's calls, found by ordinal: the last page costs what the first does.
EACH = f"""
SELECT {_CALL} FROM calls WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
  AND ordinal > %(after)s ORDER BY ordinal LIMIT %(limit)s
"""


async def each(
    db: Database, account_id: int, campaign_id: int, *, page: int = 1000
) -> AsyncIterator[list[Call]]:
    """Every call of a campaign, in order, a page at a time."""
    after = 0
    while True:
        params = {"account_id": account_id, "campaign_id": campaign_id, "after": after, "limit": page}
        found = await db.rows(Call, EACH, params)
        if not found:
            return
        yield found
        after = found[-1].ordinal
