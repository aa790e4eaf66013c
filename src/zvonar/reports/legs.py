"""Of which legs was a session made? Every INVITE of its attempt, for whoever looks at calls more closely."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from zvonar.store.db import Database

MOST = 50_000  # legs that are looked at


class Leg(Struct, frozen=True, kw_only=True):
    """A leg that has ended."""

    leg_id: str
    number: int  # within its attempt, from 1
    session_id: int
    direction: str  # out, in
    calling: str | None  # E.164
    called: str | None
    own: str | None  # our number of the two
    placed_at: datetime
    answered_at: datetime | None
    ended_at: datetime
    finish_reason: str | None  # of the session
    hangup_cause: int | None
    contact_name: str | None


# One more than is looked at, so that too many are noticed.
FIND = """
SELECT l.leg_id, l.leg AS number, f.session_id, l.direction,
    CASE WHEN l.direction = 'out' THEN l.caller_id ELSE r.contact_phone_number END AS calling,
    CASE WHEN l.direction = 'out' THEN r.contact_phone_number ELSE l.caller_id END AS called,
    r.virtual_phone_number AS own, l.placed_at, l.answered_at, l.ended_at, r.finish_reason, l.hangup_cause,
    r.contact_full_name AS contact_name
FROM report_filters f
JOIN report_rows r ON r.account_id = f.account_id AND r.start_time = f.start_time AND r.session_id = f.session_id
JOIN legs l ON l.call_id = f.call_id AND l.attempt = f.attempt AND l.account_id = f.account_id
WHERE f.account_id = %(account_id)s AND f.start_time >= %(since)s AND f.start_time < %(until)s
    AND l.ended_at IS NOT NULL
ORDER BY f.start_time, f.session_id, l.leg LIMIT %(limit)s
"""

# The same of sessions that are known, whenever they were.
FIND_OF = """
SELECT l.leg_id, l.leg AS number, f.session_id, l.direction,
    CASE WHEN l.direction = 'out' THEN l.caller_id ELSE r.contact_phone_number END AS calling,
    CASE WHEN l.direction = 'out' THEN r.contact_phone_number ELSE l.caller_id END AS called,
    r.virtual_phone_number AS own, l.placed_at, l.answered_at, l.ended_at, r.finish_reason, l.hangup_cause,
    r.contact_full_name AS contact_name
FROM session_starts s
JOIN report_filters f ON f.account_id = s.account_id AND f.start_time = s.start_time AND f.session_id = s.session_id
JOIN report_rows r ON r.account_id = f.account_id AND r.start_time = f.start_time AND r.session_id = f.session_id
JOIN legs l ON l.call_id = f.call_id AND l.attempt = f.attempt AND l.account_id = f.account_id
WHERE s.session_id = ANY(%(session_ids)s) AND s.account_id = %(account_id)s AND l.ended_at IS NOT NULL
ORDER BY f.start_time, f.session_id, l.leg LIMIT %(limit)s
"""


async def within(db: Database, account_id: int, *, since: datetime, until: datetime) -> list[Leg]:
    """The legs of sessions that began in a period; one more than MOST where there are more."""
    params = {"account_id": account_id, "since": since, "until": until, "limit": MOST + 1}
    return await db.rows(Leg, FIND, params)


async def of_sessions(db: Database, account_id: int, session_ids: Sequence[int]) -> list[Leg]:
    """The legs of these sessions."""
    params = {"account_id": account_id, "session_ids": list(session_ids), "limit": MOST + 1}
    return await db.rows(Leg, FIND_OF, params)
