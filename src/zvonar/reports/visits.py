"""What did a visitor do before he called? Attributes of visits, told for a number of ours or for a call.

A visit that was told for a number belongs to the sessions over it that begin while it is valid; one that was told for
a call belongs to all sessions of that call, those that are in the report already included.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.reports import rules
from zvonar.reports.writing import Change, Row, Writer
from zvonar.store.db import Connection, Database, rows

VALID = timedelta(minutes=30)  # how long a visit speaks for a number, unless told

ADD = """
INSERT INTO visits (account_id, phone, call_id, at, until, fields)
VALUES (%(account_id)s, %(phone)s, %(call_id)s, %(at)s, %(until)s, %(fields)s) RETURNING visit_id
"""

# The latest visit that speaks for each session: of its call before that of its number.
OF_SESSIONS = """
SELECT s.session_id, v.fields FROM unnest(%(session_ids)s::bigint[], %(accounts)s::bigint[], %(phones)s::text[],
    %(call_ids)s::bigint[], %(starts)s::timestamptz[]) AS s (session_id, account_id, phone, call_id, start_time),
LATERAL (
    (SELECT fields FROM visits v WHERE v.account_id = s.account_id AND v.call_id = s.call_id
     ORDER BY v.at DESC, v.visit_id DESC LIMIT 1)
    UNION ALL
    (SELECT fields FROM visits v WHERE v.account_id = s.account_id AND v.phone = s.phone
       AND v.at < s.start_time + interval '1 second' AND v.until >= s.start_time
     ORDER BY v.at DESC, v.visit_id DESC LIMIT 1)
) v
"""

# Sessions of a call that are in the report.
OF_CALL = """
SELECT DISTINCT t.session_id FROM attempts t JOIN session_starts s ON s.session_id = t.session_id
WHERE t.account_id = %(account_id)s AND t.call_id = %(call_id)s
"""

EXISTS = "SELECT EXISTS (SELECT FROM calls WHERE account_id = %(account_id)s AND call_id = %(call_id)s)"

# Visits that speak for nothing any more.
SWEEP = "DELETE FROM visits WHERE until < %(before)s"


class _Visit(Struct, frozen=True, kw_only=True):
    session_id: int
    fields: dict[str, Any]


class _Session(Struct, frozen=True, kw_only=True):
    session_id: int


async def track_number(
    db: Database, account_id: int, phone: str, fields: Mapping[str, Any], *, at: datetime, until: datetime
) -> int:
    """Remember a visit for a number of ours (digits); its id."""
    return await _add(db, account_id, fields, phone=phone, call_id=None, at=at, until=until)


async def track_call(
    db: Database,
    writer: Writer,
    account_id: int,
    call_id: int,
    fields: Mapping[str, Any],
    *,
    at: datetime,
    now: datetime,
) -> int | None:
    """Remember a visit for a call, and tell the sessions that it has had; its id, or None without such a call."""
    known = {"account_id": account_id, "call_id": call_id}
    if not await db.value(EXISTS, known):
        return None
    until = at + timedelta(days=366)
    visit = await _add(db, account_id, fields, phone=None, call_id=call_id, at=at, until=until)
    # After the visit is there: a session that comes now finds it itself.
    async with db.transaction() as connection:
        found = await rows(connection, _Session, OF_CALL, known)
        changes = [
            Change(account_id=account_id, session_id=one.session_id, patch=lambda _: fields) for one in found
        ]
        await writer.change(connection, await rules.late(connection, changes, now=now))
    return visit


async def _add(
    db: Database,
    account_id: int,
    fields: Mapping[str, Any],
    *,
    phone: str | None,
    call_id: int | None,
    at: datetime,
    until: datetime,
) -> int:
    params = {
        "account_id": account_id,
        "phone": phone,
        "call_id": call_id,
        "at": at,
        "until": until,
        "fields": Jsonb(fields),
    }
    return int(await db.value(ADD, params))


async def dress(connection: Connection, made: Sequence[Row]) -> None:
    """Give these rows what their visitors told."""
    asked = {
        "session_ids": [row["session_id"] for row in made],
        "accounts": [row["account_id"] for row in made],
        "phones": [row.get("virtual_phone_number") for row in made],
        "call_ids": [row.get("call_id") for row in made],
        "starts": [row["start_time"] for row in made],
    }
    by_id = {row["session_id"]: row for row in made}
    told: set[int] = set()
    for visit in await rows(connection, _Visit, OF_SESSIONS, asked):
        if visit.session_id not in told:
            told.add(visit.session_id)
            by_id[visit.session_id].update(visit.fields)
