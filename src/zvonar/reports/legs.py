"""Of which legs was a session made? Every INVITE of its attempt, for whoever looks at calls more closely."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from zvonar.store.db import Database

MOST = 50_000  # legs that are looked at where a filter or an order needs all of them


class Leg(Struct, frozen=True, kw_only=True):
    """A leg that has ended, with what the report says of its session. Phones are digits, as reports have them."""

    session_id: int
    number: int  # within the session, from 1
    direction: str  # out, in
    calling: str | None
    called: str | None  # of a transfer it may be a name on the exchange
    own: str | None  # our number of the two
    placed_at: datetime
    answered_at: datetime | None
    ended_at: datetime
    disposition: str | None  # of the leg itself
    hangup_cause: int | None  # Q.850
    transferred: bool  # it called somebody else, for the subscriber
    last: bool  # of those to the subscriber: the session ended with it
    records: list[str]  # tokens of links to what was said
    employee_id: int | None  # whose number or extension was called
    employee_name: str | None
    employee_phone: str | None
    rating: float | None  # of this employee, by the subscriber
    finish_reason: str | None  # of the session
    contact_id: int | None
    contact_name: str | None
    contact_phone: str | None
    scenario_id: int | None
    scenario_name: str | None


_COLUMNS = """v.session_id, number, direction, calling, called, own, placed_at, answered_at, ended_at, disposition,
    hangup_cause, transferred, last, records, employee_id, employee_name, employee_phone, rating::float8 AS rating,
    finish_reason, contact_id, contact_name, contact_phone, scenario_id, scenario_name"""
_PERIOD = "v.account_id = %(account_id)s AND v.start_time >= %(since)s AND v.start_time < %(until)s"
_PAGE = "ORDER BY v.start_time, v.session_id, number LIMIT %(limit)s OFFSET %(offset)s"

# A page of the legs of a period's sessions, and how many there are.
FIND = f"SELECT {_COLUMNS} FROM session_legs v WHERE {_PERIOD} {_PAGE}"
COUNT = f"SELECT count(*) FROM session_legs v WHERE {_PERIOD}"

# The same of sessions that are known, whenever they were.
FIND_OF = f"""
SELECT {_COLUMNS} FROM session_starts s
JOIN session_legs v ON v.account_id = s.account_id AND v.start_time = s.start_time AND v.session_id = s.session_id
WHERE s.session_id = ANY(%(session_ids)s) AND s.account_id = %(account_id)s {_PAGE}
"""


async def page(
    db: Database, account_id: int, *, since: datetime, until: datetime, limit: int, offset: int
) -> tuple[list[Leg], int]:
    """A page of the legs of sessions that began in a period, and how many there are of them."""
    params = {
        "account_id": account_id,
        "since": since,
        "until": until,
        "limit": limit,
        "offset": offset,
    }
    found = await db.rows(Leg, FIND, params)
    # A page that is not full is the last one, unless it lies beyond it.
    if len(found) < limit and (found or not offset):
        return found, offset + len(found)
    return found, int(await db.value(COUNT, params))


async def within(db: Database, account_id: int, *, since: datetime, until: datetime) -> list[Leg]:
    """The legs of sessions that began in a period; one more than MOST where there are more."""
    params = {"account_id": account_id, "since": since, "until": until, "limit": MOST + 1, "offset": 0}
    return await db.rows(Leg, FIND, params)


async def of_sessions(db: Database, account_id: int, session_ids: Sequence[int]) -> list[Leg]:
    """The legs of these sessions; one more than MOST where there are more."""
    params = {"account_id": account_id, "session_ids": list(session_ids), "limit": MOST + 1, "offset": 0}
    return await db.rows(Leg, FIND_OF, params)
