"""How are reports read from PostgreSQL? Keys from the narrow table, rows from the wide one.

Sorting and skipping touch narrow rows only; the wide ones are fetched for the page that is shown.
"""

from typing import Any, LiteralString

from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.reports.query import Column, Order, Page, Query, Session
from zvonar.store.db import Database, rows

# Total and page are of one moment, or the pages of a busy account would not add up.
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"

COUNT = """
SELECT count(*) AS n FROM sessions
WHERE account_id = %(account_id)s AND start_time >= %(since)s AND start_time < %(until)s
"""

# The order is put between these two: SQL has no parameters for it. It ends in the primary key, so it is total.
KEYS = """
SELECT session_id, start_time FROM sessions
WHERE account_id = %(account_id)s AND start_time >= %(since)s AND start_time < %(until)s
ORDER BY """
PAGE = "start_time, session_id LIMIT %(limit)s OFFSET %(offset)s"

ROWS = """
SELECT s.account_id, s.session_id, s.start_time, s.finish_time, s.direction, s.is_lost, s.disposition, s.script_result,
    s.campaign_id, s.call_id, s.attempt, s.contact_phone, s.own_phone, s.country, s.wait_seconds, s.talk_seconds,
    s.total_seconds, coalesce(d.details, '{}') AS details
FROM unnest(%(session_ids)s::bigint[], %(starts)s::timestamptz[]) WITH ORDINALITY
    AS k (session_id, start_time, position)
JOIN sessions s ON s.account_id = %(account_id)s AND s.start_time = k.start_time AND s.session_id = k.session_id
LEFT JOIN session_details d
    ON d.account_id = s.account_id AND d.start_time = s.start_time AND d.session_id = s.session_id
ORDER BY k.position
"""

_COLUMNS: dict[Column, LiteralString] = {
    Column.start_time: "start_time",
    Column.direction: "direction",
    Column.is_lost: "is_lost",
    Column.own_phone: "own_phone",
    Column.country: "country",
    Column.campaign: """(SELECT g.name FROM campaigns g
        WHERE g.account_id = sessions.account_id AND g.campaign_id = sessions.campaign_id)""",
    Column.outcome: "(disposition || '/' || script_result)",
}
# A sort has few ranked keys: what repeats an earlier key says nothing and is left out.
_RANKED: tuple[tuple[LiteralString, LiteralString], ...] = (
    ("(%(ranks0)s::jsonb ->> ", "ranks0"),
    ("(%(ranks1)s::jsonb ->> ", "ranks1"),
    ("(%(ranks2)s::jsonb ->> ", "ranks2"),
    ("(%(ranks3)s::jsonb ->> ", "ranks3"),
)


class _Count(Struct, frozen=True, kw_only=True):
    n: int


class _Key(Struct, frozen=True, kw_only=True):
    session_id: int
    start_time: Any  # datetime, handed back as it came


class PostgresReportStore:
    """The ReportStore that every installation has."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, query: Query) -> Page:
        """The page that the query asks for. Raises StoreUnavailable."""
        statement, ranks = keys_statement(query.order)
        params = {
            "account_id": query.account_id,
            "since": query.since,
            "until": query.until,
            "limit": query.limit,
            "offset": query.offset,
            **ranks,
        }
        async with self._db.transaction() as connection:
            await connection.execute(SNAPSHOT)
            [counted] = await rows(connection, _Count, COUNT, params)
            keys = await rows(connection, _Key, statement, params) if query.offset < counted.n else []
            wide = {
                "account_id": query.account_id,
                "session_ids": [key.session_id for key in keys],
                "starts": [key.start_time for key in keys],
            }
            return Page(total=counted.n, rows=await rows(connection, Session, ROWS, wide) if keys else [])


def keys_statement(order: tuple[Order, ...]) -> tuple[LiteralString, dict[str, Jsonb]]:
    """The statement that finds a page's keys in this order, and the parameters that the order brings."""
    statement: LiteralString = KEYS
    params: dict[str, Jsonb] = {}
    for key in order:
        if key.ranks is None:
            statement += _COLUMNS[key.column]
        else:
            opening, name = _RANKED[len(params)]
            statement += opening + "(" + _COLUMNS[key.column] + ")::text)"
            params[name] = Jsonb(dict(key.ranks))
        statement += " DESC, " if key.descending else ", "
    return statement + PAGE, params
