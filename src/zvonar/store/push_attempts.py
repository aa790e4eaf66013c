"""Which attempts are told to a CRM? Those of an event that just happened, and those of a period that is made up for."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from zvonar.store.db import Connection, Database, row, rows
from zvonar.store.outbox import Event

EVENT = "crm"  # the kind of an event that asks for one attempt to be told again


class EndedAttempt(Struct, frozen=True, kw_only=True):
    """An attempt that has ended."""

    account_id: int
    call_id: int
    attempt: int
    phone: str
    started_at: datetime
    disposition: str
    script_result: str
    choice: str | None
    status_name: str | None
    talk_seconds: int
    caller_id: str | None
    recording: str | None
    steps: list[dict[str, Any]] | None


_COLUMNS = """t.account_id, t.call_id, t.attempt, t.phone, t.started_at, t.disposition,
    coalesce(t.script_result, 'none') AS script_result, t.choice, t.status_name, t.talk_seconds, t.caller_id,
    t.recording, t.steps"""

GET = f"""
SELECT {_COLUMNS}
FROM unnest(%(account_ids)s::bigint[], %(call_ids)s::bigint[], %(attempts)s::int[]) AS w (account_id, call_id, attempt)
JOIN attempts t ON t.account_id = w.account_id AND t.call_id = w.call_id AND t.attempt = w.attempt
WHERE t.disposition IS NOT NULL
"""

# Sessions know what happened when, by month; in a period each attempt that has ended is one. With `last_only` only
# the last one of each call that has ended. Those that are logged already, or refused, are known by their `uniq`.
_WANTED = """
FROM report_rows s
JOIN calls c ON c.account_id = s.account_id AND c.call_id = s.call_id
JOIN attempts t ON t.account_id = s.account_id AND t.call_id = s.call_id AND t.attempt = s.attempt
LEFT JOIN push_calls k ON k.account_id = s.account_id
    AND k.uniq = %(tag)s::text || '-' || s.call_id || '.' || s.attempt
WHERE s.account_id = %(account_id)s AND s.start_time >= %(since)s AND s.start_time < %(until)s
  AND s.direction = 'out' AND s.call_id IS NOT NULL AND s.attempt IS NOT NULL
  AND (NOT %(last_only)s OR c.call_end IS NOT NULL AND c.attempts = s.attempt)
  AND (s.disposition = ANY(%(outcomes)s) OR s.disposition || '/' || s.script_result = ANY(%(outcomes)s))
  AND (s.start_time, s.session_id) > (%(after_time)s::timestamptz, %(after)s::bigint)"""

# A page of them, whatever became of each in the CRM.
PAGE = f"""
SELECT {_COLUMNS}, s.session_id, k.state
{_WANTED}
ORDER BY s.start_time, s.session_id LIMIT %(limit)s
"""

# A page of those that are neither there nor on their way become events, each of which becomes a delivery.
BACKFILL = f"""
WITH page AS (
    SELECT s.start_time, s.session_id, s.call_id, s.attempt,
        k.state IS NULL OR k.state = 'skipped' AS wanted,
        EXISTS (SELECT FROM deliveries d WHERE d.order_key = %(tag)s::text || '-' || s.call_id || '.' || s.attempt
                AND d.state = 'pending') AS under_way
    {_WANTED}
    ORDER BY s.start_time, s.session_id LIMIT %(limit)s
), added AS (
    INSERT INTO outbox (account_id, call_id, kind, at, payload)
    SELECT %(account_id)s, call_id, 'crm', %(now)s, jsonb_build_object('attempt', attempt) FROM page
    WHERE wanted AND NOT under_way ORDER BY start_time, session_id
    RETURNING 1
)
SELECT count(*) AS seen, (SELECT count(*) FROM added) AS added, max(start_time) AS last_time,
    (SELECT session_id FROM page ORDER BY start_time DESC, session_id DESC LIMIT 1) AS last_session
FROM page
"""


class Candidate(EndedAttempt, frozen=True, kw_only=True):
    """An attempt of a period, and what is known of it in the CRM."""

    session_id: int
    state: Literal["posting", "logged", "skipped", "refused"] | None


class Wanted(Struct, frozen=True, kw_only=True):
    """What of a period is meant."""

    account_id: int
    tag: str
    since: datetime
    until: datetime
    last_only: bool
    outcomes: Sequence[str]


class _Page(Struct, frozen=True, kw_only=True):
    seen: int
    added: int
    last_time: datetime | None
    last_session: int | None


class Backfilled(Struct, frozen=True, kw_only=True):
    """What a backfill did."""

    seen: int  # calls of the period that are to be pushed
    added: int  # of these, put on their way now


async def get(
    connection: Connection, keys: Sequence[tuple[int, int, int]]
) -> dict[tuple[int, int, int], EndedAttempt]:
    """By account, call and attempt: those that have ended."""
    params = {
        "account_ids": [account_id for account_id, _, _ in keys],
        "call_ids": [call_id for _, call_id, _ in keys],
        "attempts": [attempt for _, _, attempt in keys],
    }
    found = await rows(connection, EndedAttempt, GET, params)
    return {(one.account_id, one.call_id, one.attempt): one for one in found}


def _params(wanted: Wanted, after: tuple[datetime, int], limit: int) -> dict[str, Any]:
    return {
        "account_id": wanted.account_id,
        "tag": wanted.tag,
        "since": wanted.since,
        "until": wanted.until,
        "last_only": wanted.last_only,
        "outcomes": list(wanted.outcomes),
        "after_time": after[0],
        "after": after[1],
        "limit": limit,
    }


async def page(db: Database, wanted: Wanted, *, limit: int) -> list[Candidate]:
    """The first of the period."""
    return await db.rows(Candidate, PAGE, _params(wanted, (wanted.since, 0), limit))


async def backfill(db: Database, wanted: Wanted, *, now: datetime, limit: int = 2000) -> Backfilled:
    """Put on their way whatever of the period is not in the CRM."""
    after, seen, added = (wanted.since, 0), 0, 0
    while True:
        async with db.transaction() as connection:
            done = await row(connection, _Page, BACKFILL, {**_params(wanted, after, limit), "now": now})
        assert done is not None
        seen, added = seen + done.seen, added + done.added
        if done.seen < limit or done.last_time is None or done.last_session is None:
            return Backfilled(seen=seen, added=added)
        after = done.last_time, done.last_session


def asked(event: Event) -> int | None:
    """Which attempt an event of a backfill asks for; None for other events."""
    return int(event.payload["attempt"]) if event.kind == EVENT else None
